// Every flag: who has it, how far its ramp is, what guards it.
import { html } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { percent } from "../numbers.mjs";
import { Filter, matching } from "../parts/filter.mjs";
import { Icon } from "../parts/icons.mjs";
import { Ago, Badge, Share, Waiting } from "../parts/small.mjs";
import { to, useRoute } from "../routes.mjs";
import { shownAs, PHASES, RESULTS, said } from "../words.mjs";

export const SLOTS = 10_000; // weights are of these

export function Flags() {
  const data = useData("flags?limit=1000", (kind) => kind === "flag");
  const { query } = useRoute();
  const all = data.value?.items ?? [];
  const shown = matching(all, query.get("q"), (one) => one.flag);
  return html`<section aria-labelledby="title">
    <header class="view-head"><h1 id="title">Flags</h1></header>
    <${Waiting} data=${data} of="flags" empty=${all.length ? "" : "There is no flag yet: tidegate flag set SET/FLAG file.yaml"}>
      <div class="tools"><${Filter} label="Filter flags" /></div>
      <div class="panel listing scroll"><table class="table rows-linked"><thead><tr><th>Flag</th><th>State</th><th>Share of users</th><th>Ramp</th><th>Guard</th><th>Changed</th></tr></thead>
        <tbody>${shown.map((one) => html`<${Flag} key=${one.flag} one=${one} />`)}</tbody></table></div>
    <//>
  </section>`;
}

function Flag({ one }) {
  return html`<tr data-flag=${one.flag}>
    <th scope="row"><a class="cover" href=${to("flags", ...one.flag.split("/"))}>${one.flag}</a></th>
    <td><${Badge} shown=${stateOf(one)} /></td>
    <td><${Exposure} one=${one} /></td>
    <td class="number">${one.stage ? `stage ${one.stage} of ${one.stages}` : "–"}</td>
    <td>${one.guard?.length ? one.guard.join(", ") : html`<span class="soft">none: immediate</span>`}</td>
    <td><${Ago} ms=${one.at_ms} />${one.actor && html` <span class="who"><${Icon} name="person" />${one.actor}</span>`}</td>
  </tr>`;
}

// Of whom the new definition holds. A pinned flag gives everyone one variant, whatever its weight says.
export function Exposure({ one }) {
  const weight = one.weight ?? 0;
  if (one.killed || one.off || one.archived) return html`<span class="soft">everyone has ${one.killed ? one.kill_variant : one.safe_variant}</span>`;
  const mark = one.held && one.held !== weight ? one.held / SLOTS : null;
  return html`<${Share} value=${weight / SLOTS} mark=${mark} label=${percent(weight / SLOTS, weight % 100 ? 2 : 0)} />`;
}

export function stateOf(one) {
  if (one.archived) return ["calm", "ring", "archived"];
  if (one.killed) return ["bad", "cross", "killed"];
  if (one.off) return ["bad", "back", said(one.off)];
  if (one.disabled) return ["calm", "ring", "disabled"];
  if (one.phase === "done") return one.result && one.result !== "promoted" ? shownAs(RESULTS, one.result) : ["good", "check", "on"];
  return one.phase === "idle" ? ["hold", "clock", "waits to begin"] : shownAs(PHASES, one.phase);
}
