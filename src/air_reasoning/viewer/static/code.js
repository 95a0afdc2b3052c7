// Code with its words coloured; the highlighter escapes, and its output is sanitised all the same.
import { DOMPurify, hljs, html, useLayoutEffect, useRef } from "./vendor/vendor.js";

const MAX_COLOURED = 60_000;

export function Code({ text, language = "python" }) {
  const place = useRef(null);
  useLayoutEffect(() => {
    if (text.length > MAX_COLOURED) {
      place.current.textContent = text;
      return;
    }
    const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
    const options = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };
    place.current.replaceChildren(DOMPurify.sanitize(value, options));
  }, [text, language]);
  return html`<pre class="code"><code ref=${place}></code></pre>`;
}
