// Decisions, newest first: when, what, why, by whom; the facts that mattered under each.
import { html } from "../html.mjs";
import { clock, number } from "../numbers.mjs";
import { DECISIONS, said, shownAs } from "../words.mjs";
import { Icon } from "./icons.mjs";
import { Badge, Clock } from "./small.mjs";

const A_MOMENT_MS = 1e12; // what is greater is a point in time

export function Decisions({ rows }) {
  if (!rows.length) return html`<p class="empty">Nothing was decided yet.</p>`;
  return html`<ol class="decisions">${rows.map((one) => html`<${Decision} key=${one.seq} one=${one} />`)}</ol>`;
}

function Decision({ one }) {
  const facts = Object.entries(one.facts ?? {}).filter(([, value]) => value !== null && value !== "");
  return html`<li class="decision" data-kind=${one.kind}>
    <span class="soft"><${Clock} ms=${one.at_ms} /></span>
    <div><${Badge} shown=${shownAs(DECISIONS, one.kind)} /> <span>${said(one.reason)}</span>
      ${one.actor && html` <span class="who"><${Icon} name="person" />${one.actor}</span>`}
      ${one.message && html`<p>${one.message}</p>`}
      ${facts.length > 0 && html`<details><summary>${facts.length} ${facts.length === 1 ? "fact" : "facts"}</summary>
        <dl class="figures">${facts.map(([name, value]) => html`<div key=${name}><dt>${said(name)}</dt><dd class="number">${shown(name, value)}</dd></div>`)}</dl></details>`}
    </div>
  </li>`;
}

function shown(name, value) {
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value !== "number") return String(value);
  return name.endsWith("_ms") && value > A_MOMENT_MS ? clock(value) : number(value);
}
