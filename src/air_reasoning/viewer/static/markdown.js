// Model text to nodes. The text is hostile: HTML in it is shown as text, what markdown makes of the rest is
// sanitised after rendering, formulas are built by KaTeX node by node (no inline style, bounded expansion).
import { DOMPurify, html, katex, Marked, useLayoutEffect, useRef } from "./vendor/vendor.js";

const MAX_MARKDOWN = 40_000;
const MAX_FORMULA = 3_000;
const ALLOWED = {
  ALLOWED_TAGS: "p em strong del code pre ul ol li blockquote h1 h2 h3 h4 h5 h6 hr br table thead tbody tr th td a span".split(" "),
  ALLOWED_ATTR: ["href", "class", "data-tex", "data-display", "start"],
  ALLOWED_URI_REGEXP: /^https?:/i,
};

const escape = (text) =>
  text.replace(/[&<>"']/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[sign]);

const formula = (tex, display) =>
  `<span class="math" data-tex="${escape(tex)}"${display ? ' data-display="1"' : ""}>${escape(tex)}</span>`;

// `$5 and $6` is money: no space inside the signs, no digit after the closing one.
const FORMULAS = [
  [/^\$\$([\s\S]+?)\$\$/, true],
  [/^\\\[([\s\S]+?)\\\]/, true],
  [/^\\\(([\s\S]+?)\\\)/, false],
  [/^\$(?!\s)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)/, false],
];

const math = {
  name: "math",
  level: "inline",
  start: (source) => source.match(/\$|\\[([]/)?.index,
  tokenizer(source) {
    for (const [pattern, display] of FORMULAS) {
      const found = pattern.exec(source);
      if (found) return { type: "math", raw: found[0], tex: found[1], display };
    }
  },
  renderer: (token) => formula(token.tex, token.display),
};

// A formula that fills lines of its own, before anything in it is taken for a heading or a list.
const mathBlock = {
  name: "mathBlock",
  level: "block",
  start: (source) => source.match(/(?:^|\n)(?:\$\$|\\\[)/)?.index,
  tokenizer(source) {
    const found = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])(?:\n|$)/.exec(source);
    if (found) return { type: "mathBlock", raw: found[0], tex: found[1] ?? found[2] };
  },
  renderer: (token) => `<p>${formula(token.tex, true)}</p>`,
};

const marked = new Marked({
  breaks: true,
  gfm: true,
  extensions: [mathBlock, math],
  renderer: {
    html: (token) => escape(token.text),
    image: (token) => escape(`![${token.text}](${token.href})`), // nothing is loaded from elsewhere
  },
});

/** A node of sanitised markdown. */
export function markdownNode(text) {
  const node = document.createElement("div");
  if (text.length > MAX_MARKDOWN) {
    node.className = "plain";
    node.textContent = text;
    return node;
  }
  node.className = "markdown";
  node.append(DOMPurify.sanitize(marked.parse(text), { ...ALLOWED, RETURN_DOM_FRAGMENT: true }));
  for (const link of node.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const place of node.querySelectorAll(".math[data-tex]")) typeset(place);
  return node;
}

function typeset(place) {
  const tex = place.dataset.tex;
  if (tex.length > MAX_FORMULA) return; // stays as source
  const options = { displayMode: Boolean(place.dataset.display), throwOnError: true, trust: false, strict: "ignore" };
  try {
    katex.render(tex, place, { ...options, maxExpand: 200, maxSize: 12, output: "html" });
    place.setAttribute("role", "math");
    place.setAttribute("aria-label", tex);
  } catch {
    place.textContent = tex; // not LaTeX, or a bomb
    place.classList.add("untypeset");
  }
}

export function Markdown({ text }) {
  const place = useRef(null);
  useLayoutEffect(() => place.current.replaceChildren(markdownNode(text)), [text]);
  return html`<div ref=${place}></div>`;
}
