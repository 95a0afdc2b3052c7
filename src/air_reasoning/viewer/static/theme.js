// Set before the first paint, so that the page does not flash in the other theme. No module: it has to block.
const stored = localStorage.getItem("air-theme");
if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
