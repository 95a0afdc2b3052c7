// Keys: pages register what a key does while they are shown; `?` lists what is registered.
import { useLayoutEffect } from "./vendor/vendor.js";

const layers = [];

/** Registered before the next key can be pressed, hence the layout effect.
 * `useKeys({ j: ["next trajectory", () => ...] })`; the newest page wins. */
export function useKeys(keys) {
  useLayoutEffect(() => {
    layers.push(keys);
    return () => layers.splice(layers.indexOf(keys), 1);
  });
}

/** [[key, meaning], ...] of what works now. */
export function knownKeys() {
  const all = new Map();
  for (const layer of layers) for (const [key, [meaning]] of Object.entries(layer)) all.set(key, meaning);
  return [...all];
}

function typing(target) {
  return target.closest?.("input, textarea, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target) && event.key !== "Escape") return;
  const layer = layers.findLast((keys) => event.key in keys);
  if (!layer) return;
  if ((event.key === "Enter" || event.key === " ") && event.target.closest("a, button, summary")) return;
  event.preventDefault();
  layer[event.key][1](event);
});
