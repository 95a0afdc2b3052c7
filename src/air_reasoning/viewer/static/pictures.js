// Pictures, and one of them large: wheel or buttons zoom, dragging moves, Escape closes.
import { html, useEffect, useRef, useState } from "./vendor/vendor.js";
import { api } from "./api.js";
import { useKeys } from "./keys.js";

export function Pictures({ run, images, names }) {
  const [open, setOpen] = useState(null);
  if (!images?.length) return null;
  return html`<div class="pictures">
    ${images.map((image, i) => html`<figure key=${i}>
      ${image.path
        ? html`<button onClick=${() => setOpen(i)} title="show large">
            <img src=${api.picture(run, image.sha256)} width=${image.width} height=${image.height} loading="lazy" alt=${names(i)} /></button>`
        : html`<span class="gone">picture was not kept</span>`}
      <figcaption>${names(i)} · ${image.width}×${image.height}</figcaption>
    </figure>`)}
    ${open !== null && html`<${Large} run=${run} image=${images[open]} name=${names(open)} close=${() => setOpen(null)} />`}
  </div>`;
}

function Large({ run, image, name, close }) {
  const fit = Math.min((innerWidth - 60) / image.width, (innerHeight - 110) / image.height);
  const [view, setView] = useState({ scale: fit, x: 0, y: 0 });
  const grip = useRef(null);
  const closer = useRef(null);
  const zoom = (factor) => setView((v) => ({ ...v, scale: Math.max(0.05, Math.min(60, v.scale * factor)) }));
  useEffect(() => {
    const before = document.activeElement;
    closer.current.focus();
    return () => before?.focus?.();
  }, []);
  useKeys({
    Escape: ["close the picture", close],
    "+": ["larger", () => zoom(1.25)],
    "-": ["smaller", () => zoom(0.8)],
    0: ["fit", () => setView({ scale: fit, x: 0, y: 0 })],
  });
  const down = (event) => {
    grip.current = { x: event.clientX - view.x, y: event.clientY - view.y };
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const drag = (event) => {
    if (!grip.current) return;
    const { x, y } = grip.current;
    setView((v) => ({ ...v, x: event.clientX - x, y: event.clientY - y }));
  };
  const wheel = (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.15 : 0.87);
  };
  const place = useRef(null);
  useEffect(() => {
    const node = place.current;
    node.addEventListener("wheel", wheel, { passive: false });
    return () => node.removeEventListener("wheel", wheel);
  }, []);
  return html`<div class="large" role="dialog" aria-modal="true" aria-label=${name}>
    <div class="bar"><span>${name}, ${image.width}×${image.height}, ${Math.round(100 * view.scale)} %</span>
      <button onClick=${() => zoom(0.8)} aria-label="smaller">−</button>
      <button onClick=${() => zoom(1.25)} aria-label="larger">+</button>
      <button onClick=${() => setView({ scale: 1, x: 0, y: 0 })}>1:1</button>
      <button ref=${closer} onClick=${close}>close</button></div>
    <div class="stage" ref=${place} onPointerDown=${down} onPointerMove=${drag} onPointerUp=${() => (grip.current = null)}>
      <img src=${api.picture(run, image.sha256)} alt=${name} draggable=${false} class=${view.scale > 2 ? "sharp" : ""}
        style=${{ width: `${image.width * view.scale}px`, transform: `translate(${view.x}px, ${view.y}px)` }} />
    </div>
  </div>`;
}
