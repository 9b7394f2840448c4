// The streams of this tab. A tab that nobody looks at holds none: browsers open six connections to a server over all their tabs.
import { useEffect, useRef, useState } from "../html.mjs";
import { happened, readAllAgain } from "./store.mjs";
import { Stream } from "./stream.mjs";

const open = new Set();
const listeners = new Set();
let state = "connecting";

function tell(next) {
  if (next === state) return;
  state = next;
  listeners.forEach((listener) => listener());
}

const main = new Stream("events?kinds=decision,flag,verdict,alarm,report", {
  event: (kind, event) => happened(kind, event.subjects),
  reset: readAllAgain,
  state: tell,
});

function begin(stream) {
  open.add(stream);
  if (!document.hidden) stream.start();
}

function end(stream) {
  open.delete(stream);
  stream.stop();
}

// Anew for each visitor: what one saw is no business of the next.
export function goLive() {
  leave();
  main.lastId = "";
  begin(main);
  readAllAgain();
}

export function leave() {
  end(main);
  tell("connecting");
}

export function useConnection() {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((count) => count + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return state;
}

// Calls hear(kpi) for each new second of a service's cohorts. They are not made up for after a break: missed() says so.
export function useSeconds(service, hear, missed) {
  const now = useRef({});
  now.current = { hear, missed };
  useEffect(() => {
    const stream = new Stream(`events?kinds=kpi&services=${encodeURIComponent(service)}`, {
      event: (_kind, event) => now.current.hear(event.about),
      reset: () => now.current.missed(),
      state: (next) => next === "connecting" && now.current.missed(),
    });
    begin(stream);
    return () => end(stream);
  }, [service]);
}

document.addEventListener("visibilitychange", () => {
  for (const stream of open) document.hidden ? stream.stop() : stream.start();
});
