// Compare: two runs on the items that both have. What changed, which items flipped, what each wrote on one.
import { html, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { Chart } from "./chart.js";
import { number, percent, words } from "./format.js";
import { useKeys } from "./keys.js";
import { go, href } from "./route.js";
import { Segment } from "./segment.js";
import { Failed, Loading, Nothing, useData, Verdict } from "./ui.js";

const KINDS = [["flips", "flips"], ["only_a", "only a right"], ["only_b", "only b right"], ["both_wrong", "both wrong"], ["both_right", "both right"], ["all", "all"]];
const CURVES = [["accuracy", true], ["reward/total", false], ["code_share_right", true], ["code_share_easy", true], ["code_share_hard", true],
  ["tool_success", true], ["tokens_mean", false], ["policy/entropy", false], ["loss/sft", false]];

async function loadPasses(query) {
  const [a, b] = await Promise.all([api.facets(query.a), api.facets(query.b)]);
  return [a, b].map((facets) => facets.name.filter(([name]) => name).map(([name]) => name));
}

export function Compare({ query }) {
  const { a, b, pass_a = "", pass_b = "", kind = "flips" } = query;
  const passes = useData(() => loadPasses(query), [a, b]);
  const { data, error } = useData(() => api.compare({ a, b, pass_a, pass_b, kind }), [a, b, pass_a, pass_b, kind]);
  const curves = useData(() => Promise.all([api.metrics(a), api.metrics(b)]), [a, b]);
  const set = (patch) => go(["compare"], { ...query, ...patch }, true);
  useKeys({
    x: ["exchange a and b", () => set({ a: b, b: a, pass_a: pass_b, pass_b: pass_a })],
    Escape: ["all runs", () => go([], { compare: `${a}|${b}` })],
  });
  if (error) return html`<${Failed} error=${error} />`;
  if (!data) return html`<${Loading} what="both runs" />`;
  return html`<div class="page-head"><h1>Compare</h1><button onClick=${() => set({ a: b, b: a, pass_a: pass_b, pass_b: pass_a })}>exchange</button></div>
    <div class="sides">${[["a", a, pass_a, 0], ["b", b, pass_b, 1]].map(([side, run, pass, i]) => html`<div class="card side-name" key=${side}>
      <b class=${`letter ${side}`}>${side}</b> <a href=${href(["run", run])}>${run}</a>
      ${passes.data?.[i].length > 1 && html`<select aria-label=${`pass of ${side}`} value=${pass} onChange=${(event) => set({ [`pass_${side}`]: event.target.value })}>
        <option value="">same passes paired</option>${passes.data[i].map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select>`}</div>`)}</div>
    <${Result} data=${data} />
    ${data.changes.length > 0 && html`<details class="card changes"><summary>${data.changes.length} settings differ (a → b)</summary>
      <ul>${data.changes.map((change) => html`<li key=${change} class="mono">${change.replace("->", "→")}</li>`)}</ul></details>`}
    <${Curves} curves=${curves.data} names=${[a === b ? "a" : a, a === b ? "b" : b]} />
    <${Items} ...${{ data, query, kind, set }} />`;
}

function Result({ data: { paired, counts, unpaired, unscored } }) {
  const { difference, p_value, n, tasks } = paired;
  if (!n) return html`<${Nothing}>The runs share no scored item. Items are paired by task, repeat and pass.<//>`;
  const points = (value) => (value === null ? "–" : `${value > 0 ? "+" : ""}${(100 * value).toFixed(1)}`.replace("-", "−"));
  const right = [counts.only_a + counts.both_right, counts.only_b + counts.both_right];
  return html`<div class="card result"><div><span class="muted">accuracy, a minus b</span><b class="big">${points(difference.value)} points</b>
      <span class="muted">95 % interval ${points(difference.low)} to ${points(difference.high)}, McNemar p = ${number(p_value)}</span></div>
    <table><thead><tr><th></th><th scope="col">b right</th><th scope="col">b wrong</th></tr></thead>
      <tbody><tr><th scope="row">a right</th><td>${number(counts.both_right)}</td><td class="flip">${number(counts.only_a)}</td></tr>
        <tr><th scope="row">a wrong</th><td class="flip">${number(counts.only_b)}</td><td>${number(counts.both_wrong)}</td></tr></tbody></table>
    <p>a ${percent(right[0] / n)} · b ${percent(right[1] / n)} on ${number(n)} pairs of ${number(tasks)} tasks
      ${unpaired.some(Boolean) && html`<br /><span class="muted">left out: ${unpaired[0]} only in a, ${unpaired[1]} only in b</span>`}
      ${unscored > 0 && html`<br /><span class="muted">${unscored} not scored</span>`}</p></div>`;
}

function Curves({ curves, names }) {
  const [hidden, setHidden] = useState(new Set());
  const toggle = (name) => {
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    setHidden(next); // of all charts: it is a run that is hidden
  };
  if (!curves || names[0] === "a") return null;
  const shown = CURVES.filter(([name]) => curves.some(({ columns }) => columns[name]));
  if (!shown.length) return null;
  return html`<div class="charts">${shown.map(([name, share]) => html`<${Chart} key=${name} title=${words(name)} share=${share} smooth=${0.6} hidden=${hidden} toggle=${toggle}
    lines=${curves.map(({ step, columns }, i) => ({ label: names[i], steps: step, values: columns[name] ?? [] }))} />`)}</div>`;
}

function Items({ data, query, kind, set }) {
  const size = { ...data.counts, flips: data.counts.only_a + data.counts.only_b, all: data.paired.n };
  return html`<section class="card items"><div class="tabs" role="tablist">${KINDS.map(([name, label]) => html`<button key=${name} role="tab" aria-selected=${kind === name}
      onClick=${() => set({ kind: name === "flips" ? "" : name, item: "" })}>${label} <span class="num">${number(size[name])}</span></button>`)}</div>
    ${data.items.map((item) => {
      const id = `${item.task}/${item.repeat}/${item.name ?? ""}`;
      return html`<${Item} key=${id} ...${{ item, query }} open=${query.item === id} toggle=${() => set({ item: query.item === id ? "" : id })} />`;
    })}
    ${data.total > data.items.length && html`<p class="muted">the first ${number(data.items.length)} of ${number(data.total)}</p>`}
    ${data.total === 0 && html`<${Nothing}>No such item.<//>`}</section>`;
}

function Item({ item, query, open, toggle }) {
  const side = (name) => html`<span class="of"><b class=${`letter ${name}`}>${name}</b> <${Verdict} correct=${item[name].correct} short />
    <span class="mono">${item[name].extracted ?? "–"}</span>${item[name].calls > 0 && html` <span class="muted">${item[name].calls} call${item[name].calls > 1 ? "s" : ""}</span>`}</span>`;
  return html`<div class=${`item ${open ? "open" : ""}`}>
    <button class="quiet" aria-expanded=${open} onClick=${toggle}><span class="what">${item.question || item.task}</span>${side("a")}${side("b")}<span class="muted gold">right: <span class="mono">${item.gold}</span></span></button>
    ${open && html`<${Both} item=${item} query=${query} />`}</div>`;
}

function Both({ item, query }) {
  const { data, error } = useData(() => Promise.all(["a", "b"].map((side) => api.trajectory(query[side], item[side].key))), [item.a.key, item.b.key]);
  if (error) return html`<${Failed} error=${error} />`;
  if (!data) return html`<${Loading} what="both trajectories" />`;
  return html`<div class="both">${["a", "b"].map((side, i) => html`<article key=${side}>
    <header><b class=${`letter ${side}`}>${side}</b> <a href=${href(["run", query[side], "trajectory", item[side].key])}>${item[side].key}</a></header>
    ${((data[i].record.trajectory ?? data[i].record).segments ?? []).slice(0, 40).map((segment, index) =>
      html`<${Segment} key=${index} run=${query[side]} id=${item[side].key} index=${index} segment=${segment} />`)}</article>`)}</div>`;
}
