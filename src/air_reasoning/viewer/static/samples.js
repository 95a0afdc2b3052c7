// Samples: every trajectory of a run as a table that holds any number of rows.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { filterOf, FilterBar } from "./filters.js";
import { number, words } from "./format.js";
import { useKeys } from "./keys.js";
import { go, href } from "./route.js";
import { useRows } from "./rows.js";
import { Amount, Badge, Failed, Nothing, useData, Verdict } from "./ui.js";

const COLUMNS = [
  ["step", "step", "num"], ["correct", "", "mark"], ["kind", "kind", ""], [null, "question", "wide"],
  [null, "answer", ""], ["calls", "calls", "num"], ["tokens", "tokens", "num"], ["reward", "reward", "bar"],
  ["advantage", "adv.", "bar"], ["stop", "stop", ""],
];
const narrow = matchMedia("(max-width: 760px)");
const OVERSCAN = 12;
const HEAD = 32; // pixels of the sticky head

export function Samples({ run, query, grown }) {
  const filter = filterOf(query);
  const facets = useData(() => api.facets(run), [run, grown > 0]);
  const rows = useRows(run, filter, grown);
  const at = Number(query.at ?? 0);
  const change = (patch) => go(["run", run, "samples"], { ...query, at: "", ...patch }, true);
  const sortBy = (column) => change({ sort: query.sort === `-${column}` ? column : `-${column}` });
  const move = (to) => {
    const last = (rows.total ?? 1) - 1;
    go(["run", run, "samples"], { ...query, at: Math.max(0, Math.min(last, to)) || "" }, true);
  };
  const open = () => {
    const row = rows.row(at);
    if (row) go(["run", run, "trajectory", row.key], { ...filter, pos: at });
  };
  useKeys({
    j: ["next row", () => move(at + 1)],
    ArrowDown: ["next row", () => move(at + 1)],
    k: ["row before", () => move(at - 1)],
    ArrowUp: ["row before", () => move(at - 1)],
    PageDown: ["20 rows down", () => move(at + 20)],
    PageUp: ["20 rows up", () => move(at - 20)],
    Home: ["first row", () => move(0)],
    End: ["last row", () => move(rows.total - 1)],
    Enter: ["open the row", open],
    "/": ["search", () => document.getElementById("search").focus()],
    Escape: ["leave the search", () => document.activeElement.blur()],
  });
  return html`<section class="samples">
    <h1 class="sr">Samples of ${run}</h1>
    <${FilterBar} query=${query} facets=${facets.data} change=${change} />
    <p class="status-line" role="status">
      ${rows.total === null ? "counting …" : html`<b>${number(rows.total)}</b> trajectories`}
      ${rows.progress < 1 && html` · indexing ${Math.round(100 * rows.progress)} %`}
      <button class=${`quiet ${query.sort === "-n" ? "on" : ""}`} aria-pressed=${query.sort === "-n"}
        onClick=${() => change({ sort: query.sort === "-n" ? "" : "-n" })}>newest first</button>
    </p>
    ${rows.error && html`<${Failed} error=${rows.error} />`}
    ${rows.total === 0 && rows.progress >= 1 && !rows.error
      ? html`<${Nothing}>No trajectory ${Object.keys(filter).length ? "passes this filter" : "was written yet"}.<//>`
      : html`<${Table} ...${{ run, rows, filter, at, sort: query.sort ?? "", sortBy, move }} />`}
  </section>`;
}

function Table({ run, rows, filter, at, sort, sortBy, move }) {
  const place = useRef(null);
  const height = narrow.matches ? 76 : 34;
  const [window_, setWindow] = useState([0, 40]);
  const total = rows.total ?? 0;
  const look = () => {
    const first = Math.max(0, Math.floor(place.current.scrollTop / height) - OVERSCAN);
    const last = Math.min(Math.max(0, total - 1), first + Math.ceil(place.current.clientHeight / height) + 2 * OVERSCAN);
    setWindow([first, last]);
    rows.want(first, last);
  };
  useLayoutEffect(look, [total, height, JSON.stringify(filter)]);
  useEffect(() => {
    window.addEventListener("resize", look);
    return () => window.removeEventListener("resize", look);
  });
  useEffect(() => {
    const { scrollTop, clientHeight } = place.current;
    const bottom = (at + 1) * height + HEAD;
    if (at * height < scrollTop) place.current.scrollTop = at * height;
    if (bottom > scrollTop + clientHeight) place.current.scrollTop = bottom - clientHeight;
  }, [at, total > 0]);
  const shown = [];
  for (let i = window_[0]; i <= Math.min(window_[1], total - 1); i++) shown.push(i);
  return html`<div class="table"><div class="body" role="grid" aria-rowcount=${total + 1} aria-label="trajectories" ref=${place}
      onScroll=${look} tabindex="0" aria-activedescendant=${`row-${at}`}>
    <div class="head" role="row">
      ${COLUMNS.map(([column, label, kind]) => html`<span role="columnheader" key=${label} class=${kind}
        aria-sort=${sort === column ? "ascending" : sort === `-${column}` ? "descending" : "none"}>
        ${column
          ? html`<button class="quiet" onClick=${() => sortBy(column)} aria-label=${`sort by ${label || "right or wrong"}`}>
              ${label || "✓"}${sort === column ? " ↑" : sort === `-${column}` ? " ↓" : ""}</button>`
          : label}
      </span>`)}
    </div>
    <div class="tall" role="presentation" style=${{ height: `${total * height}px` }}>
      ${shown.map((i) => html`<${Row} key=${i} ...${{ run, i, row: rows.row(i), filter, chosen: i === at, height, move }} />`)}
    </div>
  </div></div>`;
}

function Row({ run, i, row, filter, chosen, height, move }) {
  const style = { transform: `translateY(${i * height}px)`, height: `${height}px` };
  if (!row) return html`<div class="row waiting" role="row" aria-rowindex=${i + 2} style=${style}><span role="gridcell">…</span></div>`;
  const target = href(["run", run, "trajectory", row.key], { ...filter, pos: i });
  const cell = (kind, content) => html`<span role="gridcell" class=${kind}>${content}</span>`;
  return html`<a class=${`row ${chosen ? "chosen" : ""}`} id=${`row-${i}`} role="row" aria-rowindex=${i + 2}
    aria-selected=${chosen} href=${target} style=${style} tabindex="-1" onFocus=${() => move(i)} data-key=${row.key}>
    ${cell("num", row.step ?? "–")}
    ${cell("mark", html`<${Verdict} correct=${row.correct} short />`)}
    ${cell("", html`<span class="kind" title=${[row.name, row.difficulty].filter(Boolean).join(", ")}>${words(row.kind ?? row.name ?? "–")}</span>`)}
    ${cell("wide", html`<span title=${row.question}>${row.question || row.task}</span>`)}
    ${cell("", html`<span class="answer" title=${`answered ${row.extracted ?? "nothing"}, right is ${row.gold}`}>
      ${row.extracted ?? "–"}${row.correct === 0 && html`<small> / ${row.gold}</small>`}</span>`)}
    ${cell("num", html`${row.banned ? html`<${Badge} tone="warn" title="code was banned">ban<//>` : (row.calls ?? "–")}
      ${row.failed > 0 && html`<span class="minus" title=${`${row.failed} failed`}> ✗${row.failed}</span>`}`)}
    ${cell("num", number(row.tokens))}
    ${cell("bar", html`<${Amount} value=${row.reward} />`)}
    ${cell("bar", html`<${Amount} value=${row.advantage} scale=${2} />`)}
    ${cell("", html`<span class=${row.stop === "answered" ? "dim" : "warn-text"}>${words(row.stop ?? row.reason ?? "–")}</span>`)}
  </a>`;
}
