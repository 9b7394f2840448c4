// Alarms that fire, loudest first; and silences: who hides what, until when, and what it hid.
import { html } from "../html.mjs";
import { useData } from "../data/store.mjs";
import { useRights } from "../data/who.mjs";
import { nowMs } from "../data/clock.mjs";
import { span } from "../numbers.mjs";
import { UNSILENCE } from "../parts/acts.mjs";
import { Actions } from "../parts/actions.mjs";
import { Filter, matching } from "../parts/filter.mjs";
import { Icon } from "../parts/icons.mjs";
import { More, useShown } from "../parts/more.mjs";
import { open } from "../parts/open.mjs";
import { Silence } from "../parts/silence.mjs";
import { Ago, Badge, Clock, Waiting } from "../parts/small.mjs";
import { refine, to, useRoute } from "../routes.mjs";
import { SEVERITIES, shownAs } from "../words.mjs";

const LOUD = ["critical", "warning", "info"];

export function Alarms() {
  const { query } = useRoute();
  const past = Boolean(query.get("past"));
  const most = useShown();
  const data = useData(`alarms?limit=1000${past ? "&all=true" : ""}`, (kind, subjects) => kind === "alarm" || (kind === "decision" && ofFleet(subjects)));
  const silences = useData("silences", (kind, subjects) => kind === "alarm" || (kind === "decision" && ofFleet(subjects)));
  const maySilence = useRights().includes("silence");
  const all = data.value?.items ?? [];
  const shown = matching(all, query.get("q"), (one) => `${one.name} ${one.service} ${one.summary}`).sort(louder);
  return html`<section aria-labelledby="title">
    <header class="view-head"><h1 id="title">Alarms</h1>
      ${maySilence && html`<button type="button" class="button" onClick=${() => silence({})}><${Icon} name="silence" />New silence</button>`}</header>
    <div class="tools"><${Filter} label="Filter alarms" />
      <label class="check"><input type="checkbox" checked=${past} onChange=${(event) => refine({ past: event.target.checked ? "1" : "" })} />Also those that are over</label></div>
    <${Waiting} data=${data} of="alarms" empty=${shown.length ? "" : "Nothing fires."}>
      <ul class="alarms">${shown.slice(0, most).map((one) => html`<${Alarm} key=${one.key} one=${one} maySilence=${maySilence} />`)}</ul>
      ${shown.length > most && html`<${More} shown=${most} />`}
    <//>
    <h2>Silences</h2>
    <${Waiting} data=${silences} of="silences" empty=${silences.value?.items.length === 0 ? "Nobody hides anything." : ""}>
      <ul class="alarms">${silences.value?.items.map((one) => html`<${Held} key=${one.id} one=${one} />`)}</ul>
    <//>
  </section>`;
}

// Silences and cordons are of no one subject: they are decided of the fleet.
const ofFleet = (subjects) => !subjects.length || subjects.includes("svc/fleet");

const louder = (a, b) => (a.state === b.state ? LOUD.indexOf(a.severity) - LOUD.indexOf(b.severity) || b.start_ms - a.start_ms : a.state === "firing" ? -1 : 1);

const silence = (of) => open((close) => html`<${Silence} of=${of} onClose=${close} />`);

function Alarm({ one, maySilence }) {
  const over = one.state !== "firing";
  return html`<li class="alarm ${over || one.hidden_by ? "quiet" : ""} tone-${shownAs(SEVERITIES, one.severity)[0]}" data-alarm=${one.key}>
    <div class="alarm-head"><${Badge} shown=${over ? ["calm", "check", "over"] : shownAs(SEVERITIES, one.severity)} /><strong>${one.name}</strong>
      ${one.service && html`<a href=${to("rollouts", one.service)}>${one.service}</a>`}
      <span class="soft">since <${Clock} ms=${one.start_ms} />${over ? html` to <${Clock} ms=${one.end_ms} />` : html` (<${Ago} ms=${one.start_ms} />)`}${one.times > 1 ? `, ${one.times} times so far` : ""}</span></div>
    <p>${one.summary}</p>
    <div class="alarm-foot">${Object.entries(one.labels).map(([name, value]) => html`<span key=${name} class="label">${name}=${value}</span>`)}
      ${one.hidden_by && html`<span class="soft"><${Icon} name="silence" />hidden by ${one.hidden_by}</span>`}
      ${!over && !one.hidden_by && maySilence && html`<button type="button" class="button small" onClick=${() => silence(one)}><${Icon} name="silence" />Silence</button>`}</div>
  </li>`;
}

const aboutOf = ({ hush }) => [hush.service && `service ${hush.service}`, hush.name && `alarm ${hush.name}`, ...Object.entries(hush.labels ?? {}).map(([name, value]) => `${name}=${value}`)].filter(Boolean).join(", ");

function Held({ one }) {
  const hid = Object.keys(one.hid).length;
  const about = aboutOf(one);
  return html`<li class="alarm quiet" data-silence=${one.id}>
    <div class="alarm-head"><${Icon} name="silence" /><strong>${about}</strong><span class="soft">for another ${span(one.until_ms - nowMs())}</span>
      <span class="who"><${Icon} name="person" />${one.actor}</span></div>
    <p>${one.reason}</p>
    <div class="alarm-foot"><span class="soft">${hid ? `hid ${hid} ${hid === 1 ? "alarm" : "alarms"}: ${Object.keys(one.hid).join(", ")}` : "hid nothing so far"}</span>
      <${Actions} acts=${{ silence: UNSILENCE }} row=${{ ...one, about }} subject=${one.hush.service ? `svc/${one.hush.service}` : ""} small=${true} title=${() => `End the silence of ${about}`} path=${() => `silences/${encodeURIComponent(one.id)}/end`} /></div>
  </li>`;
}
