// Content that is rendered when it comes near the screen, one piece a frame, so that scrolling stays smooth.
import { html, useEffect, useRef, useState } from "./vendor/vendor.js";

const waiting = new Set();
let planned = false;

/** Renders the waiting piece that is nearest to the screen, then lets the browser draw. */
function work() {
  planned = false;
  const middle = innerHeight / 2;
  const distance = ({ place }) => Math.abs(place.getBoundingClientRect().top - middle);
  const next = [...waiting].sort((x, y) => distance(x) - distance(y))[0];
  if (!next) return;
  waiting.delete(next);
  next.show();
  plan();
}

function plan() {
  if (planned || !waiting.size) return;
  planned = true;
  requestAnimationFrame(() => setTimeout(work)); // after the frame, not before it
}

/** Until it is rendered as high as `height` pixels; what is only passed by is never rendered. */
export function Lazy({ height, children }) {
  const [near, setNear] = useState(false);
  const place = useRef(null);
  useEffect(() => {
    const entry = { place: place.current, show: () => setNear(true) };
    const watcher = new IntersectionObserver(
      ([seen]) => {
        if (seen.isIntersecting) waiting.add(entry);
        else waiting.delete(entry);
        plan();
      },
      { rootMargin: "600px" },
    );
    watcher.observe(place.current);
    return () => {
      watcher.disconnect();
      waiting.delete(entry);
    };
  }, []);
  return html`<div ref=${place} style=${near ? {} : { minHeight: `${height}px` }}>${near && children()}</div>`;
}
