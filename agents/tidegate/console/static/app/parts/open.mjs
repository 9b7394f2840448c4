// The one dialog that is open. It stands beside the views: what it asks about may be gone from them before it is answered.
import { useEffect, useState } from "../html.mjs";

const listeners = new Set();
let shown = null;

// draw(close) returns the dialog; another one that is open is closed.
export function open(draw) {
  shown = draw;
  listeners.forEach((listener) => listener());
}

const close = () => open(null);

export function Opened() {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((count) => count + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return shown && shown(close);
}
