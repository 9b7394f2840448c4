// Small things that every view uses.
import { html } from "../html.mjs";
import { nowMs, useNow } from "../data/clock.mjs";
import { clock, day, moment, span } from "../numbers.mjs";
import { Icon } from "./icons.mjs";

// shown: [tone, icon, text] of words.mjs.
export function Badge({ shown: [tone, icon, text], title }) {
  return html`<span class="badge tone-${tone}" title=${title}><${Icon} name=${icon} />${text}</span>`;
}

export function Ago({ ms }) {
  const now = useNow();
  if (!ms) return html`<span class="soft">–</span>`;
  return html`<time dateTime=${new Date(ms).toISOString()} title=${moment(ms)}>${span(now - ms)} ago</time>`;
}

export function Clock({ ms }) {
  const today = day(ms) === day(nowMs());
  return html`<time title=${moment(ms)}>${today ? "" : `${day(ms)} `}${clock(ms)}</time>`;
}

// What a view shows while nothing was read, could not be read, or where there is nothing.
export function Waiting({ data, of, empty = "", children }) {
  if (data.problem && !data.value) return html`<${Trouble} problem=${data.problem} />`;
  if (!data.value) return html`<p class="waiting" role="status">Reading ${of} …</p>`;
  if (empty) return html`<p class="empty">${empty}</p>`;
  return children;
}

export function Trouble({ problem }) {
  return html`<div class="trouble" role="alert">
    <strong><${Icon} name="triangle" />${problem.detail || problem.message}</strong>
    ${problem.remedy && html`<span>${problem.remedy}</span>`}
    ${problem.faults?.map((fault) => html`<span key=${fault.path}><code>${fault.path}</code> ${fault.problem}</span>`)}
  </div>`;
}

// A share of a whole, with its number beside it. value, mark: of 1; mark: what was given before, or is expected.
export function Share({ value, mark, label }) {
  const width = `${Math.min(100, Math.max(0, value * 100))}%`;
  return html`<span class="share">
    <span class="share-bar" aria-hidden="true">
      <span class="share-fill" style=${{ width }}></span>
      ${mark != null && html`<span class="share-mark" style=${{ left: `${Math.min(100, mark * 100)}%` }}></span>`}
    </span>
    <span class="number">${label}</span>
  </span>`;
}
