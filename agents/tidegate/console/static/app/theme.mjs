// Light, dark, or as the system has it; remembered by the browser. Charts hear of it, for a canvas does not follow by itself.
const KEY = "tidegate.theme";
const NEXT = { auto: "dark", dark: "light", light: "auto" };

const themeName = () => document.documentElement.dataset.theme ?? "auto";

export function beginTheme() {
  apply(localStorage.getItem(KEY) ?? "auto");
}

export function nextTheme() {
  const next = NEXT[themeName()] ?? "auto";
  localStorage.setItem(KEY, next);
  apply(next);
}

function apply(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  dispatchEvent(new Event("themechange"));
}
