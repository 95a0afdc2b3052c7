// The filter bar of Samples. The filter is the query of the address; this only changes it.
import { html, useEffect, useRef, useState } from "./vendor/vendor.js";
import { number, words } from "./format.js";

/** Names that are part of a filter, in the address and in the API. */
export const FILTERS = [
  "text", "correct", "code", "error", "stop", "kind", "difficulty", "name", "task", "group",
  "step_min", "step_max", "reward_min", "reward_max",
];

export const pick = (query, names) => Object.fromEntries(names.filter((name) => query[name]).map((name) => [name, query[name]]));
export const filterOf = (query) => pick(query, [...FILTERS, "sort"]);

const FIXED = {
  correct: [["right", "right"], ["wrong", "wrong"], ["unscored", "not scored"]],
  code: [["used", "called code"], ["none", "did not call"], ["banned", "code banned"]],
  error: [["failed", "a cell failed"], ["clean", "no cell failed"]],
};

function Choice({ name, label, options, value, change }) {
  if (options.length === 0 && !value) return null;
  return html`<span class=${`choice ${value ? "on" : ""}`}>
    <select aria-label=${label} value=${value ?? ""} onChange=${(event) => change({ [name]: event.target.value })}>
      <option value="">${label}</option>
      ${options.map(([option, shown]) => html`<option key=${option} value=${option}>${shown}</option>`)}
      ${value && !options.some(([option]) => option === value) && html`<option value=${value}>${value}</option>`}
    </select>
  </span>`;
}

function Range({ name, label, range, query, change }) {
  const [low, high] = range ?? [];
  if (low === null || low === undefined) return null;
  const field = (end, hint) =>
    html`<input type="number" step="any" inputmode="decimal" aria-label=${`${label}, ${end}`} placeholder=${number(hint)}
      value=${query[`${name}_${end}`] ?? ""} onChange=${(event) => change({ [`${name}_${end}`]: event.target.value })} />`;
  const on = query[`${name}_min`] || query[`${name}_max`];
  return html`<span class=${`range ${on ? "on" : ""}`}><span>${label}</span>${field("min", low)}–${field("max", high)}</span>`;
}

/** Text search: asks when typing pauses. */
function Search({ value, change }) {
  const [text, setText] = useState(value);
  const timer = useRef(0);
  useEffect(() => setText(value), [value]);
  const typed = (event) => {
    setText(event.target.value);
    clearTimeout(timer.current);
    const wanted = event.target.value;
    timer.current = setTimeout(() => change({ text: wanted }), 250);
  };
  return html`<input id="search" type="search" class=${value ? "on" : ""} placeholder="search text  /" aria-label="search in question and trajectory"
    title="question, model text and output; the first 8,000 characters of each trajectory" value=${text} onInput=${typed} />`;
}

export function FilterBar({ query, facets, change }) {
  const named = (name) => (facets?.[name] ?? []).filter(([value]) => value !== null && value !== "");
  const counted = (name) => named(name).map(([value, count]) => [value, `${words(value)}  (${number(count)})`]);
  const active = FILTERS.filter((name) => query[name]);
  const clear = () => change(Object.fromEntries(active.map((name) => [name, ""])));
  const choice = (name, label, options) =>
    html`<${Choice} name=${name} label=${label} options=${options} value=${query[name]} change=${change} />`;
  return html`<div class="filters" role="search">
    <${Search} value=${query.text ?? ""} change=${change} />
    ${choice("correct", "right or wrong", FIXED.correct)}
    ${choice("code", "code", FIXED.code)}
    ${choice("error", "errors", FIXED.error)}
    ${choice("stop", "stop reason", counted("stop"))}
    ${choice("kind", "kind", counted("kind"))}
    ${choice("difficulty", "difficulty", counted("difficulty"))}
    ${choice("name", "pass", counted("name"))}
    <${Range} name="step" label="step" range=${facets?.step} query=${query} change=${change} />
    <${Range} name="reward" label="reward" range=${facets?.reward} query=${query} change=${change} />
    ${["task", "group"].map((name) => query[name] && html`<span class="choice on fixed" key=${name}>${name} ${query[name]}</span>`)}
    ${active.length > 0 && html`<button class="quiet" onClick=${clear}>clear ${active.length}</button>`}
  </div>`;
}
