// What our modules import from `./vendor/vendor.js`, and nothing more.
export { render, h, Fragment } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { html } from "htm/preact";
export { Marked } from "marked";
export { default as DOMPurify } from "dompurify";
export { default as katex } from "katex";
export { default as uPlot } from "uplot";
import hljs from "highlight.js/lib/core";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";

hljs.registerLanguage("python", python);
hljs.registerLanguage("json", json);
export { hljs };
