// The stages of a plan in a row, with where each stands: how many nodes, how long it bakes, what it waits for.
import { html } from "../html.mjs";
import { useNow } from "../data/clock.mjs";
import { count, durationMs, span } from "../numbers.mjs";
import { said } from "../words.mjs";
import { Icon } from "./icons.mjs";

const ICONS = { passed: "check", current: "play", ahead: "ring" };

export function Track({ row }) {
  const { stages, summary } = row;
  return html`<ol class="track" aria-label="Stages">
    ${stages.map(
      (stage) => html`<li key=${stage.stage} class="stage ${stage.standing}" aria-current=${stage.standing === "current" ? "step" : undefined}>
        <div class="stage-head"><${Icon} name=${stage.standing === "current" && summary.phase === "paused" ? "pause" : (ICONS[stage.standing] ?? "ring")} />
          <strong>Stage ${stage.stage}</strong><span class="soft">${stage.standing}</span></div>
        <div class="number">${count(stage.canary)} ${stage.canary === 1 ? "node" : "nodes"}${stage.control > 0 ? `, ${count(stage.control)} control` : ""}</div>
        <div class="soft">${needs(stage)}</div>
        ${stage.standing === "current" && html`<${Progress} row=${row} stage=${stage} />`}
      </li>`,
    )}
  </ol>`;
}

function needs(stage) {
  const all = [`bakes ${stage.bake}`];
  if (stage.min_requests) all.push(`${count(stage.min_requests)} requests`);
  if (stage.gate !== "noEvidence") all.push(said(stage.gate));
  if (stage.pause) all.push(stage.pause.duration ? `gate for ${stage.pause.duration}` : "gate: a person");
  return all.join(" · ");
}

// Nodes first, then the bake, then the gate: what the stage is at is what fills.
function Progress({ row, stage }) {
  const now = useNow();
  const bakeMs = durationMs(stage.bake);
  if (row.gate_since_ms && !row.gate_passed) return html`<div class="progress"><${Icon} name="person" />waits for an answer since ${span(now - row.gate_since_ms)}</div>`;
  if (row.baking_since_ms) {
    const spent = Math.min(bakeMs, Math.max(0, now - row.baking_since_ms));
    const left = bakeMs - spent;
    return html`<div class="progress"><progress max=${bakeMs || 1} value=${spent} aria-label="Bake"></progress><span class="number">${left ? `${span(left)} left to bake` : "baked"}</span></div>`;
  }
  const canary = row.summary.cohorts?.find((one) => one.name === "canary");
  return html`<div class="progress"><progress max=${stage.canary || 1} value=${canary?.ready ?? 0} aria-label="Nodes ready"></progress>
    <span class="number">${count(canary?.ready ?? 0)} of ${count(stage.canary)} ready</span></div>`;
}
