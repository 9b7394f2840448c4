// What stands around every view: where one can go, who one is, whether the data is live and how old it is.
import { html, useEffect } from "./html.mjs";
import { useNow } from "./data/clock.mjs";
import { useConnection } from "./data/live.mjs";
import { STALE_MS, firstProblem, shownAgeMs } from "./data/store.mjs";
import { useWho } from "./data/who.mjs";
import { Help } from "./parts/help.mjs";
import { Icon } from "./parts/icons.mjs";
import { Opened, open } from "./parts/open.mjs";
import { Trouble } from "./parts/small.mjs";
import { Account, SignIn } from "./parts/signin.mjs";
import { useKeys } from "./keys.mjs";
import { nextTheme } from "./theme.mjs";
import { to, useRoute } from "./routes.mjs";

export const VIEWS = { fleet: "Fleet", rollouts: "Rollouts", flags: "Flags", experiments: "Experiments", alarms: "Alarms", timeline: "Timeline" };

export function Shell({ view }) {
  const route = useRoute();
  const who = useWho();
  useKeys({ help, theme: nextTheme });
  useEffect(() => {
    document.title = `${VIEWS[route.view] ?? "Tidegate"}${route.parts.length ? ` · ${route.parts.join("/")}` : ""} · Tidegate`;
  }, [route]);
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/fleet"><img src="favicon.svg" alt="" width="24" height="24" />Tidegate${who.fleet && html`<span class="soft">${who.fleet}</span>`}</a>
      <${Connection} />
      <span class="top-end"><${Person} who=${who} onSignIn=${account} />
        <button type="button" class="icon-button" onClick=${nextTheme} aria-label="Light, dark or as the system" title="Light, dark or as the system (d)"><${Icon} name="theme" /></button>
        <button type="button" class="icon-button" onClick=${help} aria-label="Keys" title="Keys (?)"><${Icon} name="keys" /></button></span>
    </header>
    <nav class="nav" aria-label="Views">${Object.entries(VIEWS).map(
      ([name, text]) => html`<a key=${name} href=${to(name)} aria-current=${route.view === name ? "page" : undefined}><${Icon} name=${name} /><span>${text}</span></a>`,
    )}</nav>
    <${Stale} />
    <main id="main" tabindex="-1">${who.wanted ? html`<${SignIn} page=${true} />` : who.known ? view(route) : html`<${Beginning} problem=${who.problem} />`}</main>
    <${Opened} />`;
}

const help = () => open((close) => html`<${Help} onClose=${close} />`);
const account = () => open((close) => html`<${Account} onClose=${close} />`);

function Beginning({ problem }) {
  return problem ? html`<${Trouble} problem=${problem} />` : html`<p class="waiting" role="status">Beginning …</p>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

const STATES = { live: ["good", "live"], connecting: ["hold", "connecting"], away: ["bad", "not connected"] };
const OLD = ["hold", "old"];

function Connection() {
  const state = useConnection();
  useNow();
  const ageMs = shownAgeMs();
  const [tone, text] = ageMs > STALE_MS ? OLD : STATES[state];
  return html`<span class="connection tone-${tone}" data-connection=${state} data-age-ms=${ageMs == null ? "" : Math.round(ageMs)}>
    <span class="pulse ${state}" aria-hidden="true"></span><span role="status">${text}</span>
    <span class="soft number age">${ageMs == null ? "nothing read yet" : `${(ageMs / 1000).toFixed(0)} s old`}</span></span>`;
}

// Old data is marked, on the page and on every view (main is dimmed by its class), and why it is old is said.
function Stale() {
  useNow();
  const ageMs = shownAgeMs();
  const stale = ageMs != null && ageMs > STALE_MS;
  useEffect(() => document.documentElement.classList.toggle("stale", stale), [stale]);
  if (!stale) return null;
  const problem = firstProblem();
  const why = problem ? `${problem.detail || problem.message}.` : "The API has heard nothing of the broker since.";
  return html`<p class="stale-note" role="alert"><${Icon} name="clock" />What you see is ${Math.round(ageMs / 1000)} s old. ${why}</p>`;
}

function Person({ who, onSignIn }) {
  if (!who.known) return null;
  if (!who.name) return html`<span class="soft person">read only</span><button type="button" class="button small" onClick=${onSignIn}>Sign in</button>`;
  return html`<button type="button" class="person" onClick=${onSignIn} title="Who is signed in"><${Icon} name="person" /><span>${who.name}</span><span class="soft">${who.role}</span></button>`;
}
