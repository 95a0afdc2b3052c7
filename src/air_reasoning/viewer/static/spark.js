// A curve of a few pixels, drawn as SVG.
import { html } from "./vendor/vendor.js";

export function Spark({ values, width = 110, height = 26, label = "" }) {
  if (!values || values.length < 2) return null;
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const points = values.map((value, i) =>
    `${((i / (values.length - 1)) * (width - 4) + 2).toFixed(1)},${(height - 3 - ((value - low) / span) * (height - 6)).toFixed(1)}`);
  const [x, y] = points.at(-1).split(",");
  return html`<svg class="spark" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${label}>
    <polyline points=${points.join(" ")} fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round" />
    <circle cx=${x} cy=${y} r="2.2" fill="currentColor" /></svg>`;
}
