// A dialog: the browser's own, which keeps the focus inside, closes by Escape and makes the rest inert.
import { html, useEffect, useId, useRef } from "../html.mjs";
import { Icon } from "./icons.mjs";

export function Dialog({ title, tone = "live", icon, onClose, children }) {
  const box = useRef(null);
  const name = useId();
  useEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => (before?.isConnected ? before : document.getElementById("main")).focus();
  }, []);
  return html`<dialog class="dialog tone-${tone}" ref=${box} aria-labelledby=${name} onClose=${onClose}>
    <h2 id=${name}>${icon && html`<${Icon} name=${icon} />`}${title}</h2>
    ${children}
  </dialog>`;
}
