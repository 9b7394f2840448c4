// What a person may ask for, and what each does, in words. The texts say it of the very thing that is asked about.

const service = (one) => `service ${one.service}`;
const flag = (one) => `flag ${one.flag}`;
// A rollout that is paused for these goes on by itself, until a person pauses it.
const SIGNALS = ["silent", "environment", "evidence"];
const STILL = "Readiness, requests and a pass are needed still, and a fail is never overruled.";

// when: whether it makes sense of what stands there; does: what will happen; conditional: it is about the generation one saw.
export const OF_ROLLOUTS = {
  pause: {
    label: "Pause", icon: "pause", tone: "hold",
    when: (row) => row.phase === "running" || (row.phase === "paused" && SIGNALS.includes(row.paused_reason)),
    does: (row) => `No further node of ${service(row)} gets ${row.version} until somebody resumes. Judgement and rollback go on.`,
  },
  resume: {
    label: "Resume", icon: "play", tone: "live", conditional: true,
    when: (row) => row.phase === "paused",
    does: (row) => `The rollout of ${service(row)} to ${row.version} goes on at stage ${row.stage} of ${row.stages}.`,
  },
  promote: {
    label: "Promote", icon: "forward", tone: "good", conditional: true,
    when: (row) => row.phase === "running" && !row.gate_passed,
    does: (row) => `Bake and gate of stage ${row.stage} of ${row.stages} of ${service(row)} end now. ${STILL}`,
  },
  abort: {
    label: "Abort", icon: "back", tone: "bad",
    when: (row) => abortable(row) || row.queued > 0,
    does: (row) => [abortable(row) && goesBack(row), row.queued > 0 && `What waits for ${service(row)} is withdrawn (${row.queued}).`].filter(Boolean).join(" "),
  },
  undo: {
    label: "Undo", icon: "back", tone: "bad", conditional: true,
    when: (row) => row.phase === "done" && row.result === "promoted",
    does: (row) => `${cap(service(row))} goes back from ${row.settled} to the rollback target of its last plan.${row.queued > 0 ? ` What waits is withdrawn (${row.queued}).` : ""}`,
  },
  retry: {
    label: "Retry", icon: "play", tone: "live", conditional: true,
    when: (row) => row.phase === "done" && ["aborted", "rolled_back", "failed"].includes(row.result),
    does: (row) => `The last plan of ${service(row)} begins again, to ${row.version}.`,
  },
};

const abortable = (row) => ["running", "paused", "watching"].includes(row.phase);
const goesBack = (row) =>
  row.settled
    ? `Every node of ${service(row)} goes back to ${row.settled} at once, and ${row.version} is quarantined.`
    : `The first install of ${service(row)} ends here as failed. There is nothing to go back to: its nodes keep what they run.`;

export const OF_FLAGS = {
  kill: {
    label: "Kill", icon: "cross", tone: "bad",
    when: (row) => !row.killed && !row.archived,
    does: (row) => `Everyone gets the variant ${row.kill_variant} of ${flag(row)} now, whatever its rules say.`,
  },
  restore: {
    label: "Restore", icon: "check", tone: "good", conditional: true,
    when: (row) => !row.archived && (row.killed || Boolean(row.off)),
    does: (row) => `What was there before comes back: ${flag(row)} follows its definition again.`,
  },
  pause: {
    label: "Pause", icon: "pause", tone: "hold",
    when: (row) => row.phase === "running",
    does: (row) => `The ramp of ${flag(row)} stops at ${row.weight / 100} %. Judgement and switch-off go on.`,
  },
  resume: {
    label: "Resume", icon: "play", tone: "live", conditional: true,
    when: (row) => row.phase === "paused",
    does: (row) => `The ramp of ${flag(row)} goes on; its stage begins anew.`,
  },
  promote: {
    label: "Promote", icon: "forward", tone: "good", conditional: true,
    when: (row) => row.phase === "running",
    does: (row) => `Bake and gate of stage ${row.stage} of ${row.stages} of ${flag(row)} end now. ${STILL}`,
  },
  abort: {
    label: "Abort", icon: "back", tone: "bad",
    when: (row) => row.phase === "running" || row.phase === "paused" || row.phase === "idle",
    does: (row) => `The change of ${flag(row)} ends: what was there before it is for everyone again.`,
  },
};

export const APPROVE = {
  label: "Approve", icon: "check", tone: "good", conditional: true,
  does: (row) => `You approve of what somebody else asked for: ${row.service ? `${service(row)} to ${row.version}` : flag(row)}.`,
};

export const OF_NODES = {
  cordon: {
    label: "Cordon", icon: "pause", tone: "hold",
    when: (node) => node.node_state !== "cordoned",
    does: (node) => `Node ${node.node} takes part in no rollout that begins from now on. What has passed every stage it takes, like a node that was away.`,
  },
  uncordon: {
    label: "Uncordon", icon: "play", tone: "live",
    when: (node) => node.node_state === "cordoned",
    does: (node) => `Node ${node.node} takes part in rollouts again.`,
  },
};

export const UNSILENCE = {
  label: "End silence", icon: "alarms", tone: "live",
  does: (silence) => `People are told again of the alarms that ${silence.actor || "somebody"} hid: ${silence.about}.`,
};

// Whether the next plan waits for a second person: it may do so behind a watch, too.
export const toApprove = (row) => /: rollout approve /.test(row.waits ?? "");

const cap = (text) => text[0].toUpperCase() + text.slice(1);
