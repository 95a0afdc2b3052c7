// Where data comes from: the server of `air view`, or the files of a bundle. Both answer alike.
import { filesApi } from "./files_api.js";

const data = document.querySelector('meta[name="air-data"]')?.content ?? "";

async function get(path, query = {}, signal = undefined) {
  const response = await fetch(`${path}?${new URLSearchParams(query)}`, { signal });
  const answer = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
  if (!response.ok) throw new Error(answer.error ?? response.statusText);
  return answer;
}

const serverApi = {
  bundled: false,
  runs: () => get("api/runs"),
  run: (run) => get("api/run", { run }),
  metrics: (run, since = 0) => get("api/metrics", { run, since }),
  samples: (run, filter, offset, limit, signal) => get("api/samples", { ...filter, run, offset, limit }, signal),
  count: (run, filter, signal) => get("api/count", { ...filter, run }, signal),
  facets: (run) => get("api/facets", { run }),
  trajectory: (run, key) => get("api/trajectory", { run, key }),
  tokens: (run, key) => get("api/tokens", { run, key }),
  compare: (question) => get("api/compare", question),
  picture: (run, sha) => `api/blob/${sha}?${new URLSearchParams({ run })}`,

  /** Calls `changed` with sizes and state whenever the run (or any run, without one) changes. */
  live(run, changed) {
    const source = new EventSource(`api/live${run ? `?${new URLSearchParams({ run })}` : ""}`);
    source.addEventListener("change", (event) => changed(JSON.parse(event.data)));
    return () => source.close();
  },

  /** Run the cell of a segment again, after the cells before it, in the sandbox of this machine. */
  async rerun(run, key, segment) {
    const response = await fetch("api/cell", {
      method: "POST",
      headers: { "content-type": "application/json", "x-air-view": "1" },
      body: JSON.stringify({ run, key, segment }),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  },
};

export const api = data ? filesApi(data) : serverApi;
