// Runs: everything below the folder, newest first, as it is now.
import { html, useEffect, useRef } from "./vendor/vendor.js";
import { api } from "./api.js";
import { ago, bytes, metric, words } from "./format.js";
import { useKeys } from "./keys.js";
import { go, href } from "./route.js";
import { Spark } from "./spark.js";
import { Failed, Loading, Nothing, State, useData } from "./ui.js";

const FIGURES = ["accuracy", "reward/total", "code_share", "tool_success", "tokens_mean"];

export function Runs({ query }) {
  const { data: runs, error, reload } = useData(api.runs, []);
  const timer = useRef(0);
  useEffect(() => {
    const stop = api.live("", () => {
      clearTimeout(timer.current);
      timer.current = setTimeout(reload, 200);
    });
    return () => {
      clearTimeout(timer.current);
      stop();
    };
  }, []);
  const at = Number(query.at ?? 0);
  const ticked = (query.compare ?? "").split("|").filter(Boolean);
  const set = (patch) => go([], { ...query, ...patch }, true);
  const tick = (name) => {
    const rest = ticked.filter((other) => other !== name);
    set({ compare: (rest.length < ticked.length ? rest : [...rest, name].slice(-2)).join("|") });
  };
  const shown = (runs ?? []).filter((run) => !query.find || `${run.name} ${run.command}`.toLowerCase().includes(query.find.toLowerCase()));
  const move = (to) => set({ at: Math.max(0, Math.min(shown.length - 1, to)) || "" });
  useKeys({
    j: ["next run", () => move(at + 1)],
    ArrowDown: ["next run", () => move(at + 1)],
    k: ["run before", () => move(at - 1)],
    ArrowUp: ["run before", () => move(at - 1)],
    Enter: ["open the run", () => shown[at] && go(["run", shown[at].name])],
    x: ["tick the run for comparing", () => shown[at] && tick(shown[at].name)],
    c: ["compare the ticked runs", () => ticked.length === 2 && go(["compare"], { a: ticked[0], b: ticked[1] })],
    "/": ["search", () => document.getElementById("find").focus()],
    Escape: ["leave the search", () => document.activeElement.blur()],
  });
  if (error) return html`<${Failed} error=${error} />`;
  if (!runs) return html`<${Loading} what="runs" />`;
  return html`<div class="page-head"><h1>Runs <span class="muted">${runs.length}</span></h1>
      <div class="tools"><input id="find" type="search" placeholder="find  /" aria-label="find runs" value=${query.find ?? ""}
          onInput=${(event) => set({ find: event.target.value, at: "" })} />
        <${CompareButton} ticked=${ticked} /></div></div>
    ${shown.length === 0
      ? html`<${Nothing}>${runs.length ? "No run has that name." : html`No run here yet. Start one with <code>air quickstart</code>; it appears by itself.`}<//>`
      : html`<div class="card scroll"><table class="runs">
        <thead><tr><th><span class="sr">compare</span></th><th>run</th><th>state</th><th class="num">step</th>
          ${FIGURES.map((name) => html`<th class="num" key=${name}>${words(name)}</th>`)}<th>curve</th><th class="num">trajectories</th><th>changed</th></tr></thead>
        <tbody>${shown.map((run, i) => html`<${Row} key=${run.name} ...${{ run, chosen: i === at, ticked: ticked.includes(run.name), tick }} />`)}</tbody>
      </table></div>`}`;
}

function CompareButton({ ticked }) {
  if (ticked.length < 2) return html`<span class="muted">tick two runs to compare them</span>`;
  return html`<a class="button" href=${href(["compare"], { a: ticked[0], b: ticked[1] })}>compare ${ticked[0]} and ${ticked[1]}</a>`;
}

function Row({ run, chosen, ticked, tick }) {
  const { headline = {}, spark } = run;
  return html`<tr class=${chosen ? "chosen" : ""} data-run=${run.name}>
    <td><input type="checkbox" checked=${ticked} onChange=${() => tick(run.name)} aria-label=${`compare ${run.name}`} /></td>
    <th scope="row"><a href=${href(["run", run.name])}>${run.name}</a><small>${run.command ?? ""}</small>
      ${run.error && html`<small class="minus">${run.error}</small>`}</th>
    <td data-label="state"><${State} state=${run.state} live=${run.live} /></td>
    <td class="num" data-label="step">${run.step ?? "–"}</td>
    ${FIGURES.map((name) => html`<td class="num" key=${name} data-label=${words(name)}>${metric(name, headline[name])}</td>`)}
    <td><${Spark} values=${spark?.values} label=${`${words(spark?.metric ?? "")} over the steps`} /></td>
    <td class="num" data-label="trajectories">${run.trajectory_bytes ? html`<a href=${href(["run", run.name, "samples"])}>${bytes(run.trajectory_bytes)}</a>` : "–"}</td>
    <td class="muted" title=${run.updated}>${ago(run.updated)}</td>
  </tr>`;
}
