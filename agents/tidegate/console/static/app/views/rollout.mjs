// One rollout: its stages, what the advance lacks, canary beside control, the evidence, and every decision with its reason.
import { html } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { count } from "../numbers.mjs";
import { APPROVE, OF_ROLLOUTS, toApprove } from "../parts/acts.mjs";
import { Actions } from "../parts/actions.mjs";
import { Compare } from "../parts/compare.mjs";
import { Decisions } from "../parts/decisions.mjs";
import { Verdict } from "../parts/evidence.mjs";
import { Icon } from "../parts/icons.mjs";
import { Ago, Badge, Waiting } from "../parts/small.mjs";
import { Track } from "../parts/track.mjs";
import { to } from "../routes.mjs";
import { phaseOf, said, underWay } from "../words.mjs";

const ACTS = { ...OF_ROLLOUTS, approve: { ...APPROVE, when: toApprove, target: (row) => row.queue[0] } };

export function Rollout({ service }) {
  const subject = `svc/${service}`;
  const concerns = (kind, subjects) => kind !== "flag" && (!subjects.length || subjects.includes(subject));
  const path = `rollouts/${encodeURIComponent(service)}`;
  const data = useData(path, concerns);
  const verdicts = useData(`${path}/verdicts?limit=20`, (kind, subjects) => kind === "verdict" && subjects.includes(subject));
  const row = data.value?.item;
  return html`<section aria-labelledby="title">
    <${Head} service=${service} subject=${subject} path=${path} row=${row} />
    <${Waiting} data=${data} of=${`the rollout of ${service}`}>
      ${row && html`<${Body} row=${row} verdicts=${verdicts.value?.items ?? []} service=${service} />`}
    <//>
  </section>`;
}

function Head({ service, subject, path, row }) {
  const one = row?.summary;
  return html`<header class="view-head">
    <div><h1 id="title">${service} ${one && html`<${Badge} shown=${phaseOf(one)} />`}</h1>
      ${one && html`<p class="soft">${one.settled || "nothing"} → <strong>${one.version || "–"}</strong>, rollout ${one.rollout || "–"}, generation ${one.generation}
        ${row.started_ms ? html`, started <${Ago} ms=${row.started_ms} />` : ""}${row.plan?.actor ? ` by ${row.plan.actor}` : ""}</p>`}</div>
    ${one && html`<${Actions} acts=${ACTS} row=${{ ...one, queue: row.queue, gate_passed: row.gate_passed }} subject=${subject} title=${(act) => `${act.label} the rollout of ${service}`} path=${(right) => `${path}/${right}`} />`}
  </header>`;
}

function Body({ row, verdicts, service }) {
  const { summary } = row;
  const [newest, ...older] = verdicts.filter((one) => one.rollout === summary.rollout);
  const told = summary.verdict?.outcome === "fail" ? summary.verdict : newest;
  return html`<${Notices} row=${row} />
    ${row.stages.length > 0 && html`<${Track} row=${row} />`}
    <div class="two">
      <section class="panel"><h2>${underWay(summary) ? "What the advance lacks" : "Where it stands"}</h2><${Lacks} summary=${summary} /></section>
      <section class="panel"><h2>Cohorts <a class="more" href=${to("fleet", service)}>nodes</a></h2><${Cohorts} summary=${summary} /></section>
    </div>
    <section class="panel"><h2>Canary against control</h2><${Compare} key=${service} service=${service} guardrails=${row.plan?.guardrails ?? []} decisions=${row.decisions} /></section>
    <div class="two">
      <section class="panel"><h2>Judgement</h2>
        ${told ? html`<${Verdict} verdict=${told} />` : html`<p class="empty">Nothing was judged of this rollout yet.</p>`}
        ${older.length > 0 && html`<details><summary>${older.length} earlier</summary>${older.map((one) => html`<${Verdict} key=${one.last_pane_ms + one.reason} verdict=${one} />`)}</details>`}
      </section>
      <section class="panel"><h2>Decisions</h2><${Decisions} rows=${[...row.decisions].reverse()} /></section>
    </div>`;
}

// What a person must not overlook.
function Notices({ row }) {
  const { summary } = row;
  const all = [];
  if (summary.glass) all.push(`Break-glass of ${summary.glass.actor} is in force (${said(summary.glass.action)}): ${summary.glass.reason}`);
  if (summary.paused_reason) all.push(summary.paused_reason === "asked" ? "Paused, because somebody asked for it." : `Paused: ${said(summary.paused_reason)}.`);
  if (summary.waits) all.push(`The next plan waits: ${summary.waits}.`);
  if (summary.missing?.length) all.push(`Not reached: ${summary.missing.join(", ")}.`);
  if (summary.quarantined?.length) all.push(`In quarantine: ${summary.quarantined.join(", ")}.`);
  if (summary.alarms?.length) all.push(html`<a href=${`${to("alarms")}?q=${encodeURIComponent(summary.service)}`}>${count(summary.alarms.length)} ${summary.alarms.length === 1 ? "alarm fires" : "alarms fire"}</a>: ${summary.alarms.join(", ")}.`);
  return all.map((text, at) => html`<p key=${at} class="notice"><${Icon} name="triangle" /><span>${text}</span></p>`);
}

function Lacks({ summary }) {
  const lacking = summary.blockers ?? [];
  if (!underWay(summary)) return html`<p>${summary.result ? `The last rollout ended: ${said(summary.result)}.` : "Nothing is under way."} ${summary.settled ? `Settled on ${summary.settled}.` : ""}</p>`;
  if (!lacking.length) return html`<p class="tone-good ink"><${Icon} name="check" />Nothing: it goes on by itself.</p>`;
  return html`<ul class="lacks">${lacking.map((one) => html`<li key=${one.reason}><strong>${one.reason === "asked" ? "paused" : said(one.reason)}</strong><span>${one.sentence}</span></li>`)}</ul>`;
}

function Cohorts({ summary }) {
  const cohorts = summary.cohorts ?? [];
  if (!cohorts.length) return html`<p class="empty">No cohorts: no rollout is under way.</p>`;
  return html`<table class="table numbers"><thead><tr><th>Cohort</th><th>Version</th><th>Ready</th><th>Given</th><th>Will have</th></tr></thead>
    <tbody>${cohorts.map(
      (one) => html`<tr key=${one.name}><th scope="row"><i class="swatch ink-${one.name}"></i>${one.name}</th><td>${one.version || "–"}</td><td>${count(one.ready)}</td><td>${count(one.nodes)}</td><td>${count(one.expected)}</td></tr>`,
    )}</tbody></table>`;
}
