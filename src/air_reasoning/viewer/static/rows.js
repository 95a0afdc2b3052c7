// The rows of a filtered list, asked for by pages as they come into view.
import { useEffect, useRef, useState } from "./vendor/vendor.js";
import { api } from "./api.js";

const PAGE = 100;

/**
 * {row(i), total, want(first, last), error, progress}: `total` is null until it is counted, `progress` the
 * share of the run that is indexed. `version` changes when the run has grown and pages have to be asked again.
 */
export function useRows(run, filter, version) {
  const key = JSON.stringify([run, filter]);
  const pages = useRef(new Map());
  const wanted = useRef([0, 0]);
  const control = useRef(new AbortController());
  const [, redraw] = useState(0);
  const [total, setTotal] = useState(null);
  const [error, setError] = useState(null);
  const [progress, setProgress] = useState(1);

  const ask = (page) => {
    if (pages.current.get(page)?.fresh) return;
    const before = pages.current.get(page)?.rows;
    pages.current.set(page, { rows: before, fresh: true });
    const { signal } = control.current;
    api.samples(run, filter, page * PAGE, PAGE, signal).then(
      (answer) => {
        if (signal.aborted) return;
        pages.current.set(page, { rows: answer.rows, fresh: true });
        setProgress(answer.bytes ? answer.indexed / answer.bytes : 1);
        redraw((n) => n + 1);
      },
      (failure) => signal.aborted || setError(failure),
    );
  };
  const want = (first, last) => {
    wanted.current = [Math.floor(first / PAGE), Math.floor(last / PAGE)];
    for (let page = wanted.current[0]; page <= wanted.current[1]; page++) ask(page);
  };
  const count = () => {
    const { signal } = control.current;
    return api.count(run, filter, signal).then(
      (answer) => signal.aborted || setTotal(answer.total),
      (failure) => signal.aborted || setError(failure),
    );
  };
  const refresh = () => {
    for (const page of pages.current.values()) page.fresh = false;
    want(wanted.current[0] * PAGE, wanted.current[1] * PAGE);
    return count();
  };

  useEffect(() => {
    control.current = new AbortController();
    pages.current = new Map();
    setTotal(null);
    setError(null);
    want(0, 0);
    count();
    return () => control.current.abort();
  }, [key]);
  useEffect(() => {
    if (version) refresh();
  }, [version]);
  // While the index is still being made, look again.
  useEffect(() => {
    if (progress >= 1) return;
    const timer = setInterval(refresh, 700);
    return () => clearInterval(timer);
  }, [progress < 1, key]);

  const row = (i) => pages.current.get(Math.floor(i / PAGE))?.rows?.[i % PAGE];
  return { row, total, want, error, progress, refresh };
}
