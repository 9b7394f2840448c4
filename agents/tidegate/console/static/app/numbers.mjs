// Numbers and spans as people read them. Below 0 the judge means: no requests.
const NONE = "–";

export const count = (value) => (value == null ? NONE : Math.round(value).toLocaleString("en"));

export function percent(ratio, digits = 2) {
  return ratio == null || ratio < 0 ? NONE : `${(ratio * 100).toFixed(digits)} %`;
}

export function millis(value) {
  if (value == null || value < 0) return NONE;
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function perSecond(value) {
  return value == null || value < 0 ? NONE : `${value < 10 ? value.toFixed(1) : count(value)} /s`;
}

export function number(value) {
  if (value == null) return NONE;
  return Math.abs(value) >= 100 || Number.isInteger(value) ? count(value) : Number(value.toPrecision(3)).toString();
}

const STEPS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1000, "s"],
];

// A length of time in one unit, in two where the first is small: 90 s, 12 min, 3 h 20 min.
export function span(ms) {
  const left = Math.max(0, ms);
  if (left < 100_000) return `${Math.round(left / 1000)} s`;
  const at = STEPS.findIndex(([size]) => left >= size);
  const [size, unit] = STEPS[at];
  const whole = Math.floor(left / size);
  const [small, smallUnit] = STEPS[at + 1] ?? [0, ""];
  const rest = small && whole < 10 ? Math.floor((left % size) / small) : 0;
  return rest ? `${whole} ${unit} ${rest} ${smallUnit}` : `${whole} ${unit}`;
}

const UNITS_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

// A duration of a plan, as in 90s, in ms; 0 where it is none.
export function durationMs(text) {
  const [, whole, unit] = /^([0-9]{1,9})(ms|s|m|h|d)$/.exec(text ?? "") ?? [];
  return whole ? Number(whole) * UNITS_MS[unit] : 0;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

const valid = (ms) => Number.isFinite(ms) && Math.abs(ms) < 8.64e15;
export const clock = (ms) => (valid(ms) ? CLOCK.format(ms) : NONE);
export const hour = (ms) => (valid(ms) ? HOUR.format(ms) : NONE);
export const day = (ms) => (valid(ms) ? DAY.format(ms) : NONE);
export const moment = (ms) => (valid(ms) ? WHOLE.format(ms) : NONE);
