// Begins the page: theme, who looks, the stream of events, and the view that the address names.
import { html, render } from "./html.mjs";
import { lookWho } from "./data/who.mjs";
import { Shell } from "./shell.mjs";
import { beginTheme } from "./theme.mjs";
import { Alarms } from "./views/alarms.mjs";
import { Experiments } from "./views/experiments.mjs";
import { Flag } from "./views/flag.mjs";
import { Flags } from "./views/flags.mjs";
import { Fleet } from "./views/fleet.mjs";
import { Nodes } from "./views/nodes.mjs";
import { Rollout } from "./views/rollout.mjs";
import { Rollouts } from "./views/rollouts.mjs";
import { Timeline } from "./views/timeline.mjs";

// A key for each thing: going from one service to another begins anew, with nothing of the first in sight.
const VIEWS = {
  fleet: ([service]) => (service ? html`<${Nodes} key=${service} service=${service} />` : html`<${Fleet} />`),
  rollouts: ([service]) => (service ? html`<${Rollout} key=${service} service=${service} />` : html`<${Rollouts} />`),
  flags: ([set, name]) => (name ? html`<${Flag} key=${`${set}/${name}`} set=${set} name=${name} />` : html`<${Flags} />`),
  experiments: () => html`<${Experiments} />`,
  alarms: () => html`<${Alarms} />`,
  timeline: () => html`<${Timeline} />`,
};

const view = ({ view: name, parts }) => (Object.hasOwn(VIEWS, name) ? VIEWS[name](parts) : html`<p class="empty">There is no such page. <a href="#/fleet">Fleet</a></p>`);

beginTheme();
render(html`<${Shell} view=${view} />`, document.getElementById("app"));
lookWho();
