// Figures of an evaluation with their 95 % intervals, as summary.json has them.
import { html } from "./vendor/vendor.js";
import { metric, number, percent, signed, words } from "./format.js";

const SHOWN = ["accuracy", "accuracy_easy", "accuracy_medium", "accuracy_hard", "accuracy_interleaved", "code_share",
  "code_share_right", "code_share_wrong", "tool_success", "tokens_mean", "n"];

const rowsOf = (checkpoints) =>
  Object.entries(checkpoints).flatMap(([name, passes]) => Object.entries(passes).map(([pass, figures]) => ({ name, pass, figures })));

export function Measured({ summary }) {
  const rows = rowsOf(summary.checkpoints ?? {});
  if (!rows.length) return null;
  const names = SHOWN.filter((name) => rows.some(({ figures }) => (figures[name]?.value ?? null) !== null));
  return html`<section class="card scroll" aria-label="measured"><table class="measured">
      <caption>Measured, with 95 % intervals</caption>
      <thead><tr><th scope="col">checkpoint</th>${names.map((name) => html`<th scope="col" class="num" key=${name}>${words(name)}</th>`)}</tr></thead>
      <tbody>${rows.map(({ name, pass, figures }) => html`<tr key=${name + pass}><th scope="row">${words(name)} <small class="muted">${pass}</small></th>
        ${names.map((figure) => html`<td class="num" key=${figure}><${Interval} name=${figure} figure=${figures[figure]} /></td>`)}</tr>`)}</tbody>
    </table><${Benefit} benefit=${summary.tool_benefit} /></section>`;
}

function Interval({ name, figure }) {
  if (!figure || figure.value === null) return "–";
  const certain = figure.low === null || figure.low === figure.high;
  return html`<b>${metric(name, figure.value)}</b>${!certain && html`<small>${metric(name, figure.low).replace(" %", "")} – ${metric(name, figure.high)}</small>`}`;
}

/** What code is worth: the same items with and without it. */
function Benefit({ benefit }) {
  const pairs = Object.entries(benefit ?? {}).filter(([, kinds]) => kinds.all?.difference?.value !== null && kinds.all);
  return pairs.map(([pass, { all }]) => html`<p key=${pass} class="benefit"><b>What code is worth, ${pass}:</b>
    ${" "}${signed(Number((100 * all.difference.value).toFixed(1)))} points (95 % interval ${percent(all.difference.low)} to ${percent(all.difference.high)});${" "}
    ${all.only_a} items right only with code, ${all.only_b} only without, McNemar p = ${number(all.p_value)}, n = ${all.n}</p>`);
}
