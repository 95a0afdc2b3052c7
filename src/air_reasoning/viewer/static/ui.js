// Small pieces that several pages share.
import { html, useEffect, useState } from "./vendor/vendor.js";
import { number, signed, words } from "./format.js";

/** {data, error, loading, reload}; `load` runs again when `inputs` change, late answers are dropped. */
export function useData(load, inputs) {
  const [state, setState] = useState({ loading: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let current = true;
    setState((before) => ({ ...before, loading: true }));
    load().then(
      (data) => current && setState({ data, loading: false }),
      (error) => current && setState({ error, loading: false }),
    );
    return () => (current = false);
  }, [...inputs, turn]);
  return { ...state, reload: () => setTurn((n) => n + 1) };
}

export const Loading = ({ what = "" }) => html`<p class="loading" role="status">Loading ${what} …</p>`;

export const Failed = ({ error }) =>
  html`<div class="failed" role="alert"><b>Could not be shown.</b> ${String(error?.message ?? error)}</div>`;

export const Nothing = ({ children }) => html`<p class="nothing">${children}</p>`;

/** Right, wrong, or not scored: shape and word, not colour alone. */
export function Verdict({ correct, short = false }) {
  const [tone, sign, word] =
    correct === null || correct === undefined
      ? ["none", "·", "not scored"]
      : correct
        ? ["right", "✓", "right"]
        : ["wrong", "✗", "wrong"];
  return html`<span class=${`verdict ${tone}`} title=${word}>
    <span aria-hidden="true">${sign}</span>${short ? html`<span class="sr">${word}</span>` : ` ${word}`}
  </span>`;
}

export const Badge = ({ tone = "", children, title }) =>
  html`<span class=${`badge ${tone}`} title=${title}>${children}</span>`;

const STATES = { running: "live", done: "right", failed: "wrong", interrupted: "warn", unreadable: "wrong" };

/** `running` only while a process holds the run; after a kill the file still says so, and this does not. */
export function State({ state, live }) {
  const shown = state === "running" && !live ? "stopped" : state;
  return html`<span class=${`state ${STATES[shown] ?? "warn"}`}><i aria-hidden="true"></i>${shown || "unknown"}</span>`;
}

/** A number with a bar from zero to the right or left, for rewards and advantages. */
export function Amount({ value, scale = 1 }) {
  if (value === null || value === undefined) return html`<span class="amount none">–</span>`;
  const width = Math.min(1, Math.abs(value) / scale) * 50;
  return html`<span class=${`amount ${value < 0 ? "minus" : value > 0 ? "plus" : "none"}`}>
    <span class="track" aria-hidden="true"><i style=${{ width: `${width}%` }}></i></span><span>${signed(value)}</span>
  </span>`;
}

/** Reward terms as rows with bars; terms of zero are dimmed, not hidden: that one did not act is news, too. */
export function RewardTerms({ reward, advantage }) {
  const terms = Object.entries(reward?.terms ?? {});
  const sum = terms.reduce((total, [, value]) => total + value, 0);
  const cut = reward && terms.length && Math.abs(sum - reward.total) > 1e-6;
  return html`<table class="terms">
    <tbody>
      ${terms.map(
        ([name, value]) => html`<tr key=${name} class=${value ? "" : "zero"}>
          <th scope="row">${words(name)}</th><td><${Amount} value=${value} /></td></tr>`,
      )}
      ${cut && html`<tr><th scope="row">guard</th><td><${Amount} value=${reward.total - sum} /></td></tr>`}
      ${reward && html`<tr class="total"><th scope="row">reward</th><td><${Amount} value=${reward.total} /></td></tr>`}
      ${advantage !== undefined && advantage !== null &&
      html`<tr class="total"><th scope="row">advantage</th><td><${Amount} value=${advantage} scale=${2} /></td></tr>`}
    </tbody>
  </table>`;
}

/** Copies text; says so for a moment. */
export function Copy({ text, label = "copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button class="quiet" onClick=${copy} aria-live="polite">${done ? "copied" : label}</button>`;
}
