// What is shown, by the path that it was read from. An event makes what it concerns be read again; so does time, for ages and
// countdowns move without events. Nothing is kept up to date that nobody looks at.
import { useEffect, useState } from "../html.mjs";
import { ask } from "./api.mjs";
import { learnClock } from "./clock.mjs";

const AGAIN_MS = 4_000; // without any event
const GAP_MS = 300; // between two reads of one path, however much happens
const WORK = 4; // what takes the API long is asked for less often: it works at most a fifth of the time for one page
const PAGES_MAX = 50;
export const STALE_MS = 10_000;

const entries = new Map();

class Entry {
  constructor(path, concerns, everyMs) {
    Object.assign(this, { path, concerns, everyMs, users: new Set(), value: null, problem: null, etag: "", knownAt: 0, begun: -GAP_MS, gapMs: GAP_MS });
  }

  async load() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    this.again = false;
    clearTimeout(this.timer);
    this.begun = performance.now();
    try {
      const { body, etag } = await whole(this.path);
      learnClock(body.known.now_ms);
      Object.assign(this, { value: body, etag, problem: null, knownAt: performance.now() - body.known.lag_s * 1000 });
    } catch (problem) {
      this.problem = problem;
    }
    this.busy = false;
    this.gapMs = Math.min(AGAIN_MS, Math.max(GAP_MS, WORK * (performance.now() - this.begun)));
    this.users.forEach((tell) => tell());
    this.plan(this.again ? this.gapMs : this.everyMs);
  }

  // Read again so long after the last read began, unless it is to be so earlier already.
  plan(afterMs) {
    if (this.busy) {
      this.again ||= afterMs < this.everyMs;
      return;
    }
    clearTimeout(this.timer);
    if (!this.users.size || document.hidden) return;
    this.timer = setTimeout(() => this.load(), Math.max(0, this.begun + afterMs - performance.now()));
  }
}

// A page says where the next begins; what is shown as one list is read as one.
async function whole(path) {
  const first = await ask(path);
  if (!/^(fleet|flags)\?.*limit=1000/.test(path)) return first;
  let { next } = first.body;
  for (let page = 1; next && page < PAGES_MAX; page += 1) {
    const more = await ask(`${path}&after=${encodeURIComponent(next)}`);
    first.body.items.push(...more.body.items);
    next = more.body.next;
  }
  return first;
}

// concerns(kind, subjects): whether an event may change what stands at the path. everyMs: how
// often it is read without any. Returns {value, problem, etag, path}.
export function useData(path, concerns, everyMs = AGAIN_MS) {
  const [, again] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    const entry = entries.get(path) ?? new Entry(path, concerns, everyMs);
    entries.set(path, entry);
    const tell = () => again((count) => count + 1);
    entry.users.add(tell);
    entry.plan(0);
    return () => {
      entry.users.delete(tell);
      if (!entry.users.size) {
        clearTimeout(entry.timer);
        entries.delete(path);
      }
    };
  }, [path]);
  const { value = null, problem = null, etag = "" } = entries.get(path) ?? {};
  return { value, problem, etag, path };
}

export function happened(kind, subjects) {
  for (const entry of entries.values()) if (entry.concerns(kind, subjects)) entry.plan(entry.gapMs);
}

export function readAllAgain() {
  for (const entry of entries.values()) entry.plan(0);
}

// The oldest of what is shown, in ms; null: nothing was read yet.
export function shownAgeMs() {
  const known = [...entries.values()].filter((one) => one.users.size && one.value).map((one) => one.knownAt);
  return known.length ? performance.now() - Math.min(...known) : null;
}

export function firstProblem() {
  return [...entries.values()].find((one) => one.users.size && one.problem)?.problem ?? null;
}

document.addEventListener("visibilitychange", () => document.hidden || readAllAgain());
