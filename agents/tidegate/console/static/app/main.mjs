// Begins the page: theme, who looks, and the view that the address names. A view is fetched when it is first asked for.
import { html, render, useEffect, useState } from "./html.mjs";
import { lookWho } from "./data/who.mjs";
import { Shell } from "./shell.mjs";
import { beginTheme } from "./theme.mjs";

const VIEWS = {
  alarms: async () => (await import("./views/alarms.mjs")).Alarms,
  experiments: async () => (await import("./views/experiments.mjs")).Experiments,
  flag: async () => (await import("./views/flag.mjs")).Flag,
  flags: async () => (await import("./views/flags.mjs")).Flags,
  fleet: async () => (await import("./views/fleet.mjs")).Fleet,
  nodes: async () => (await import("./views/nodes.mjs")).Nodes,
  rollout: async () => (await import("./views/rollout.mjs")).Rollout,
  rollouts: async () => (await import("./views/rollouts.mjs")).Rollouts,
  timeline: async () => (await import("./views/timeline.mjs")).Timeline,
};
const fetched = new Map();

function View({ name, about }) {
  const [, again] = useState(0);
  useEffect(() => {
    if (!fetched.has(name)) VIEWS[name]().then((component) => fetched.set(name, component) && again((count) => count + 1));
  }, [name]);
  const component = fetched.get(name);
  return component ? html`<${component} ...${about} />` : html`<p class="waiting" role="status">Fetching the view …</p>`;
}

// A key for each thing: going from one service to another begins anew, with nothing of the first in sight.
const shown = (name, about = {}) => html`<${View} key=${[name, ...Object.values(about)].join("/")} name=${name} about=${about} />`;

function view({ view: name, parts: [first, second] }) {
  if (name === "fleet") return first ? shown("nodes", { service: first }) : shown("fleet");
  if (name === "rollouts") return first ? shown("rollout", { service: first }) : shown("rollouts");
  if (name === "flags") return second ? shown("flag", { set: first, name: second }) : shown("flags");
  return Object.hasOwn(VIEWS, name) ? shown(name) : html`<p class="empty">There is no such page. <a href="#/fleet">Fleet</a></p>`;
}

beginTheme();
render(html`<${Shell} view=${view} />`, document.getElementById("app"));
lookWho();
