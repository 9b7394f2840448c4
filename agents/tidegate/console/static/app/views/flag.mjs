// One flag: its share and ramp, what it waits for, what its guard says, and its definition as it was signed.
import { html } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { count, percent, span } from "../numbers.mjs";
import { APPROVE, OF_FLAGS } from "../parts/acts.mjs";
import { Actions } from "../parts/actions.mjs";
import { Verdict } from "../parts/evidence.mjs";
import { Icon } from "../parts/icons.mjs";
import { Ago, Badge, Waiting } from "../parts/small.mjs";
import { said } from "../words.mjs";
import { Exposure, SLOTS, stateOf } from "./flags.mjs";

const waitsForApproval = (row) => row.blockers?.some((one) => one.reason === "not_approved");
const ACTS = { ...OF_FLAGS, approve: { ...APPROVE, when: waitsForApproval, target: (row) => row.proposed } };

export function Flag({ set, name }) {
  const subject = `flag/${set}/${name}`;
  const path = `flags/${encodeURIComponent(set)}/${encodeURIComponent(name)}`;
  const data = useData(path, (kind, subjects) => (kind === "flag" || kind === "verdict") && subjects.some((one) => one === subject));
  const row = data.value?.item;
  const one = row?.summary;
  return html`<section aria-labelledby="title">
    <header class="view-head">
      <div><h1 id="title">${set}/${name} ${one && html`<${Badge} shown=${stateOf(one)} />`}</h1>
        ${one && html`<p class="soft">generation ${one.generation}, changed <${Ago} ms=${one.at_ms} />${one.actor ? ` by ${one.actor}` : ""}${one.why ? `: ${one.why}` : ""}</p>`}</div>
      ${one && html`<${Actions} acts=${ACTS} row=${one} subject=${subject} title=${(act) => `${act.label} flag ${set}/${name}`} path=${(right) => `${path}/${right}`} />`}
    </header>
    <${Waiting} data=${data} of="the flag">${row && html`<${Body} row=${row} one=${one} />`}<//>
  </section>`;
}

function Body({ row, one }) {
  const verdicts = one.verdicts ?? [];
  return html`<div class="two">
      <section class="panel"><h2>Share</h2><p><${Exposure} one=${one} /></p>
        <dl class="figures">
          <div><dt>variants</dt><dd>${(one.variants ?? []).join(", ")}</dd></div>
          <div><dt>safe variant</dt><dd>${one.safe_variant}</dd></div>
          <div><dt>kill variant</dt><dd>${one.kill_variant}</dd></div>
          <div><dt>guarded by</dt><dd>${one.guard?.length ? one.guard.join(", ") : "nothing: it changes at once"}</dd></div>
          ${one.held > 0 && html`<div><dt>held</dt><dd class="number">${percent(one.held / SLOTS, 0)}</dd></div>`}
          ${verdicts.map((verdict) => html`<div key=${verdict.service}><dt>exposed in ${verdict.service}</dt><dd class="number">${count(verdict.canary_requests ?? 0)} requests</dd></div>`)}
          ${one.quarantined?.length > 0 && html`<div><dt>in quarantine</dt><dd>${one.quarantined.join(", ")}</dd></div>`}
        </dl></section>
      <section class="panel"><h2>Ramp</h2><${Ramp} row=${row} one=${one} /></section>
    </div>
    ${verdicts.length > 0 && html`<section class="panel"><h2>What its guard says</h2>${verdicts.map((verdict) => html`<${Verdict} key=${verdict.service} verdict=${verdict} />`)}</section>`}
    <section class="panel"><h2>As it was signed</h2><pre class="code" tabindex="0">${JSON.stringify(row.spec, null, 2)}</pre></section>`;
}

function Ramp({ row, one }) {
  const stages = row.ramp?.stages ?? [];
  if (!stages.length) return html`<p class="empty">It has no ramp.</p>`;
  const lacking = one.blockers ?? [];
  return html`<ol class="track" aria-label="Stages of the ramp">${stages.map((stage, at) => {
      const standing = !one.stage ? (one.result === "promoted" ? "passed" : "ahead") : at + 1 < one.stage ? "passed" : at + 1 === one.stage ? "current" : "ahead";
      return html`<li key=${at} class="stage ${standing}"><div class="stage-head"><${Icon} name=${standing === "passed" ? "check" : standing === "current" ? "play" : "ring"} /><strong class="number">${stage.setWeight} %</strong><span class="soft">${standing}</span></div>
        <div class="soft">bakes ${stage.bake ?? "60s"}${stage.pause ? " · gate" : ""}</div>
        ${standing === "current" && one.bake_left_ms > 0 && html`<div class="progress number">${span(one.bake_left_ms)} left to bake</div>`}</li>`;
    })}</ol>
    ${one.paused_reason && html`<p class="notice"><${Icon} name="pause" />Paused: ${said(one.paused_reason)}.</p>`}
    ${lacking.length > 0 && html`<ul class="lacks">${lacking.map((lack) => html`<li key=${lack.reason}><strong>${said(lack.reason)}</strong><span>${lack.sentence}</span></li>`)}</ul>`}`;
}
