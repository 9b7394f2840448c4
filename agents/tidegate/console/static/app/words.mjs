// How the closed words of the records look: a tone (colour), an icon (shape) and a text, so that no one of them is needed alone.
// A word that is not here, of a newer release, is shown as it stands.
const LIVE = "live";
const GOOD = "good";
const HOLD = "hold";
const BAD = "bad";
const CALM = "calm";

export const PHASES = {
  idle: [CALM, "ring", "idle"],
  running: [LIVE, "play", "running"],
  paused: [HOLD, "pause", "paused"],
  rolling_back: [BAD, "back", "rolling back"],
  watching: [LIVE, "eye", "watching"],
  done: [CALM, "check", "settled"],
};

export const RESULTS = {
  promoted: [GOOD, "check", "promoted"],
  rolled_back: [BAD, "back", "rolled back"],
  switched_off: [BAD, "back", "switched off"],
  aborted: [HOLD, "back", "aborted"],
  superseded: [CALM, "ring", "superseded"],
  failed: [BAD, "cross", "failed"],
};

export const OUTCOMES = {
  pass: [GOOD, "check", "pass"],
  fail: [BAD, "cross", "fail"],
  hold: [HOLD, "pause", "hold"],
};

export const SEVERITIES = {
  critical: [BAD, "triangle", "critical"],
  warning: [HOLD, "diamond", "warning"],
  info: [LIVE, "dot", "info"],
};

export const NODE_STATES = {
  reachable: [CALM, "check", "reachable"],
  unreachable: [BAD, "cross", "unreachable"],
  cordoned: [HOLD, "pause", "cordoned"],
  "never seen": [HOLD, "ring", "never seen"],
};

export const COHORTS = ["canary", "control", "rest"];

// Of a decision: how it moves what it is about.
export const DECISIONS = {
  accept: [LIVE, "plus", "accepted"],
  start: [LIVE, "play", "started"],
  release: [LIVE, "forward", "batch released"],
  bake: [LIVE, "clock", "bakes"],
  gate: [HOLD, "pause", "waits at a gate"],
  promote: [GOOD, "forward", "promoted"],
  watch: [GOOD, "eye", "watches"],
  complete: [GOOD, "check", "complete"],
  pause: [HOLD, "pause", "paused"],
  resume: [LIVE, "play", "resumed"],
  rollback: [BAD, "back", "rolled back"],
  returned: [GOOD, "check", "returned"],
  refuse: [HOLD, "cross", "refused"],
  setting: [CALM, "dot", "setting"],
  takeover: [CALM, "dot", "takeover"],
  kill: [BAD, "cross", "killed"],
  safe: [BAD, "back", "safe variant"],
  restore: [GOOD, "check", "restored"],
  share: [LIVE, "forward", "share changed"],
  archive: [CALM, "ring", "archived"],
  remove: [CALM, "ring", "removed"],
};

export const said = (word) => String(word ?? "").replaceAll("_", " ");

export function shownAs(table, word) {
  return Object.hasOwn(table, word) ? table[word] : [CALM, "dot", said(word)];
}

// How a phase is shown: a rollout that is over by how it ended.
export function phaseOf({ phase, result }) {
  return phase === "done" && result ? shownAs(RESULTS, result) : shownAs(PHASES, phase);
}

const UNDER_WAY = ["running", "paused", "rolling_back", "watching"];
export const underWay = (row) => UNDER_WAY.includes(row.phase);
