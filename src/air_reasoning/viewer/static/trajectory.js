// One trajectory: the question, what was paid and why, and every segment in order, turn by turn.
import { html, useEffect, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { filterOf } from "./filters.js";
import { duration, number, words } from "./format.js";
import { useKeys } from "./keys.js";
import { Lazy } from "./lazy.js";
import { Pictures } from "./pictures.js";
import { Markdown } from "./markdown.js";
import { Raw } from "./raw.js";
import { go, href } from "./route.js";
import { Segment } from "./segment.js";
import { Tokens } from "./tokens.js";
import { Badge, Failed, Loading, RewardTerms, useData, Verdict } from "./ui.js";

const LAZY_FROM = 60; // segments; below it everything is on the page and can be found with the browser's search

/** A turn is what the model wrote until it stopped, and what came back. [{index, segment}, ...] each. */
export function turnsOf(segments) {
  const turns = [[]];
  segments.forEach((segment, index) => {
    turns.at(-1).push({ index, segment });
    if (segment.kind === "output") turns.push([]);
  });
  return turns.filter((turn) => turn.length);
}

export function Trajectory({ run, id, query }) {
  const { data, error, loading } = useData(() => api.trajectory(run, id), [run, id]);
  const around = useNeighbours(run, query);
  const filter = filterOf(query);
  const tab = query.tab ?? "segments";
  const show = (patch) => go(["run", run, "trajectory", id], { ...query, ...patch }, true);
  const step = (by) => {
    const row = by > 0 ? around.next : around.previous;
    if (row) go(["run", run, "trajectory", row.key], { ...query, pos: Number(query.pos) + by, closed: "", segment: "" });
  };
  useKeys({
    j: ["next trajectory of the list", () => step(1)],
    k: ["trajectory before it", () => step(-1)],
    s: ["segments", () => show({ tab: "" })],
    t: ["tokens", () => show({ tab: "tokens" })],
    r: ["raw record", () => show({ tab: "raw" })],
    g: ["its group", () => data?.row.grp && go(["run", run, "group", data.row.grp], data.row.step === null ? {} : { step: data.row.step })],
    Escape: ["back to the list", () => go(["run", run, "samples"], { ...filter, at: query.pos })],
  });
  if (error) return html`<${Failed} error=${error} />`;
  if (!data || (loading && data.row.key !== id)) return html`<${Loading} what="the trajectory" />`;
  const { row, record } = data;
  const trajectory = record.trajectory ?? record;
  return html`<article class="trajectory">
    <${Head} ...${{ run, row, tab, show, step, around, query, filter }} />
    <div class=${`columns ${tab === "segments" ? "" : "wide"}`}>
      <${Side} ...${{ run, row, record, trajectory }} />
      <div class="story">
        ${tab === "tokens"
          ? html`<${Tokens} ...${{ run, id, trajectory }} />`
          : tab === "raw"
            ? html`<${Raw} row=${row} record=${record} />`
            : html`<${Turns} ...${{ run, id, trajectory, query, show }} />`}
      </div>
    </div>
  </article>`;
}

/** The rows before and after this one in the list that it was opened from. */
function useNeighbours(run, query) {
  const [around, setAround] = useState({});
  const position = query.pos === undefined ? null : Number(query.pos);
  useEffect(() => {
    if (position === null) return setAround({});
    const start = Math.max(0, position - 1);
    let current = true;
    api.samples(run, filterOf(query), start, 3).then(({ rows }) => {
      const here = position - start;
      if (current) setAround({ previous: here ? rows[0] : undefined, next: rows[here + 1] });
    }, () => {});
    return () => (current = false);
  }, [run, position, JSON.stringify(filterOf(query))]);
  return around;
}

function Head({ run, row, tab, show, step, around, query, filter }) {
  const tabs = [["segments", "Trajectory"], ["tokens", "Tokens"], ["raw", "Raw"]];
  return html`<header class="page-head">
    <div class="title"><h1><${Verdict} correct=${row.correct} /> <span class="mono id">${row.key}</span></h1>
      ${query.pos !== undefined && html`<span class="steps">
        <button onClick=${() => step(-1)} disabled=${!around.previous} title="k">← before</button>
        <a href=${href(["run", run, "samples"], { ...filter, at: query.pos })}>row ${number(Number(query.pos) + 1)}</a>
        <button onClick=${() => step(1)} disabled=${!around.next} title="j">next →</button></span>`}
    </div>
    <div class="tabs" role="tablist">${tabs.map(([name, label]) => html`<button key=${name} role="tab" aria-selected=${tab === name}
      onClick=${() => show({ tab: name === "segments" ? "" : name })}>${label}</button>`)}</div>
  </header>`;
}

function Side({ run, row, record, trajectory }) {
  const task = record.task ?? {};
  const question = (task.prompt ?? []).map((part) => (part.kind === "image" ? "" : part.text)).join("").trim();
  const facts = [
    ["stop", html`<span class=${trajectory.stop === "answered" ? "" : "warn-text"}>${words(trajectory.stop ?? "–")}</span>`],
    ["answer", html`<span class="mono">${record.extracted ?? "none"}</span> ${record.record?.route && html`<small class="muted">by ${words(record.record.route)}</small>`}`],
    ["right answer", html`<span class="mono">${task.answer?.value ?? "–"}</span>`],
    ["kind", [row.kind, row.difficulty].filter(Boolean).map(words).join(", ")],
    ["step", row.step],
    ["pass", row.name],
    ["policy version", trajectory.policy_version],
    ["tokens", `${number(trajectory.usage?.model)} written, ${number(trajectory.usage?.output)} from the sandbox`],
    ["calls", row.calls === null ? null : `${row.calls}${row.failed ? `, ${row.failed} failed` : ""}`],
    ["time", trajectory.timing?.total && `${duration(trajectory.timing.total)} (${duration(trajectory.timing.sandbox)} sandbox)`],
    ["task", html`<a href=${href(["run", run, "samples"], { task: row.task })}>${row.task}</a>`],
    ["group", row.grp && html`<a href=${href(["run", run, "group", row.grp], { step: row.step })}>side by side</a>`],
    ["reason", record.reason],
  ];
  return html`<aside class="side">
    <section class="card"><h2>Question</h2>
      <${Markdown} text=${question || "(no text)"} />
      ${task.choices?.length > 0 && html`<ol type="A" class="choices">${task.choices.map((choice) => html`<li key=${choice}>${choice}</li>`)}</ol>`}
      <${Pictures} run=${run} images=${task.images} names=${(i) => `image_${i + 1}`} />
    </section>
    ${(record.reward || record.advantage !== undefined) && html`<section class="card"><h2>Paid</h2>
      <${RewardTerms} reward=${record.reward} advantage=${record.advantage} /></section>`}
    <section class="card"><h2>Facts</h2>
      ${trajectory.code_banned && html`<${Badge} tone="warn">code was banned<//>`}
      ${trajectory.error && html`<${Failed} error=${trajectory.error} />`}
      <dl class="facts">${facts.filter(([, value]) => value !== null && value !== undefined && value !== "").map(
        ([name, value]) => html`<dt key=${name}>${name}</dt><dd>${value}</dd>`)}</dl></section>
  </aside>`;
}

function Turns({ run, id, trajectory, query, show }) {
  const turns = turnsOf(trajectory.segments ?? []);
  const closed = new Set((query.closed ?? "").split(",").filter(Boolean));
  const toggle = (name) => {
    if (!closed.delete(name)) closed.add(name);
    show({ closed: [...closed].join(",") });
  };
  const all = () => show({ closed: closed.size ? "" : turns.map((_, i) => i + 1).join(",") });
  useKeys({ c: ["close or open all turns", all] });
  useEffect(() => {
    if (query.segment) document.getElementById(`segment-${query.segment}`)?.scrollIntoView({ block: "center" });
  }, [trajectory.id, query.segment]);
  if (!turns.length) return html`<p class="nothing">The model wrote nothing.</p>`;
  const lazy = (trajectory.segments?.length ?? 0) > LAZY_FROM;
  return html`${turns.map((turn, i) => html`<${Turn} key=${i} ...${{ run, id, turn, lazy }} name=${String(i + 1)}
    closed=${closed.has(String(i + 1))} toggle=${toggle} />`)}`;
}

function Turn({ run, id, turn, name, closed, toggle, lazy }) {
  const tokens = turn.reduce((sum, { segment }) => sum + (segment.kind === "output" ? 0 : (segment.token_ids?.length ?? 0)), 0);
  const status = turn.at(-1).segment.execution?.status;
  const shown = ({ index, segment }) => html`<${Segment} key=${index} ...${{ run, id, index, segment }} />`;
  const later = (part) => html`<${Lazy} key=${part.index} height=${60 + Math.min(1500, (part.segment.text?.length ?? 0) / 5)}>${() => shown(part)}<//>`;
  return html`<section class="turn card">
    <h2><button class="quiet fold" aria-expanded=${!closed} onClick=${() => toggle(name)}>${closed ? "▸" : "▾"} Turn ${name}</button>
      <span class="muted">${tokens ? `${number(tokens)} tokens` : ""}</span>
      ${status && html`<${Badge} tone=${status === "ok" ? "right" : "wrong"}>cell ${status}<//>`}</h2>
    ${!closed && turn.map(lazy ? later : shown)}
  </section>`;
}
