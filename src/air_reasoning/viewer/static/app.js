// The frame: top bar, breadcrumbs, the page that the address names, and the sheet of keys.
import { html, render, useEffect, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { Compare } from "./compare.js";
import { filterOf } from "./filters.js";
import { Group } from "./group.js";
import { knownKeys, useKeys } from "./keys.js";
import { go, href, useRoute } from "./route.js";
import { Run } from "./run.js";
import { Runs } from "./runs.js";
import { Samples } from "./samples.js";
import { ThemeButton } from "./theme_button.js";
import { Trajectory } from "./trajectory.js";
import { Nothing } from "./ui.js";

const PAGES = [["", "Overview"], ["samples", "Samples"]];

/** Counts up whenever trajectories were added to the run that is shown. */
function useGrowth(run) {
  const [growth, setGrowth] = useState({ run, size: -1, count: 0 });
  useEffect(() => {
    if (!run) return;
    return api.live(run, ({ trajectories }) =>
      setGrowth((before) => {
        if (before.run !== run) return { run, size: trajectories, count: 0 };
        return { run, size: trajectories, count: before.size < 0 || before.size === trajectories ? before.count : before.count + 1 };
      }),
    );
  }, [run]);
  return growth.run === run ? growth.count : 0;
}

function Page({ route: { parts, query } }) {
  const [place, run, page = "", id] = parts;
  const grown = useGrowth(place === "run" && page === "samples" ? run : null);
  switch (place === "run" ? `run/${page}` : place) {
    case undefined:
      return html`<${Runs} query=${query} />`;
    case "compare":
      return html`<${Compare} query=${query} />`;
    case "run/":
      return html`<${Run} key=${run} ...${{ run, query }} />`;
    case "run/group":
      return html`<${Group} ...${{ run, id, query }} />`;
    case "run/samples":
      return html`<${Samples} key=${run} ...${{ run, query, grown }} />`;
    case "run/trajectory":
      return html`<${Trajectory} ...${{ run, id, query }} />`;
    default:
      return html`<${Nothing}>There is no such page. <a href=${href([])}>All runs</a><//>`;
  }
}

function Crumbs({ parts, query }) {
  const [place, run, page = "", id] = parts;
  if (place !== "run")
    return html`<nav aria-label="where you are"><a href=${href([])} aria-current=${place ? undefined : "page"}>Runs</a>
      ${place && html`<span class="sep">/</span><span class="muted">${place}</span>`}</nav>`;
  const tab = page === "trajectory" || page === "group" ? "samples" : page;
  return html`<nav aria-label="where you are">
    <a href=${href([])}>Runs</a><span class="sep">/</span><a href=${href(["run", run])} title=${run}>${run}</a>
    <span class="tabs">${PAGES.map(([name, label]) => html`<a key=${name} href=${href(name ? ["run", run, name] : ["run", run],
      name === "samples" && page === "trajectory" ? { ...filterOf(query), at: query.pos } : {})}
      aria-current=${tab === name ? "page" : undefined}>${label}</a>`)}</span>
    ${id && html`<span class="sep">/</span><span class="muted">${page}</span>`}
  </nav>`;
}

function KeySheet({ close }) {
  const keys = knownKeys();
  useKeys({ Escape: ["close this", close], "?": ["close this", close] });
  return html`<div class="sheet" role="dialog" aria-modal="true" aria-label="keys" onClick=${close}><div class="card">
    <h2>Keys on this page</h2><dl>${keys.map(([key, meaning]) => html`<dt key=${key}><kbd>${key}</kbd></dt><dd>${meaning}</dd>`)}</dl>
  </div></div>`;
}

function App() {
  const route = useRoute();
  const [help, setHelp] = useState(false);
  useKeys({ "?": ["show the keys", () => setHelp(true)], h: ["all runs", () => go([])] });
  useEffect(() => {
    const [place, run, page = ""] = route.parts;
    document.title = [place === "run" ? `${run} ${page}`.trim() : "", "air view"].filter(Boolean).join(" · ");
  }, [route]);
  return html`<header class="top">
      <a class="brand" href=${href([])}><img src="icon.svg" alt="" />air</a>
      <${Crumbs} ...${route} />
      <span class="grow"></span>
      <button class="quiet icon" onClick=${() => setHelp(true)} aria-label="keys" title="keys (?)">?</button>
      <${ThemeButton} />
    </header>
    <main><${Page} route=${route} /></main>
    ${help && html`<${KeySheet} close=${() => setHelp(false)} />`}`;
}

document.getElementById("app").replaceChildren();
render(html`<${App} />`, document.getElementById("app"));
