// A verdict in words and numbers: what was compared, over which seconds, and how much evidence there is against how much it takes.
import { html } from "../html.mjs";
import { clock, count, millis, number, percent, span } from "../numbers.mjs";
import { OUTCOMES, said, shownAs } from "../words.mjs";
import { Badge, Clock } from "./small.mjs";

const WITH_WHOM = { controls: "the controls of the same age", fleet: "the old version's nodes", control: "the control", rest: "the rest of the fleet", baseline: "the baseline" };
const WHAT = { errors: "errors", errorSeconds: "seconds with errors" };

export function Verdict({ verdict }) {
  const ratio = /ratio/i.test(verdict.metric ?? "") ? percent : number;
  return html`<article class="verdict">
    <header><${Badge} shown=${shownAs(OUTCOMES, verdict.outcome)} /><strong>${said(verdict.reason)}</strong>
      ${verdict.action && html`<span>asks for ${said(verdict.action)}</span>`}<span class="soft"><${Clock} ms=${verdict.last_pane_ms} /></span></header>
    ${verdict.sentence && html`<p>${verdict.sentence}</p>`}
    <dl class="figures">
      ${verdict.metric && html`<${Figure} name=${verdict.metric} value=${`${ratio(verdict.canary)} against ${ratio(verdict.control)}`} />`}
      ${verdict.limit != null && html`<${Figure} name="limit" value=${ratio(verdict.limit)} />`}
      ${verdict.compared_with && html`<${Figure} name="compared with" value=${WITH_WHOM[verdict.compared_with] ?? verdict.compared_with} />`}
      <${Figure} name="requests" value=${`${count(verdict.canary_requests ?? 0)} against ${count(verdict.control_requests ?? 0)}`} />
      <${Figure} name="errors" value=${`${count(verdict.canary_errors ?? 0)} against ${count(verdict.control_errors ?? 0)}`} />
      <${Figure} name="coverage" value=${percent(verdict.coverage ?? 1, 0)} />
      ${verdict.silent_nodes?.length > 0 && html`<${Figure} name="silent" value=${verdict.silent_nodes.join(", ")} />`}
      ${verdict.first_pane_ms > 0 && html`<${Figure} name="seconds judged" value=${`${clock(verdict.first_pane_ms)} to ${clock(verdict.last_pane_ms)}`} />`}
    </dl>
    ${(verdict.evidence ?? []).map((one) => html`<${Family} key=${one.family} one=${one} until=${verdict.last_pane_ms} />`)}
    ${(verdict.deviating ?? []).map((text) => html`<p key=${text}>Deviates: ${text}</p>`)}
    ${verdict.certified && html`<p>Certified: the canary is no worse than is tolerated.</p>`}
  </article>`;
}

function Figure({ name, value }) {
  return html`<div><dt>${name}</dt><dd class="number">${value}</dd></div>`;
}

// One family of metrics. The bar is the evidence on the scale of the threshold: at its end it is no chance any more.
function Family({ one, until }) {
  const part = Math.max(0, Math.min(1, one.log_e / one.threshold));
  const enough = one.log_e >= one.threshold;
  const whom = WITH_WHOM[one.compared_with] ?? "who could be compared";
  const what = one.bound_ms ? `requests slower than ${millis(one.bound_ms)}` : (WHAT[one.metric] ?? `that ${one.metric} counts`);
  return html`<div class="family">
    <div class="family-head"><strong>${one.family}</strong><span class="number">evidence ${number(one.log_e)} of ${number(one.threshold)}</span></div>
    <span class="family-bar ${enough ? "enough" : ""}" aria-hidden="true"><span style=${{ width: `${part * 100}%` }}></span></span>
    <p>${one.onset_ms ? `For ${span(until - one.onset_ms)}, ` : ""}${percent(one.share ?? 0, 1)} of all ${what} are the canary's (${number(one.canary_events ?? 0)} of
      ${" "}${number((one.canary_events ?? 0) + (one.control_events ?? 0))}); beside ${whom} ${percent(one.expected_share ?? 0, 1)} would be its part. ${weight(one)}
      ${one.deleted?.length ? ` Left out: ${one.deleted.join(", ")}.` : ""}
      ${one.log_licence != null ? ` Licence ${number(one.log_licence)} of ${number(one.licence_threshold ?? 0)}.` : ""}</p>
  </div>`;
}

function weight(one) {
  if (one.log_e >= one.threshold) return "That is no chance.";
  if ((one.log_e_pause ?? 0) >= one.threshold) return "Only with every node counted is that no chance: one node or one moment makes it.";
  return (one.share ?? 0) > (one.expected_share ?? 0) ? "That may be chance." : "Nothing speaks against the canary.";
}
