// Numbers and names as people read them.

const grouped = new Intl.NumberFormat("en"); // toLocaleString makes one at every call

/** Three significant digits, no exponent where it can be helped; a dash for nothing. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return grouped.format(value);
  const size = Math.abs(value);
  if (size >= 1000) return grouped.format(Math.round(value));
  if (size > 0 && size < 0.001) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

/** With its sign; a zero has none. */
export const signed = (value) => (value > 0 ? `+${number(value)}` : number(value || 0)).replace("-", "−");
export const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);

/** Metrics that are shares are shown in percent. */
export function metric(name, value) {
  return /accuracy|share|success|format_ok|unscored|^stop\//.test(name) ? percent(value) : number(value);
}

/** `code_share_easy` → "code share easy". */
export const words = (name) => String(name).replaceAll("_", " ");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 120) return `${number(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${number(seconds / 3600)} h`;
}

export function bytes(size) {
  if (size < 1e6) return `${Math.max(1, Math.round(size / 1e3))} kB`;
  return size < 1e9 ? `${number(size / 1e6)} MB` : `${number(size / 1e9)} GB`;
}

/** "3 min ago" of an ISO time; the whole time belongs into a title. */
export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (!Number.isFinite(seconds)) return "–";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return "just now";
}
