// Experiments: what is proposed and why, who is in which variant, and how large each difference is, with what is not known of it.
import { html } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { count, number, percent, span } from "../numbers.mjs";
import { Badge, Share, Waiting } from "../parts/small.mjs";
import { to } from "../routes.mjs";
import { said } from "../words.mjs";

const OFTEN_MS = 400; // sums of exposures are no events: they are asked for
const OUTCOMES = { ship: ["good", "check"], keep_running: ["live", "play"], stop_no_difference: ["calm", "ring"], invalid: ["bad", "cross"] };

export function Experiments() {
  const data = useData("experiments", (kind) => kind === "flag", OFTEN_MS);
  const all = data.value?.items ?? [];
  return html`<section aria-labelledby="title">
    <header class="view-head"><h1 id="title">Experiments</h1></header>
    <${Waiting} data=${data} of="experiments" empty=${all.length ? "" : "No flag declares an experiment. See docs/experiments.md."}>
      ${all.map((one) => html`<${Experiment} key=${one.experiment} one=${one} />`)}
    <//>
  </section>`;
}

function Experiment({ one }) {
  const [tone, icon] = OUTCOMES[one.outcome] ?? ["calm", "dot"];
  return html`<article class="panel" data-experiment=${one.experiment}>
    <header class="panel-head"><h2>${one.experiment}</h2><${Badge} shown=${[tone, icon, said(one.outcome) + (one.proposed_variant ? ` ${one.proposed_variant}` : "")]} />
      <span class="soft">flag <a href=${to("flags", ...one.flag.split("/"))}>${one.flag}</a>, ${one.state}${one.first_ms ? `, for ${span(one.last_ms - one.first_ms)}` : ""}</span></header>
    <p>${because(one)}</p>
    <div class="scroll"><table class="table numbers"><thead><tr><th>Variant</th><th>Users</th><th>Share, mark: declared</th><th>Saw two</th></tr></thead>
        <tbody>${one.variants.map(
          (row) => html`<tr key=${row.variant}><th scope="row">${row.variant}${row.variant === one.control ? " (control)" : ""}</th><td>${count(row.users)}</td>
            <td><${Share} value=${row.share} mark=${row.declared} label=${percent(row.share)} /></td><td>${count(row.doubles)}</td></tr>`,
        )}</tbody></table></div>
    <div class="scroll"><table class="table numbers"><thead><tr><th>Metric</th><th>Control</th><th>Variant</th><th>Difference</th><th>Interval</th><th>Stands</th></tr></thead>
        <tbody>${one.metrics.map((row) => html`<${Metric} key=${row.metric + row.variant} row=${row} />`)}</tbody></table></div>
  </article>`;
}

// Why, in one sentence, as tidegate experiment says it.
function because(one) {
  const primary = one.metrics[0]?.metric ?? "";
  const worse = one.metrics.filter((row) => row.standing === "worse" && row.variant === one.proposed_variant).map((row) => row.metric);
  const texts = {
    too_short: `It was declared to run for ${span(one.min_run_ms)}; so far it has for ${span(one.last_ms - one.first_ms)}.`,
    too_few: `Too few users, or too few of them with ${primary}, to say anything yet.`,
    undecided: `The interval of ${primary} does not leave out that there is no difference.`,
    guard_worse: `${one.proposed_variant} is better in ${primary}, and worse in ${worse.join(", ")}.`,
    better: `${one.proposed_variant} is better than ${one.control} in ${primary}; in no other metric is it surely worse.`,
    control_better: `Every other variant is worse than ${one.control} in ${primary}.`,
    negligible: `Whatever difference there is in ${primary} is smaller than what was declared to matter.`,
    mismatch: "Users are not in the declared shares: who is missing is not known, so no number below means anything.",
    double_exposures: "Too many users saw two variants: who was left out is not known, so no number below means anything.",
  };
  return texts[one.reason] ?? said(one.reason);
}

function Metric({ row }) {
  const shown = row.kind === "binary" ? (value) => percent(value) : number;
  const signed = (value) => (value == null ? "–" : row.kind === "binary" ? `${(value * 100).toFixed(2)} %` : number(value));
  return html`<tr><th scope="row">${row.metric} <span class="soft">${row.variant}</span></th><td>${shown(row.control_mean)}</td><td>${shown(row.mean)}</td>
    <td>${signed(row.difference)}</td><td>${row.low == null ? html`<span class="soft">too few</span>` : html`<${Interval} row=${row} />${signed(row.low)} to ${signed(row.high)}`}</td><td>${said(row.standing)}</td></tr>`;
}

// The interval beside zero: where it does not touch the line in the middle there is a difference.
function Interval({ row }) {
  const reach = Math.max(Math.abs(row.low), Math.abs(row.high)) || 1;
  const at = (value) => `${50 + (value / reach) * 48}%`;
  return html`<span class="interval" aria-hidden="true"><span class="interval-zero"></span>
    <span class="interval-range" style=${{ left: at(row.low), right: `calc(100% - ${at(row.high)})` }}></span><span class="interval-mid" style=${{ left: at(row.difference) }}></span></span>`;
}
