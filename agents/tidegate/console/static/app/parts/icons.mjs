// One set of icons, drawn on 16 x 16 with one stroke. They stand beside words and are hidden from who listens.
import { html } from "../html.mjs";

const PATHS = {
  alarms: "M8 2a4 4 0 0 0-4 4v3l-1.5 2.5h11L12 9V6a4 4 0 0 0-4-4ZM6.5 14h3",
  back: "M6.5 3.5 3 7l3.5 3.5M3 7h6a4 4 0 0 1 0 8H7.5",
  check: "m3 8.5 3.3 3.3L13 5",
  clock: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 5v3.2l2.2 1.5",
  cross: "m4 4 8 8M12 4l-8 8",
  diamond: "m8 2 6 6-6 6-6-6 6-6Z",
  dot: "M8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z",
  experiments: "M6 2h4M7 2v4L3 13a1 1 0 0 0 1 1.2h8A1 1 0 0 0 13 13L9 6V2M5 10h6",
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6Z",
  flags: "M3.5 14V2.5M3.5 3h8.5l-2 3 2 3H3.5",
  fleet: "M2 3h12v4H2V3ZM2 9h12v4H2V9ZM4.5 5h.01M4.5 11h.01",
  forward: "m4 3 4 5-4 5M9 3l4 5-4 5",
  keys: "M1.5 4h13v8h-13V4ZM4 6.5h.01M6.7 6.5h.01M9.3 6.5h.01M12 6.5h.01M5 9.5h6",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  person: "M8 2.5a2.7 2.7 0 1 0 0 5.4 2.7 2.7 0 0 0 0-5.4ZM2.5 14c.6-3 2.8-4.2 5.5-4.2s4.9 1.2 5.5 4.2",
  play: "M5 3.5v9l7-4.5-7-4.5Z",
  plus: "M8 3v10M3 8h10",
  ring: "M8 3.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Z",
  rollouts: "M2 12h3V9h3V6h3V3h3",
  silence: "M4 6v3l-1.5 2.5h11L12 9V6M6.5 14h3M2 2l12 12",
  theme: "M8 2a6 6 0 1 0 0 12V2Z",
  timeline: "M2 8h12M5 8V4M9 8v4M12 8V5",
  triangle: "M8 2.5 14.5 13.5h-13L8 2.5ZM8 6.5v3.5M8 12h.01",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${PATHS[name] ?? PATHS.dot} /></svg>`;
}
