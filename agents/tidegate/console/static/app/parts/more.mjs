// A list that begins short: whoever wants more of it says so. How much is shown stands in the address.
import { html } from "../html.mjs";
import { refine, useRoute } from "../routes.mjs";

const STEPS = [40, 200, 1000];

export function useShown() {
  return Number(useRoute().query.get("shown")) || STEPS[0];
}

export function More({ shown }) {
  const next = STEPS.find((one) => one > shown);
  if (!next) return html`<p class="soft">The rest is told by the command line and the API.</p>`;
  return html`<p><button type="button" class="button" onClick=${() => refine({ shown: String(next) })}>Show more</button></p>`;
}
