// Run: where it stands, its curves with alarms, what it was told and where it ran. Follows a run that goes on.
import { html, useEffect, useRef, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { Chart } from "./chart.js";
import { alarmedMetric, chartsOf } from "./charts.js";
import { Config } from "./config.js";
import { ago, metric, number, words } from "./format.js";
import { useKeys } from "./keys.js";
import { Measured } from "./measured.js";
import { go, href } from "./route.js";
import { Failed, Loading, Nothing, State } from "./ui.js";

const TILES = ["accuracy", "reward/total", "code_share_right", "code_share_wrong", "tool_success", "tokens_mean", "policy/entropy", "loss/sft"];

/** {details, steps, columns, error}: metrics are added to as they are written. */
function useRun(run) {
  const [state, setState] = useState({});
  const size = useRef(0);
  useEffect(() => {
    let current = true;
    let steps = [];
    let columns = {};
    size.current = 0;
    const update = async () => {
      const [details, more] = await Promise.all([api.run(run), api.metrics(run, size.current)]);
      if (!current) return;
      if (more.reset) [steps, columns] = [[], {}];
      const before = steps.length;
      steps = [...steps, ...more.step];
      for (const name of new Set([...Object.keys(columns), ...Object.keys(more.columns)])) {
        const old = columns[name] ?? Array(before).fill(null);
        columns = { ...columns, [name]: [...old, ...(more.columns[name] ?? Array(more.step.length).fill(null))] };
      }
      size.current = more.size;
      setState({ details, steps, columns });
    };
    let chain = Promise.resolve();
    const queue = () => (chain = chain.then(update).catch((error) => current && setState((before) => ({ ...before, error }))));
    queue();
    let first = true;
    const stop = api.live(run, () => (first ? (first = false) : queue()));
    return () => {
      current = false;
      stop();
    };
  }, [run]);
  return state;
}

/** A longer run's curves are smoothed until one says otherwise. */
const MANY_STEPS = 40;

export function Run({ run, query }) {
  const { details, steps, columns, error } = useRun(run);
  const set = (patch) => go(["run", run], { ...query, ...patch }, true);
  const smooth = Number(query.smooth ?? (steps?.length > MANY_STEPS ? 0.6 : 0));
  useKeys({
    s: ["samples", () => go(["run", run, "samples"])],
    "]": ["smoother curves", () => set({ smooth: Math.min(0.95, smooth + 0.1).toFixed(2) })],
    "[": ["rawer curves", () => set({ smooth: smooth > 0.11 ? (smooth - 0.1).toFixed(2) : "0" })],
    "/": ["find a curve", () => document.getElementById("find-curve")?.focus()],
    Escape: ["leave the field", () => document.activeElement.blur()],
  });
  if (error && !details) return html`<${Failed} error=${error} />`;
  if (!details) return html`<${Loading} what="the run" />`;
  return html`<${Head} run=${run} details=${details} steps=${steps} />
    <${Tiles} columns=${columns} />
    <${Alarms} events=${details.events} />
    <${Measured} summary=${details.summary} />
    ${steps.length > 0 && html`<${Curves} ...${{ steps, columns, events: details.events, smooth, query, set }} />`}
    ${!steps.length && !Object.keys(details.summary).length && html`<${Nothing}>No figures yet; they appear here as they are written.<//>`}
    <${Config} text=${details.config} query=${query} set=${set} />
    <div class="pair"><${Environment} environment=${details.environment} status=${details.status} /><${Events} events=${details.events} /></div>`;
}

function Head({ run, details, steps }) {
  const { status, live } = details;
  return html`<div class="page-head"><h1>${run} <small class="muted">air ${status.command}</small></h1>
    <div class="tools"><${State} state=${status.state} live=${live} />
      ${steps.length > 0 && html`<span>step <b class="num">${number(steps.at(-1))}</b></span>`}
      <span class="muted" title=${status.updated}>${ago(status.updated)}</span>
      <a class="button" href=${href(["run", run, "samples"])}>Samples</a></div></div>`;
}

function Tiles({ columns }) {
  const known = TILES.filter((name) => columns[name]?.some((value) => value !== null));
  if (!known.length) return null;
  return html`<dl class="tiles">${known.map((name) => {
    const values = columns[name].filter((value) => value !== null && value !== undefined);
    return html`<div class="card" key=${name}><dt>${words(name.replace("policy/", ""))}</dt><dd>${metric(name, values.at(-1))}</dd>
      <small>first ${metric(name, values[0])}</small></div>`;
  })}</dl>`;
}

const alarmsOf = (events) => events.filter((event) => event.kind === "alarm");
const alarmText = (event) => event.text ?? event.message ?? event.name ?? "alarm";

function Alarms({ events }) {
  const alarms = alarmsOf(events);
  if (!alarms.length) return null;
  return html`<section class="alarms" aria-label="alarms"><b>${alarms.length} alarm${alarms.length > 1 ? "s" : ""}</b>
    <ul>${alarms.slice(-4).map((event, i) => html`<li key=${i}>step ${event.step ?? "–"}: ${alarmText(event)}</li>`)}</ul></section>`;
}

function Curves({ steps, columns, events, smooth, query, set }) {
  const names = Object.keys(columns).filter((name) => name !== "n");
  const { shown, more } = chartsOf(names);
  const wanted = (query.curve ?? "").toLowerCase();
  const fits = (chart) => !wanted || `${chart.title} ${chart.series.flat().join(" ")}`.toLowerCase().includes(wanted);
  const charts = (query.curves === "all" || wanted ? [...shown, ...more] : shown).filter(fits);
  const hidden = new Set((query.hide ?? "").split("|").filter(Boolean));
  const toggle = (title, label) => {
    const name = `${title}:${label}`;
    if (!hidden.delete(name)) hidden.add(name);
    set({ hide: [...hidden].join("|") });
  };
  return html`<section class="curves" aria-label="curves">
    <div class="tools"><label>smoothing <input type="range" min="0" max="0.95" step="0.05" value=${smooth}
        onInput=${(event) => set({ smooth: event.target.value })} /> <span class="num">${smooth || "none"}</span></label>
      <input id="find-curve" type="search" placeholder="find a curve  /" aria-label="find a curve" value=${query.curve ?? ""} onInput=${(event) => set({ curve: event.target.value })} />
      ${more.length > 0 && html`<button class="quiet" aria-pressed=${query.curves === "all"} onClick=${() => set({ curves: query.curves === "all" ? "" : "all" })}>
        ${query.curves === "all" ? "fewer" : `${more.length} more`}</button>`}</div>
    <div class="charts">${charts.map(({ title, series, share }) => html`<${Chart} key=${title} title=${title} share=${share} smooth=${smooth}
      lines=${series.map(([name, label]) => ({ label, steps, values: columns[name] }))}
      hidden=${new Set([...hidden].filter((name) => name.startsWith(`${title}:`)).map((name) => name.slice(title.length + 1)))}
      toggle=${(label) => toggle(title, label)}
      alarms=${alarmsOf(events).filter((event) => series.some(([name]) => name === alarmedMetric(event.name))).map((event) => ({ step: event.step, text: alarmText(event) }))} />`)}</div>
  </section>`;
}

function Environment({ environment, status }) {
  const { packages = {}, ...rest } = environment;
  const rows = [...Object.entries(rest), ...Object.entries(packages)].filter(([, value]) => value !== null);
  const prints = Object.entries(status.fingerprint ?? {}).filter(([, value]) => typeof value === "string" && value.length > 20);
  return html`<section class="card"><h2>Environment</h2><dl class="facts">${[...rows, ...prints].map(([name, value]) =>
    html`<dt key=${name}>${words(name)}</dt><dd class="mono">${String(value)}</dd>`)}</dl></section>`;
}

function Events({ events }) {
  return html`<section class="card"><h2>Events</h2><ol class="events">${[...events].reverse().slice(0, 200).map((event, i) => {
    const { time, kind, ...rest } = event;
    const text = Object.entries(rest).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
    return html`<li key=${i}><time class="muted num" title=${time}>${String(time).slice(5, 19).replace("T", " ")}</time>
      <b class=${kind === "alarm" || kind === "failed" ? "minus" : ""}>${words(kind)}</b> <span>${text}</span></li>`;
  })}</ol></section>`;
}
