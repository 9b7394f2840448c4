// What happened when, one lane a kind: whether an alarm follows a release is seen before it is read. The list below says the same.
import { html } from "../html.mjs";
import { useNow } from "../data/clock.mjs";
import { clock, span } from "../numbers.mjs";

const LANES = { rollout: "Releases", flag: "Flags", alarm: "Alarms", fleet: "Fleet", people: "People" };
const TONES = { firing: "bad", rollback: "bad", kill: "bad", refuse: "hold", pause: "hold", gate: "hold", promote: "good", complete: "good", resolved: "good" };
const LEAST_MS = 60_000;

export function Lanes({ entries }) {
  const now = useNow();
  const reach = Math.max(LEAST_MS, now - Math.min(...entries.map((one) => one.at_ms)));
  const at = (ms) => `${Math.max(0.5, Math.min(99.5, 100 - ((now - ms) / reach) * 100))}%`;
  const lanes = Object.keys(LANES).map((kind) => [kind, entries.filter((one) => (kind === "people" ? one.actor : one.kind === kind))]);
  return html`<div class="lanes" aria-hidden="true">
    ${lanes.map(
      ([kind, marks]) => html`<div key=${kind} class="lane"><span class="lane-name">${LANES[kind]}</span><span class="lane-line">
        ${marks.map((one) => html`<i key=${one.id} class="mark mark-${kind} tone-${TONES[one.what] ?? "live"}" style=${{ left: at(one.at_ms) }} title=${`${clock(one.at_ms)} ${one.what}`}></i>`)}
      </span></div>`,
    )}
    <div class="lane lane-times"><span class="lane-name"></span><span class="lane-line soft number"><span>${span(reach)} ago</span><span>now</span></span></div>
  </div>`;
}
