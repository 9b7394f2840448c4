// A new silence: which alarms, for how long. It hides those that have all that is named here; naming nothing is refused.
import { html, useState } from "../html.mjs";
import { durationMs, span } from "../numbers.mjs";
import { Ask } from "./ask.mjs";

const LASTS = ["30m", "2h", "8h", "1d", "7d"];

// of: an alarm to begin with, or nothing.
export function Silence({ of, onClose }) {
  const [hush, setHush] = useState({ service: of.service ?? "", name: of.name ?? "", labels: of.labels ?? {}, lasts: "2h" });
  const set = (field) => (event) => setHush({ ...hush, [field]: event.target.value });
  const drop = (name) => setHush({ ...hush, labels: Object.fromEntries(Object.entries(hush.labels).filter(([one]) => one !== name)) });
  const named = [hush.name ? `the alarm ${hush.name}` : "every alarm", hush.service && `of service ${hush.service}`, ...Object.entries(hush.labels).map(([name, value]) => `with ${name}=${value}`)];
  const ready = Boolean(hush.service || hush.name || Object.keys(hush.labels).length);
  const wish = {
    label: "Silence", icon: "silence", tone: "hold",
    title: hush.service ? `Silence alarms of ${hush.service}` : "Silence alarms",
    does: `Nobody is told of ${named.filter(Boolean).join(" ")} for ${span(durationMs(hush.lasts))}. What is wrong stays wrong, and stops advances as before.`,
    path: "silences", etag: "", body: hush,
  };
  return html`<${Ask} wish=${wish} onClose=${onClose} ready=${ready}>
    <div class="fields">
      <label class="field">Service<input value=${hush.service} onInput=${set("service")} maxlength="256" /></label>
      <label class="field">Alarm<input value=${hush.name} onInput=${set("name")} maxlength="256" /></label>
      <label class="field">For<select value=${hush.lasts} onChange=${set("lasts")}>${LASTS.map((one) => html`<option key=${one} value=${one}>${span(durationMs(one))}</option>`)}</select></label>
    </div>
    ${Object.entries(hush.labels).map(([name, value]) => html`<button key=${name} type="button" class="label" onClick=${() => drop(name)} aria-label=${`Leave out ${name}=${value}`}>${name}=${value} ×</button>`)}
  <//>`;
}
