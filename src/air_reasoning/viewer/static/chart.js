// One chart: raw values faint, smoothed ones strong, alarms as marks; dragging zooms, all charts share a cursor.
import { html, uPlot, useEffect, useRef, useState } from "./vendor/vendor.js";
import { smoothed } from "./charts.js";
import { number, percent } from "./format.js";

const HEIGHT = 190;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** `lines`: [{label, steps, values}]; alarms: [{step, text}]; `share`: values are 0 to 1. */
export function Chart({ title, lines, share, smooth, alarms = [], hidden, toggle }) {
  const place = useRef(null);
  const plot = useRef(null);
  const [at, setAt] = useState(null);
  const shown = lines.filter((line) => !hidden.has(line.label));
  const shape = JSON.stringify([lines.map((line) => line.label), [...hidden], smooth > 0, share, alarms.length, title]);
  const data = aligned(shown, smooth);

  useEffect(() => {
    const draw = () => {
      plot.current?.destroy();
      const tones = shown.map((line) => colour(`--c${(lines.indexOf(line) % 8) + 1}`));
      plot.current = new uPlot(options(place.current.clientWidth, tones, smooth > 0, share, alarms, setAt), data, place.current);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    resized.observe(place.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    window.addEventListener("themechange", draw);
    return () => {
      dark.removeEventListener("change", draw);
      window.removeEventListener("themechange", draw);
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data), [data[0].length, data[0].at(-1), smooth]);

  const index = at ?? data[0].length - 1;
  const step = at === null ? null : data[0][at];
  const value = (line) => line.values[at === null ? lastDefined(line.values) : line.steps.indexOf(step)];
  const told = lines.map((line) => `${line.label || title} ${share ? percent(value(line)) : number(value(line))}`).join(", ");
  return html`<figure class="card chart" data-chart=${title}>
    <figcaption><b>${title}</b>${step !== null && html`<span class="muted"> step ${number(step)}</span>`}
      ${alarms.length > 0 && html`<span class="badge warn" title=${alarms.map((alarm) => `step ${alarm.step}: ${alarm.text}`).join("\n")}>${alarms.length} alarm${alarms.length > 1 ? "s" : ""}</span>`}</figcaption>
    <div class="plot" ref=${place} role="img" aria-label=${`${title}; last values: ${told}`} data-points=${index + 1}></div>
    <div class="legend">${lines.map((line, i) => html`<button key=${line.label} class=${`quiet ${hidden.has(line.label) ? "off" : ""}`}
      aria-pressed=${!hidden.has(line.label)} onClick=${() => toggle(line.label)}>
      <i class=${`tone${(i % 8) + 1}`}></i>${line.label || "value"} <b>${share ? percent(value(line)) : number(value(line))}</b></button>`)}</div>
  </figure>`;
}

function lastDefined(values) {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null && values[i] !== undefined) return i;
  return -1;
}

/** uPlot's form: all steps, then for every line its raw values and, when smoothing, the smoothed ones. */
function aligned(lines, smooth) {
  const steps = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  const columns = lines.flatMap((line) => {
    const known = new Map(line.steps.map((step, i) => [step, line.values[i] ?? null]));
    const values = steps.map((step) => known.get(step) ?? null);
    return smooth > 0 ? [values, smoothed(values, smooth)] : [values];
  });
  return [steps, ...columns];
}

function options(width, tones, smooth, share, alarms, setAt) {
  const grid = { stroke: colour("--edge"), width: 1 };
  const axis = { stroke: colour("--muted"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
  const line = (stroke, faint) => ({ stroke, width: faint ? 1 : 1.75, alpha: faint ? 0.28 : 1, spanGaps: true, points: { show: false } });
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { sync: { key: "air" }, points: { size: 6 }, y: false },
    scales: { x: { time: false }, y: { range: (_, low, high) => padded(low, high, share) } },
    axes: [{ ...axis, size: 30 }, { ...axis, size: 48, values: (_, ticks) => ticks.map((tick) => (share ? `${Math.round(100 * tick)} %` : number(tick))) }],
    series: [{}, ...tones.flatMap((tone) => (smooth ? [line(tone, true), line(tone, false)] : [line(tone, false)]))],
    hooks: {
      setCursor: [(plot) => setAt(plot.cursor.left >= 0 ? (plot.cursor.idx ?? null) : null)],
      draw: [(plot) => markAlarms(plot, alarms)],
    },
  };
}

function padded(low, high, share) {
  if (low === null || high === null) return [0, 1];
  if (share) return [Math.min(0, low), Math.max(1, high)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - room, high + room];
}

function markAlarms(plot, alarms) {
  const { ctx } = plot;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("--bad");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4, 3]);
  for (const { step } of alarms) {
    const x = plot.valToPos(step, "x", true);
    if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, plot.bbox.top);
    ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
    ctx.stroke();
    const size = 4 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x - size, plot.bbox.top);
    ctx.lineTo(x + size, plot.bbox.top);
    ctx.lineTo(x, plot.bbox.top + 1.6 * size);
    ctx.fill();
  }
  ctx.restore();
}
