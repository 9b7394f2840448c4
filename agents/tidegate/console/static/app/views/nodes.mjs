// The nodes of one service, with the cohort that each is in and what it says of itself.
import { html, useMemo } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { count, span } from "../numbers.mjs";
import { OF_NODES } from "../parts/acts.mjs";
import { Actions } from "../parts/actions.mjs";
import { Filter, matching } from "../parts/filter.mjs";
import { Badge, Waiting } from "../parts/small.mjs";
import { Rows } from "../parts/virtual.mjs";
import { to, useRoute } from "../routes.mjs";
import { NODE_STATES, said, shownAs } from "../words.mjs";

const HEADER = ["Node", "Cohort", "Version", "State", "Report", "Problem", "Action"];
const ORDER = ["canary", "control", "rest", ""];

export function Nodes({ service }) {
  const concerns = (kind, subjects) => kind === "report" || (kind === "decision" && (!subjects.length || subjects.includes(`svc/${service}`) || subjects.includes("svc/fleet")));
  const data = useData(`fleet?service=${encodeURIComponent(service)}&limit=1000`, concerns);
  const { query } = useRoute();
  const all = useMemo(() => sorted(data.value?.items ?? []), [data.value]);
  const shown = matching(all, query.get("q"), (one) => `${one.node} ${one.zone} ${one.cohort} ${one.version} ${one.node_state}`);
  return html`<section aria-labelledby="title">
    <header class="view-head"><h1 id="title"><a href=${to("rollouts", service)}>${service}</a> <span class="soft">nodes</span></h1></header>
    <${Waiting} data=${data} of="the nodes" empty=${all.length ? "" : `No node hosts ${service}.`}>
      <div class="tools"><${Filter} label="Filter nodes" /><span class="soft number" role="status">${count(shown.length)} of ${count(all.length)} nodes</span></div>
      <${Rows} items=${shown} of="nodes" label=${`Nodes of ${service}`} header=${HEADER} row=${cells} />
    <//>
  </section>`;
}

function cells(one) {
  return html`<span class="cell-name" role="cell"><strong>${one.node}</strong><span class="soft">${one.zone && `zone ${one.zone}`}</span></span>
    <span role="cell">${one.cohort && html`<i class="swatch ink-${one.cohort}"></i>${one.cohort}`}</span>
    <span role="cell">${one.version || "–"}</span>
    <span role="cell">${one.node_state === "reachable" ? said(one.state) : html`<${Badge} shown=${shownAs(NODE_STATES, one.node_state)} />`}</span>
    <span role="cell" class="soft number">${one.report_age_ms == null ? "never" : span(one.report_age_ms)}</span>
    <span role="cell" class="cell-problem" title=${one.problem}>${one.problem}${one.break_glass && ` under break-glass of ${one.break_glass.actor}`}</span>
    <span role="cell" class="cell-actions"><${Actions} acts=${OF_NODES} row=${one} subject="" small=${true} title=${(act) => `${act.label} node ${one.node}`} path=${(right) => `fleet/${encodeURIComponent(one.node)}/${right}`} /></span>`;
}

const order = new Intl.Collator("en", { numeric: true });

const sorted = (items) =>
  items.map((one) => ({ ...one, key: one.node })).sort((a, b) => ORDER.indexOf(a.cohort) - ORDER.indexOf(b.cohort) || order.compare(a.node, b.node));
