// Every rollout: those under way with what each lacks, then those that are over.
import { html } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { Filter, matching } from "../parts/filter.mjs";
import { More, useShown } from "../parts/more.mjs";
import { Ago, Badge, Share, Waiting } from "../parts/small.mjs";
import { to, useRoute } from "../routes.mjs";
import { OUTCOMES, phaseOf, said, shownAs, underWay } from "../words.mjs";
import { concerns } from "./fleet.mjs";

export function Rollouts() {
  const data = useData("overview", concerns);
  const { query } = useRoute();
  const most = useShown();
  const all = matching(data.value?.item.rollouts ?? [], query.get("q"), (one) => `${one.service} ${one.rollout}`);
  const moving = all.filter(underWay);
  const over = all.filter((one) => !underWay(one)).sort((a, b) => (b.started_ms ?? 0) - (a.started_ms ?? 0));
  return html`<section aria-labelledby="title">
    <header class="view-head"><h1 id="title">Rollouts</h1></header>
    <${Waiting} data=${data} of="rollouts" empty=${data.value?.item.rollouts.length ? "" : "Nothing was rolled out yet: tidegate rollout start plan.yaml"}>
      <div class="tools"><${Filter} label="Filter rollouts" /></div>
      <h2>Under way</h2>
      ${moving.length ? html`<div class="cards">${moving.slice(0, most).map((one) => html`<${Card} key=${one.service} one=${one} />`)}</div>` : html`<p class="empty">No rollout is under way.</p>`}
      ${moving.length > most && html`<${More} shown=${most} />`}
      <h2>Over</h2>
      <div class="panel listing scroll"><table class="table"><thead><tr><th>Service</th><th>Version</th><th>Ended</th><th>Rollout</th><th>Started</th></tr></thead>
        <tbody>${over.slice(0, most).map(
          (one) => html`<tr key=${one.service}><th scope="row"><a href=${to("rollouts", one.service)}>${one.service}</a></th><td>${one.settled || "–"}</td>
            <td><${Badge} shown=${phaseOf(one)} /></td><td class="soft">${one.rollout || "–"}</td><td><${Ago} ms=${one.started_ms} /></td></tr>`,
        )}</tbody></table></div>
      ${over.length > most && html`<${More} shown=${most} />`}
    <//>
  </section>`;
}

function Card({ one }) {
  const roster = one.roster ?? 0;
  return html`<a class="card" href=${to("rollouts", one.service)} data-service=${one.service}>
    <span class="card-head"><strong>${one.service}</strong><${Badge} shown=${phaseOf(one)} /></span>
    <span>${one.settled || "nothing"} → <strong>${one.version}</strong></span>
    <${Share} value=${roster ? (one.released ?? 0) / roster : 0} label=${`${one.released ?? 0} of ${roster} nodes, stage ${one.stage} of ${one.stages}`} />
    <span class="soft">${one.gate_since_ms && !one.gate_passed ? "waits for a person" : one.lacks?.length ? `lacks ${one.lacks.map(said).join(", ")}` : "lacks nothing"}</span>
    ${one.outcome && html`<span class="card-verdict"><${Badge} shown=${[...shownAs(OUTCOMES, one.outcome).slice(0, 2), said(one.reason)]} /></span>`}
  </a>`;
}
