// The one dialog that is open. It stands beside the views: what it asks about may be gone from them before it is answered.
import { html, useEffect, useState } from "../html.mjs";

const listeners = new Set();
let shown = { number: 0, draw: null };

// draw(close) returns the dialog; another one that is open is closed.
export function open(draw) {
  shown = { number: shown.number + 1, draw };
  listeners.forEach((listener) => listener());
}

// A dialog closes itself alone: the browser tells of its end when the next one may be open already.
const closing = (mine) => () => shown === mine && open(null);

export function Opened() {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((count) => count + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return shown.draw && html`<${Shown} key=${shown.number} mine=${shown} />`;
}

const Shown = ({ mine }) => mine.draw(closing(mine));
