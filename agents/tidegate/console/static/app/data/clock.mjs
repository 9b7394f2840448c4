// Time by the API's clock: ages are told by one clock, whatever the browser's says.
import { useEffect, useState } from "../html.mjs";

let skewMs = 0;

export const nowMs = () => Date.now() + skewMs;

export function learnClock(serverMs) {
  skewMs = serverMs - Date.now();
}

// Renders again every second, all users at one beat, and not at all while nobody looks.
const beats = new Set();
setInterval(() => document.hidden || beats.forEach((beat) => beat()), 1000);

export function useNow() {
  const [, again] = useState(0);
  useEffect(() => {
    const beat = () => again((count) => count + 1);
    beats.add(beat);
    return () => beats.delete(beat);
  }, []);
  return nowMs();
}
