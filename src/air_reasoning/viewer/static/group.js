// Group: all trajectories of one prompt side by side. Why was this one paid more?
import { html, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { configValues } from "./config.js";
import { number, percent, words } from "./format.js";
import { useKeys } from "./keys.js";
import { Markdown } from "./markdown.js";
import { Pictures } from "./pictures.js";
import { go, href } from "./route.js";
import { Segment } from "./segment.js";
import { Amount, Badge, Failed, Loading, Nothing, useData, Verdict } from "./ui.js";

const MOST = 64;

async function loadGroup(run, id, step) {
  const filter = { group: id, ...(step ? { step_min: step, step_max: step } : {}) };
  const [{ rows }, details] = await Promise.all([api.samples(run, filter, 0, MOST), api.run(run)]);
  const members = await Promise.all(rows.map((row) => api.trajectory(run, row.key)));
  return { members, config: configValues(details.config) };
}

const SORTS = { order: () => 0, reward: (a, b) => (b.row.reward ?? 0) - (a.row.reward ?? 0), length: (a, b) => b.row.tokens - a.row.tokens };

export function Group({ run, id, query }) {
  const { data, error } = useData(() => loadGroup(run, id, query.step), [run, id, query.step]);
  const sort = query.sort ?? "order";
  const set = (patch) => go(["run", run, "group", id], { ...query, ...patch }, true);
  useKeys({
    o: ["other order", () => set({ sort: { order: "reward", reward: "length", length: "" }[sort] })],
    Escape: ["all samples of this task", () => data && go(["run", run, "samples"], { task: data.members[0]?.row.task })],
  });
  if (error) return html`<${Failed} error=${error} />`;
  if (!data) return html`<${Loading} what="the group" />`;
  if (!data.members.length) return html`<${Nothing}>This group has no trajectory in the run folder; not every step is written.<//>`;
  const members = [...data.members].sort(SORTS[sort] ?? SORTS.order);
  const task = members[0].record.task ?? {};
  const question = (task.prompt ?? []).map((part) => part.text ?? "").join("").trim();
  return html`<div class="page-head"><h1>Group <span class="mono id">${id}</span></h1>
      <div class="tools"><div class="tabs" role="group" aria-label="order">${Object.keys(SORTS).map((name) => html`<button key=${name}
        aria-selected=${sort === name} aria-pressed=${sort === name} onClick=${() => set({ sort: name === "order" ? "" : name })}>by ${name}</button>`)}</div></div></div>
    <div class="asked"><section class="card"><${Markdown} text=${question || "(no text)"} />
        <p>right answer <b class="mono">${task.answer?.value ?? "–"}</b> · step ${members[0].row.step ?? "–"} · ${members.length} trajectories</p>
        <${Pictures} run=${run} images=${task.images} names=${(i) => `image_${i + 1}`} /></section>
      <${Why} members=${data.members} config=${data.config} /></div>
    <${Payments} run=${run} members=${members} />
    <div class="members" tabindex="0" role="region" aria-label="trajectories side by side">${members.map((member, i) => html`<${Member} key=${member.row.key} run=${run} member=${member} number_=${i + 1} />`)}</div>`;
}

const share = (members) => (members.length ? members.filter(({ row }) => row.calls > 0).length / members.length : null);

/** The group's own figures, on which the group-constrained reward depends. */
export function groupFigures(members) {
  const free = members.filter(({ row }) => !row.banned);
  const codeFree = members.filter(({ row }) => row.calls === 0);
  return {
    right: share(free.filter(({ row }) => row.correct === 1)),
    wrong: share(free.filter(({ row }) => row.correct === 0)),
    withoutCode: codeFree.length ? codeFree.filter(({ row }) => row.correct === 1).length / codeFree.length : null,
  };
}

function Why({ members, config }) {
  const { right, wrong, withoutCode } = groupFigures(members);
  const at = (name, otherwise) => Number(config[`reward.${name}`] ?? otherwise);
  const bound = config["reward.mode"] === "group_constrained";
  const aware = config["reward.need"] !== "plain";
  const over = !aware || (withoutCode !== null && withoutCode >= at("need_low", 1));
  const under = !aware || withoutCode === null || withoutCode <= at("need_high", 0.35);
  const fact = (name, value, told) => html`<dt>${name}</dt><dd><b>${percent(value)}</b> <span class="muted">${told}</span></dd>`;
  return html`<section class="card why"><h2>Why they were paid so</h2><dl class="facts">
    ${fact("code among right", right, bound ? `bound P_r ${percent(at("p_right", 0.1))}` : "")}
    ${fact("code among wrong", wrong, bound ? `bound P_w ${percent(at("p_wrong", 0.9))}` : "")}
    ${fact("right without code", withoutCode, "banned ones included")}</dl>
    ${bound && html`<ul><li>${over ? "Calling code costs the right ones" : "Calling code costs nothing"}: ${over ? "it was not needed here" : "it may have been needed"}.</li>
      <li>${under ? "Not daring to call costs the wrong ones, a working call pays" : "Wrong ones are not pushed to call"}.</li></ul>`}
    <p class="muted">Counted over the ${members.length} members that are in the run folder.</p></section>`;
}

/** One row a member: verdict, code, every term of the reward, the sum and what training made of it. */
function Payments({ run, members }) {
  const terms = [...new Set(members.flatMap(({ record }) => Object.keys(record.reward?.terms ?? {})))];
  return html`<div class="card scroll"><table class="payments">
    <thead><tr><th scope="col">#</th><th scope="col">verdict</th><th scope="col">answer</th><th scope="col" class="num">calls</th><th scope="col" class="num">tokens</th>
      ${terms.map((term) => html`<th scope="col" class="num" key=${term}>${words(term)}</th>`)}<th scope="col" class="num">reward</th><th scope="col" class="num">advantage</th></tr></thead>
    <tbody>${members.map(({ row, record }, i) => html`<tr key=${row.key}>
      <th scope="row"><a href=${href(["run", run, "trajectory", row.key])}>${i + 1}</a></th><td><${Verdict} correct=${row.correct} /></td>
      <td class="mono">${row.extracted ?? "–"}</td>
      <td class="num">${row.banned ? html`<${Badge} tone="warn">banned<//>` : row.calls}${row.failed ? html` <span class="minus">✗${row.failed}</span>` : ""}</td><td class="num">${number(row.tokens)}</td>
      ${terms.map((term) => html`<td key=${term}><${Amount} value=${record.reward?.terms?.[term]} /></td>`)}
      <td><${Amount} value=${row.reward} /></td><td><${Amount} value=${row.advantage} scale=${2} /></td></tr>`)}</tbody></table></div>`;
}

function Member({ run, member: { row, record }, number_ }) {
  const [all, setAll] = useState(false);
  const segments = (record.trajectory ?? record).segments ?? [];
  const shown = all ? segments : segments.slice(0, 12);
  return html`<article class=${`card member ${row.correct ? "right" : row.correct === 0 ? "wrong" : ""}`} data-key=${row.key}>
    <header><h2><a href=${href(["run", run, "trajectory", row.key])}>${number_}</a> <${Verdict} correct=${row.correct} /></h2>
      ${row.banned ? html`<${Badge} tone="warn">code banned<//>` : ""}<span class="num">${row.reward === null ? "" : `reward ${number(row.reward)}`}</span></header>
    ${shown.map((segment, index) => html`<${Segment} key=${index} run=${run} id=${row.key} index=${index} segment=${segment} />`)}
    ${segments.length > shown.length && html`<button onClick=${() => setAll(true)}>${segments.length - shown.length} more segments</button>`}
    ${row.stop !== "answered" && html`<p class="warn-text">stopped: ${words(row.stop ?? "–")}</p>`}
  </article>`;
}
