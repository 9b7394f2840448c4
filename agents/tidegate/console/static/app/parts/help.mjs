// The keys, by "?".
import { html } from "../html.mjs";
import { KEYS } from "../keys.mjs";
import { Dialog } from "./dialog.mjs";

export function Help({ onClose }) {
  return html`<${Dialog} title="Keys" icon="keys" onClose=${onClose}>
    <dl class="keys">${KEYS.map(([key, text]) => html`<div key=${key}><dt>${key.split(" ").filter(Boolean).map((one) => html`<kbd key=${one}>${one}</kbd>`)}</dt><dd>${text}</dd></div>`)}</dl>
    <div class="dialog-buttons"><button type="button" class="button primary" onClick=${onClose}>Close</button></div>
  <//>`;
}
