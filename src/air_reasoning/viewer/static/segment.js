// One segment of a trajectory: thought or text as markdown, code coloured, output with figures and error.
import { html, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { Code } from "./code.js";
import { duration, number } from "./format.js";
import { Markdown } from "./markdown.js";
import { Pictures } from "./pictures.js";
import { Badge, Copy } from "./ui.js";

const OPENING = /^\s*<(?:think|code|answer|interpreter|sandbox_output|tool_response)>\s?/;
const CLOSING = /\s?<\/(?:think|code|answer|interpreter|sandbox_output|tool_response)>\s*$/;
const FENCE = /^\s*```(?:python)?\n?|\n?```\s*$/g;
const PIECE = 12_000;

/** What stands between the tags. */
export function body(text) {
  const inside = text.replace(OPENING, "");
  const tail = inside.slice(-60); // a closing tag is at the end or nowhere
  return withoutEmptyEnds((inside.length > 60 ? inside.slice(0, -60) : "") + tail.replace(CLOSING, ""));
}

/** Without line feeds at both ends. A regular expression takes quadratic time where a cell printed a million of them. */
function withoutEmptyEnds(text) {
  let [start, end] = [0, text.length];
  while (start < end && text[start] === "\n") start++;
  while (end > start && text[end - 1] === "\n") end--;
  return text.slice(start, end);
}

/** Text of any length: the first piece, then as much more at each click. */
function Long({ text, show }) {
  const [length, setLength] = useState(PIECE);
  return html`${show(text.length > length ? text.slice(0, length) : text)}
    ${text.length > length && html`<p class="more">
      <button onClick=${() => setLength(length * 10)}>show more</button> ${number(length)} of ${number(text.length)} characters</p>`}`;
}

const Plain = ({ text }) => html`<${Long} text=${text} show=${(piece) => html`<pre>${piece}</pre>`} />`;
const Prose = ({ text }) => html`<${Long} text=${text} show=${(piece) => html`<${Markdown} text=${piece} />`} />`;

export function Segment({ run, id, index, segment }) {
  const [again, setAgain] = useState(null);
  const tokens = segment.token_ids?.length;
  const execution = segment.execution;
  return html`<div class=${`segment ${segment.kind}`} id=${`segment-${index}`} data-kind=${segment.kind}>
    <header><b>${segment.kind}</b>
      ${tokens > 0 && html`<span>${number(tokens)} tokens</span>`}
      ${execution && html`<${Status} execution=${execution} />`}
      ${segment.kind === "code" && html`<${CodeButtons} ...${{ run, id, index, segment, again, setAgain }} />`}
    </header>
    <${Content} run=${run} segment=${segment} />
    ${again && html`<${Again} again=${again} />`}
    ${segment.kind !== "output" && html`<${Pictures} run=${run} images=${segment.images} names=${(i) => `picture ${i + 1}`} />`}
  </div>`;
}

function Content({ run, segment }) {
  const text = body(segment.text ?? "");
  switch (segment.kind) {
    case "code":
      return html`<${Long} text=${segment.code || text.replace(FENCE, "")} show=${(piece) => html`<${Code} text=${piece} />`} />`;
    case "output":
      return html`<${Output} run=${run} text=${text} segment=${segment} />`;
    case "answer":
      return html`<div class="final"><${Prose} text=${/^\s*\\boxed\{/.test(text) ? `$${text.trim()}$` : text} /></div>`;
    default:
      return html`<${Prose} text=${text} />`;
  }
}

/** What came back: the text that the model saw, the figures, and what it did not see. */
export function Output({ run, text, segment }) {
  const { error, stderr } = segment.execution ?? {};
  return html`<${Plain} text=${text} />
    <${Pictures} run=${run} images=${segment.images} names=${(i) => `figure ${i + 1}`} />
    ${error?.traceback && html`<details><summary>traceback <span class="muted">(the model saw the last line)</span></summary><${Plain} text=${error.traceback} /></details>`}
    ${stderr && html`<details><summary>stderr <span class="muted">(not shown to the model)</span></summary><${Plain} text=${stderr} /></details>`}`;
}

function Status({ execution }) {
  const tone = execution.status === "ok" ? "right" : execution.status === "lost" ? "warn" : "wrong";
  return html`<${Badge} tone=${tone}>${execution.status}<//>
    <span>${duration(execution.wall_ms / 1000)}</span>
    ${execution.state_lost && html`<${Badge} tone="warn" title="variables of earlier cells are gone">state lost<//>`}
    ${execution.tier && html`<span title="isolation of the sandbox">${execution.tier}</span>`}`;
}

function CodeButtons({ run, id, index, segment, again, setAgain }) {
  const start = async () => {
    setAgain({ busy: true });
    try {
      setAgain({ result: await api.rerun(run, id, index) });
    } catch (error) {
      setAgain({ error });
    }
  };
  return html`<span class="buttons">
    <${Copy} text=${segment.code || body(segment.text).replace(FENCE, "")} label="copy code" />
    ${!api.bundled && segment.code && html`<button class="quiet" disabled=${again?.busy} onClick=${start}
      title="runs this cell, after the cells before it, in the sandbox of this machine">${again?.busy ? "running …" : "run this cell again"}</button>`}
  </span>`;
}

function Again({ again: { error, result } }) {
  if (error) return html`<p class="again failed" role="alert">${error.message}</p>`;
  if (!result) return null;
  return html`<div class="again" role="status"><header><b>again, now</b><${Status} execution=${result.execution} /></header>
    <pre>${result.text}</pre>
    ${result.figures.map((png, i) => html`<img key=${i} src=${pictureOf(png)} alt=${`figure ${i + 1} of the new run`} />`)}</div>`;
}

/** An address for a picture in base64; lives as long as the page. */
const pictureOf = (png) =>
  URL.createObjectURL(new Blob([Uint8Array.from(atob(png), (sign) => sign.charCodeAt(0))], { type: "image/png" }));
