// The record as it is on disk; lists of numbers stay on one line.
import { html, useMemo, useState } from "./vendor/vendor.js";
import { Code } from "./code.js";
import { bytes } from "./format.js";
import { Copy } from "./ui.js";

const SHOWN = 200_000;

export function pretty(value, indent = "") {
  if (Array.isArray(value)) {
    if (!value.some((item) => item !== null && typeof item === "object")) return JSON.stringify(value);
    return `[\n${value.map((item) => `${indent}  ${pretty(item, `${indent}  `)}`).join(",\n")}\n${indent}]`;
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value);
  if (!entries.length) return "{}";
  return `{\n${entries.map(([key, item]) => `${indent}  ${JSON.stringify(key)}: ${pretty(item, `${indent}  `)}`).join(",\n")}\n${indent}}`;
}

export function Raw({ row, record }) {
  const text = useMemo(() => pretty(record), [record]);
  const [length, setLength] = useState(SHOWN);
  const place = `trajectories/part-${String(row.part).padStart(4, "0")}.jsonl, byte ${row.offset}, ${bytes(row.length)}`;
  return html`<div class="raw">
    <div class="bar"><span class="muted">${place}</span><${Copy} text=${text} label="copy JSON" /></div>
    <${Code} text=${text.slice(0, length)} language="json" />
    ${text.length > length && html`<p class="more"><button onClick=${() => setLength(length * 10)}>show more</button> ${bytes(length)} of ${bytes(text.length)}</p>`}
  </div>`;
}
