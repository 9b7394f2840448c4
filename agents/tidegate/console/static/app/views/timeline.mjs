// One timeline: releases, flag flips, alarms and people, side by side in lanes, and one below the other in words.
import { html, useMemo } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { Icon } from "../parts/icons.mjs";
import { Lanes } from "../parts/lanes.mjs";
import { More, useShown } from "../parts/more.mjs";
import { Badge, Clock, Waiting } from "../parts/small.mjs";
import { refine, to, useRoute } from "../routes.mjs";
import { DECISIONS, SEVERITIES, said, shownAs } from "../words.mjs";

const KINDS = { rollout: "Releases", flag: "Flags", alarm: "Alarms", fleet: "Fleet" };

export function Timeline() {
  const { query } = useRoute();
  const kinds = query.get("kinds") ?? "";
  const people = Boolean(query.get("people"));
  const subject = query.get("subject") ?? "";
  const most = useShown();
  const path = `timeline?limit=${most}${kinds && `&kinds=${kinds}`}${people ? "&people=true" : ""}${subject && `&subject=${encodeURIComponent(subject)}`}`;
  const data = useData(path, (kind) => kind === "decision" || kind === "flag" || kind === "alarm");
  const all = useMemo(() => data.value?.items ?? [], [data.value]);
  return html`<section aria-labelledby="title">
    <header class="view-head"><h1 id="title">Timeline</h1></header>
    <div class="tools" role="group" aria-label="What is shown">
      ${Object.entries(KINDS).map(([kind, text]) => html`<${Choice} key=${kind} on=${!kinds || kinds.split(",").includes(kind)} text=${text} onClick=${() => refine({ kinds: toggled(kinds, kind) })} />`)}
      <${Choice} on=${people} text="Only what people did" onClick=${() => refine({ people: people ? "" : "1" })} />
      ${subject && html`<${Choice} on=${true} text=${`${nameOf(subject)} ×`} onClick=${() => refine({ subject: "" })} />`}
    </div>
    <${Waiting} data=${data} of="what happened" empty=${all.length ? "" : "Nothing of this has happened yet."}>
      <${Lanes} entries=${all} />
      <ol class="entries">${all.map((one) => html`<${Entry} key=${one.id} one=${one} />`)}</ol>
      ${data.value?.next && html`<${More} shown=${most} />`}
    <//>
  </section>`;
}

function Choice({ on, text, onClick }) {
  return html`<button type="button" class="choice" aria-pressed=${on ? "true" : "false"} onClick=${onClick}>${text}</button>`;
}

// The lanes of a query: none named is all of them, and so is naming all.
function toggled(kinds, kind) {
  const on = new Set(kinds ? kinds.split(",") : Object.keys(KINDS));
  on.has(kind) ? on.delete(kind) : on.add(kind);
  return on.size === Object.keys(KINDS).length || !on.size ? "" : [...on].join(",");
}

const nameOf = (subject) => subject.replace(/^(svc|flag)\//, "");

const VIEWS = { svc: "rollouts", flag: "flags" };

// Services and flags have views of their own; groups, policies and experiments have none.
function Subject({ subject }) {
  const [kind, ...rest] = subject.split("/");
  return Object.hasOwn(VIEWS, kind) ? html`<a href=${to(VIEWS[kind], ...rest)}>${nameOf(subject)}</a>` : nameOf(subject);
}

function lookOf(one) {
  if (one.kind !== "alarm") return shownAs(DECISIONS, one.what);
  return one.what === "firing" ? [...shownAs(SEVERITIES, one.severity).slice(0, 2), one.alarm] : ["good", "check", `${one.alarm} over`];
}

function Entry({ one }) {
  return html`<li class="entry" data-kind=${one.kind}>
    <span class="soft"><${Clock} ms=${one.at_ms} /></span>
    <span class="entry-kind soft"><${Icon} name=${one.kind === "rollout" ? "rollouts" : one.kind === "alarm" ? "alarms" : one.kind === "flag" ? "flags" : "fleet"} /><span class="hidden">${one.kind}</span></span>
    <div>${one.subject && one.subject !== "svc/fleet" && html`<${Subject} subject=${one.subject} /> `}<${Badge} shown=${lookOf(one)} />
      ${one.reason && html` <span>${said(one.reason)}</span>`}${one.actor && html` <span class="who"><${Icon} name="person" />${one.actor}</span>`}
      ${one.sentence && html`<p>${one.sentence}</p>`}</div>
  </li>`;
}
