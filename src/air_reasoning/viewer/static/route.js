// Addresses: `#/run/<name>/samples?correct=wrong&sort=-reward`. Every state of a page is in its address.
import { useEffect, useState } from "./vendor/vendor.js";

/** {parts: ["run", name, "samples"], query: {correct: "wrong"}} */
export function parseRoute(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decode);
  return { parts, query: Object.fromEntries(new URLSearchParams(search)) };
}

/** The address of a page; empty values are left out. `href(["run", "a/b"], {x: 1})` is "#/run/a%2Fb?x=1". */
export function href(parts, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(kept).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** Go somewhere; `replace` leaves no step behind for the back button. */
export function go(parts, query = {}, replace = false) {
  const target = href(parts, query);
  if (target === location.hash) return;
  if (replace) {
    history.replaceState(null, "", target);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = target;
}

/** The current route; renders again when it changes. */
export function useRoute() {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray % in a hand-written address
  }
}
