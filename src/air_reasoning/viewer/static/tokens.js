// Token by token: what the model wrote and what was put in, how sure it was, what the loss counts.
import { html, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { number } from "./format.js";
import { Lazy } from "./lazy.js";
import { Loading, useData } from "./ui.js";

const SHOWN = 4_000;
const STEPS = [0.98, 0.9, 0.75, 0.5, 0.25, 0.1, 0.02];

/** 0 (sure) to 7 (surprised) of a natural log-probability. */
export const heat = (logprob) => {
  const step = STEPS.findIndex((limit) => Math.exp(logprob) >= limit);
  return step < 0 ? STEPS.length : step;
};

export function Tokens({ run, id, trajectory }) {
  const { data, loading } = useData(() => api.tokens(run, id).catch((error) => ({ error: error.message })), [run, id]);
  const [mode, setMode] = useState("probability");
  if (loading && !data) return html`<${Loading} what="tokens" />`;
  const segments = trajectory.segments ?? [];
  const written = segments.filter((segment) => segment.kind !== "output").reduce((sum, s) => sum + (s.token_ids?.length ?? 0), 0);
  const inserted = segments.reduce((sum, s) => sum + (s.token_ids?.length ?? 0), 0) - written;
  return html`<div class="tokens">
    <div class="bar">
      <div class="tabs" role="tablist">${["probability", "mask"].map((name) => html`<button key=${name} role="tab"
        aria-selected=${mode === name} onClick=${() => setMode(name)}>${name}</button>`)}</div>
      ${mode === "probability"
        ? html`<span class="legend" aria-hidden="true">sure ${[...STEPS, 0].map((_, i) => html`<i class=${`h${i}`}></i>`)} surprised</span>`
        : html`<span class="legend"><i class="m1"></i> in the loss <i class="m0"></i> not in it</span>`}
      <span class="muted">${number(trajectory.prompt_ids?.length ?? 0)} prompt, ${number(written)} written, ${number(inserted)} from the sandbox ·
        policy version ${trajectory.policy_version ?? "–"}</span>
    </div>
    ${data?.error && html`<p class="muted">Token texts are not known here (${data.error}); ids are shown.</p>`}
    <${Lazy} height=${60}>${() => html`<${Run} name="prompt" mode=${mode} ids=${trajectory.prompt_ids ?? []} texts=${data?.prompt} trained=${false} />`}<//>
    ${segments.map((segment, i) => html`<${Lazy} key=${i} height=${90}>${() => html`<${Run} name=${segment.kind} mode=${mode}
      ids=${segment.token_ids ?? []} texts=${data?.segments?.[i]} logprobs=${segment.logprobs} trained=${segment.kind !== "output"} />`}<//>`)}
  </div>`;
}

function Run({ name, mode, ids, texts, logprobs, trained }) {
  const [length, setLength] = useState(name === "prompt" ? 400 : SHOWN);
  return html`<div class=${`segment ${name}`}>
    <header><b>${name}</b><span>${number(ids.length)} tokens</span>${!trained && html`<span>not in the loss</span>`}</header>
    <p class="token-run">${(trained ? ids.slice(0, length).map((_, i) => [i, 1]) : runsOf(ids.slice(0, length))).map(([i, times]) => {
      const id = ids[i];
      const logprob = trained ? logprobs?.[i] : undefined;
      const tone = mode === "mask" ? (trained ? "m1" : "m0") : logprob === undefined ? "" : `h${heat(logprob)}`;
      const told = logprob === undefined ? "" : `, p ${number(Math.exp(logprob))}, log p ${number(logprob)}`;
      return html`<span key=${i} class=${tone} title=${`#${i}, id ${id}${told}`}>${visible(texts?.[i], id)}${times > 1 && html`<b> ×${times} </b>`}</span>`;
    })}</p>
    ${ids.length > length && html`<p class="more"><button onClick=${() => setLength(length * 10)}>show more</button> ${number(length)} of ${number(ids.length)} tokens</p>`}
  </div>`;
}

/** [[index, times], ...]: three and more of the same token in a row, as picture placeholders are, become one. */
export function runsOf(ids) {
  const runs = [];
  for (let i = 0; i < ids.length; ) {
    let end = i;
    while (ids[end] === ids[i] && end < ids.length) end++;
    if (end - i >= 3) runs.push([i, end - i]);
    else for (let j = i; j < end; j++) runs.push([j, 1]);
    i = end;
  }
  return runs;
}

/** Spaces and line feeds that can be seen. */
const visible = (text, id) => (text === undefined ? ` ${id} ` : text.replaceAll("\n", "⏎\n").replace(/^ $/, "␣"));
