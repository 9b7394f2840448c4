// The fleet by service and cohort: what runs where, what is on its way, who does not answer. One row a service, however many nodes.
import { html, useMemo } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { count } from "../numbers.mjs";
import { Filter, matching } from "../parts/filter.mjs";
import { Icon } from "../parts/icons.mjs";
import { Badge, Waiting } from "../parts/small.mjs";
import { Rows } from "../parts/virtual.mjs";
import { refine, to, useRoute } from "../routes.mjs";
import { COHORTS, OUTCOMES, phaseOf, said, shownAs, underWay } from "../words.mjs";

const CONCERNED = new Set(["decision", "verdict", "alarm", "report", "flag"]);
export const concerns = (kind) => CONCERNED.has(kind);
const HEADER = ["Service", "Rollout", "Nodes by cohort", "Judgement", "Alarms"];

export function Fleet() {
  const data = useData("overview", concerns);
  const { query } = useRoute();
  const overview = data.value?.item;
  const all = useMemo(() => (overview ? services(overview) : []), [overview]);
  const shown = matching(all, query.get("q"), (one) => one.service).filter((one) => !query.get("busy") || underWay(one) || one.alarms || one.away);
  return html`<section aria-labelledby="title">
    <header class="view-head"><h1 id="title">Fleet</h1>${overview && html`<${Totals} overview=${overview} services=${all} />`}</header>
    <${Waiting} data=${data} of="the fleet" empty=${all.length ? "" : "No node has reported a service yet. Nodes are enrolled with tidegate init, and run tidegate node."}>
      <div class="tools"><${Filter} label="Filter services" />
        <label class="check"><input type="checkbox" checked=${Boolean(query.get("busy"))} onChange=${(event) => refine({ busy: event.target.checked ? "1" : "" })} />Only what moves or hurts</label>
        <span class="soft number" role="status">${count(shown.length)} of ${count(all.length)} services</span></div>
      <${Rows} items=${shown} of="fleet" label="Services" header=${HEADER} row=${cells} />
    <//>
  </section>`;
}

function Totals({ overview, services: all }) {
  const { nodes, states } = overview.fleet;
  const moving = all.filter(underWay).length;
  return html`<dl class="totals">
    <${Total} name="nodes" value=${nodes} />
    ${Object.entries(states).map(([state, of]) => html`<${Total} key=${state} name=${state} value=${of} tone=${state === "reachable" ? "" : state === "unreachable" ? "bad" : "hold"} />`)}
    <${Total} name="services" value=${all.length} />
    <${Total} name="rolling out" value=${moving} tone=${moving ? "live" : ""} />
    <${Total} name="alarms" value=${overview.alarms.length} tone=${overview.alarms.length ? "bad" : ""} />
  </dl>`;
}

function Total({ name, value, tone = "" }) {
  return html`<div class=${tone && value ? `tone-${tone}` : ""}><dd class="number">${count(value)}</dd><dt>${said(name)}</dt></div>`;
}

function cells(one) {
  const moves = underWay(one);
  return html`<span class="cell-name" role="cell"><a class="cover" href=${to("rollouts", one.service)}>${one.service}</a><span class="soft">${versions(one, moves)}</span></span>
    <span class="cell-phase" role="cell">${one.phase ? html`<${Badge} shown=${phaseOf(one)} />` : html`<span class="soft">no rollout</span>`}
      ${moves && html`<span class="soft number">${one.stage}/${one.stages}</span>`}</span>
    <span class="cell-cohorts" role="cell"><${Cohorts} one=${one} /></span>
    <span class="cell-verdict" role="cell">${moves && one.outcome && html`<${Badge} shown=${[...shownAs(OUTCOMES, one.outcome).slice(0, 2), said(one.reason)]} title=${one.sentence} />`}</span>
    <span class="cell-alarms" role="cell">${one.alarms > 0 && html`<span class="badge tone-bad"><${Icon} name="alarms" />${one.alarms}<span class="hidden"> alarms</span></span>`}</span>`;
}

const versions = (one, moves) => (moves ? `${one.settled || "nothing"} → ${one.version}` : one.settled || one.seen.join(", ") || "–");

// One bar of all nodes: cohorts by colour, who does not answer as a gap with a hatch. The words below say the same.
function Cohorts({ one }) {
  const parts = [...COHORTS, ""].map((name) => [name, one.cohorts.get(name) ?? 0]).filter(([, nodes]) => nodes);
  return html`<span class="cohorts">
    <span class="cohort-bar" aria-hidden="true">
      ${parts.map(([name, nodes]) => html`<span key=${name} class="cohort-part part-${name || "all"}" style=${{ flexGrow: String(nodes) }}></span>`)}
      ${one.away > 0 && html`<span class="cohort-part part-away" style=${{ flexGrow: String(one.away) }}></span>`}
    </span>
    <span class="cohort-words number">
      ${parts.map(([name, nodes]) => html`<span key=${name}><i class="swatch ink-${name || "all"}"></i>${count(nodes)}${name ? ` ${name}` : ""}</span>`)}
      ${one.odd > 0 && html`<span class="tone-hold ink">${count(one.odd)} not ready</span>`}
      ${one.away > 0 && html`<span class="tone-bad ink">${count(one.away)} unreachable</span>`}
    </span>
  </span>`;
}

const order = new Intl.Collator("en", { numeric: true });

// Rollouts and groups of nodes, put together by service; what moves or hurts first.
export function services(overview) {
  const found = new Map();
  const of = (name) => {
    if (!found.has(name)) found.set(name, { key: name, service: name, cohorts: new Map(), away: 0, odd: 0, alarms: 0, seen: [] });
    return found.get(name);
  };
  for (const row of overview.rollouts) Object.assign(of(row.service), row);
  for (const group of overview.fleet.groups) {
    const one = of(group.service);
    if (group.state === "unreachable") one.away += group.nodes;
    else one.cohorts.set(group.cohort, (one.cohorts.get(group.cohort) ?? 0) + group.nodes);
    if (group.state !== "ready" && group.state !== "unreachable") one.odd += group.nodes;
    if (group.version && !one.seen.includes(group.version)) one.seen.push(group.version);
  }
  const weight = (one) => (underWay(one) ? 2 : 0) + (one.alarms || one.away ? 1 : 0);
  return [...found.values()].sort((a, b) => weight(b) - weight(a) || order.compare(a.service, b.service));
}
