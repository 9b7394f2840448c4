// The field that narrows a list; what is typed stands in the address.
import { html } from "../html.mjs";
import { refine, useRoute } from "../routes.mjs";

export function Filter({ label, name = "q" }) {
  const { query } = useRoute();
  return html`<input class="filter" type="search" aria-label=${label} placeholder=${`${label}  ( / )`} value=${query.get(name) ?? ""}
    onInput=${(event) => refine({ [name]: event.target.value })} />`;
}

export function matching(items, text, of) {
  const wanted = (text ?? "").trim().toLowerCase();
  return wanted ? items.filter((one) => of(one).toLowerCase().includes(wanted)) : items;
}
