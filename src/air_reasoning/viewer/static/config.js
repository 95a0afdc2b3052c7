// Settings with their meaning and where each value came from, read from config.resolved.yaml.
import { html } from "./vendor/vendor.js";
import { Badge, Nothing } from "./ui.js";

/** [{key, value, origin, meaning}] of the file that `render_config` writes: comments above, origin behind. */
export function parseConfig(text) {
  const rows = [];
  const path = [];
  let meaning = [];
  for (const line of text.split("\n")) {
    const indent = line.length - line.trimStart().length;
    const comment = /^\s*# ?(.*)$/.exec(line);
    const found = /^\s*([\w.-]+):(?: (.*?))?(?:  # (.*))?$/.exec(line);
    if (comment) meaning.push(comment[1]);
    else if (found) {
      const [, name, value = "", origin = ""] = found;
      path.length = indent / 2;
      path[indent / 2] = name;
      if (value || origin) rows.push({ key: path.join("."), value, origin, meaning: meaning.join(" ") });
      meaning = [];
    } else if (line.trim() && rows.length) rows.at(-1).value += `\n${line.trim()}`;
  }
  return rows;
}

/** {"reward.p_right": "0.1", ...} */
export const configValues = (text) => Object.fromEntries(parseConfig(text).map(({ key, value }) => [key, value]));

export function Config({ text, query, set }) {
  const rows = parseConfig(text);
  const changed = rows.filter((row) => row.origin !== "default");
  const wanted = (query.setting ?? "").toLowerCase();
  const base = query.settings === "all" || wanted ? rows : changed;
  const shown = base.filter((row) => !wanted || `${row.key} ${row.meaning} ${row.value}`.toLowerCase().includes(wanted));
  return html`<section class="card config" aria-label="settings"><header><h2>Settings</h2>
      <input type="search" placeholder="find a setting" aria-label="find a setting" value=${query.setting ?? ""} onInput=${(event) => set({ setting: event.target.value })} />
      <button class="quiet" aria-pressed=${query.settings === "all"} onClick=${() => set({ settings: query.settings === "all" ? "" : "all" })}>
        ${query.settings === "all" ? `only the ${changed.length} set` : `all ${rows.length}`}</button></header>
    ${shown.length
      ? html`<table><tbody>${shown.map((row) => html`<tr key=${row.key} title=${row.meaning}><th scope="row" class="mono">${row.key}</th>
          <td class="mono">${row.value}</td><td><${Badge} tone=${row.origin === "default" ? "" : "accent"}>${row.origin}<//></td>
          <td class="muted">${row.meaning}</td></tr>`)}</tbody></table>`
      : html`<${Nothing}>${wanted ? "No setting of that name." : "Everything is as by default."}<//>`}
  </section>`;
}
