// Light, dark, or as the system says.
import { html, useState } from "./vendor/vendor.js";

const NEXT = { system: "light", light: "dark", dark: "system" };
const SIGN = { system: "◐", light: "☀", dark: "☾" };

export function ThemeButton() {
  const [theme, setTheme] = useState(() => document.documentElement.dataset.theme ?? "system");
  const change = () => {
    const next = NEXT[theme];
    setTheme(next);
    if (next === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("air-theme");
    } else {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("air-theme", next);
    }
    window.dispatchEvent(new Event("themechange"));
  };
  return html`<button class="quiet icon" onClick=${change} title=${`theme: ${theme}`} aria-label=${`theme: ${theme}, change`}>
    ${SIGN[theme]}
  </button>`;
}
