// The buttons of what may be asked of one thing: those that make sense of it now, and that its visitor has the right to.
import { html } from "../html.mjs";
import { useRights } from "../data/who.mjs";
import { Ask } from "./ask.mjs";
import { Icon } from "./icons.mjs";
import { open } from "./open.mjs";

// acts: a table of acts.mjs; row: the thing; subject: whose rights count; title(act): names the thing; path(right): where to ask.
export function Actions({ acts, row, subject, title, path, small = false }) {
  const rights = useRights(subject);
  const offered = Object.entries(acts).filter(([right, act]) => rights.includes(right) && (!act.when || act.when(row)));
  // The wish is made when it is clicked: what one saw then is what it is about.
  const choose = ([right, act]) => {
    const etag = act.conditional ? `"${row.generation}"` : "";
    const wish = { ...act, title: title(act), does: act.does(row), path: path(right), etag, body: act.target ? { target: act.target(row) } : {} };
    open((close) => html`<${Ask} wish=${wish} onClose=${close} />`);
  };
  return html`<span class="actions" data-keys=${small ? "" : "actions"}>
    ${offered.map(
      ([right, act]) => html`<button key=${right} type="button" data-right=${right} class="button tone-${act.tone} ${small ? "small" : ""}" onClick=${() => choose([right, act])}>
        <${Icon} name=${act.icon} />${act.label}
      </button>`,
    )}
  </span>`;
}
