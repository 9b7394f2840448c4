// Canary beside control: what was measured of each cohort in the last minutes, as charts with quantile bands and as numbers.
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../html.mjs";
import { ask } from "../data/api.mjs";
import { useSeconds } from "../data/live.mjs";
import { clock, count, millis, number, perSecond, percent } from "../numbers.mjs";
import { COHORTS } from "../words.mjs";
import { Chart, loadPlotting } from "./chart.mjs";

const WINDOW_MS = 300_000;
const PAINT_MS = 250; // charts are painted so often at most
const SUMMED_MS = 10_000; // errors are rare: of one second alone their share is noise
const MARKED = { start: "start", promote: "stage", pause: "pause", resume: "resume", rollback: "rollback", complete: "done" };

export function Compare({ service, guardrails, decisions }) {
  const seconds = useKept(service);
  const [moment, setMoment] = useState(null);
  // Of one moment: what came since is painted with the next, and a pointer that moves paints nothing anew.
  const { cohorts, errors, latency, rate } = useMemo(() => charted(seconds.kept), [seconds.version]);
  const marks = useMemo(() => decisions.filter((one) => MARKED[one.kind]).map((one) => ({ at: one.at_ms / 1000, text: MARKED[one.kind] })), [decisions]);
  const drawing = useDrawing();
  if (!cohorts.length) return html`<p class="empty">No second of this service was measured yet. ${seconds.problem?.detail ?? ""}</p>`;
  const lines = cohorts.map((cohort) => ({ cohort }));
  const quantiles = cohorts.flatMap((cohort) => [{ cohort, hidden: true }, { cohort }, { cohort, hidden: true }]);
  // Two bands are told apart, three are mud: the canary's and that of whom it is compared with.
  const bands = cohorts.slice(0, 2).map((cohort) => [cohorts.indexOf(cohort) * 3, cohorts.indexOf(cohort) * 3 + 2, cohort]);
  const limit = guardrails.find((one) => one.metric === "errorRatio" && one.max != null)?.max ?? null;
  return html`<div class="compare">
    <div class="charts">${drawing && html`
      <${Chart} title="Errors, share of requests in 10 s" columns=${errors} lines=${lines} limit=${limit} least=${0.002} marks=${marks} shown=${(value) => percent(value, value < 0.01 ? 2 : 1)} onMoment=${setMoment} />
      <${Chart} title="Latency: line p95, band p50 to p99" columns=${latency} lines=${quantiles} bands=${bands} marks=${marks} shown=${millis} onMoment=${setMoment} />
      <${Chart} title="Requests per second and node" columns=${rate} lines=${lines} marks=${marks} shown=${number} onMoment=${setMoment} />`}
    </div>
    <${Numbers} cohorts=${cohorts} kept=${seconds.kept} moment=${moment} />
  </div>`;
}

function Numbers({ cohorts, kept, moment }) {
  const at = moment ? Math.round(moment * 1000) : newest(kept);
  return html`<div class="scroll"><table class="table numbers">
    <caption>${moment ? "At" : "Latest second,"} <span class="number">${clock(at)}</span></caption>
    <thead><tr><th>Cohort</th><th>Version</th><th>Nodes</th><th>Requests</th><th>Errors</th><th>p50</th><th>p95</th><th>p99</th></tr></thead>
    <tbody>${cohorts.map((cohort) => {
      // As in the charts: a second that is late is no news, a cohort that has ended has none.
      const one = kept.get(cohort)?.findLast((second) => second.end_ms <= at && second.end_ms >= at - SUMMED_MS) ?? {};
      return html`<tr key=${cohort} data-cohort=${cohort}>
        <th scope="row"><span class="swatch ink-${cohort}"></span>${cohort}</th><td>${one.version || "–"}</td><td>${count(one.nodes)}</td>
        <td>${perSecond(one.rate)}</td><td>${percent(one.error_ratio)}</td><td>${millis(one.p50_ms)}</td><td>${millis(one.p95_ms)}</td><td>${millis(one.p99_ms)}</td>
      </tr>`;
    })}</tbody>
  </table></div>`;
}

// The last seconds of each cohort, oldest first; version rises when there is something new to paint.
function useKept(service) {
  const kept = useRef(new Map());
  const timer = useRef(0);
  const [state, setState] = useState({ version: 0, problem: null });
  const paint = useCallback(() => {
    timer.current ||= setTimeout(() => {
      timer.current = 0;
      setState((before) => ({ version: before.version + 1, problem: null }));
    }, PAINT_MS);
  }, []);
  const read = useCallback(async () => {
    try {
      const { body } = await ask(`services/${encodeURIComponent(service)}/series`);
      body.item.cohorts.forEach((one) => one.end_ms.forEach((_, at) => keep(kept.current, secondOf(one, at))));
      paint();
    } catch (problem) {
      setState((before) => ({ ...before, problem }));
    }
  }, [service]);
  useEffect(() => {
    kept.current = new Map();
    return () => clearTimeout(timer.current);
  }, [service]);
  useSeconds(service, (one) => {
    keep(kept.current, one);
    paint();
  }, read);
  return { kept: kept.current, ...state };
}

// The series are columns; of each what stands at one place is a second as the stream tells it.
const secondOf = (series, at) => Object.fromEntries(Object.entries(series).map(([name, column]) => [name, Array.isArray(column) ? column[at] : column]));

// A second may come twice, and late: each stands once, in order. Variants of flags are no cohorts of a rollout, and a cohort that
// ended before the time that is shown is none any more.
function keep(kept, one) {
  if (!one.subject.startsWith("svc/") || !COHORTS.includes(one.cohort)) return;
  const all = kept.get(one.cohort) ?? [];
  kept.set(one.cohort, all);
  let at = all.length;
  while (at && all[at - 1].end_ms > one.end_ms) at -= 1;
  if (at && all[at - 1].end_ms === one.end_ms) all[at - 1] = one;
  else all.splice(at, 0, one);
  const from = newest(kept) - WINDOW_MS;
  for (const [cohort, seconds] of kept) {
    while (seconds.length && seconds[0].end_ms < from) seconds.shift();
    if (!seconds.length) kept.delete(cohort);
  }
}

const newest = (kept) => Math.max(...[...kept.values()].map((seconds) => seconds.at(-1).end_ms));

function useDrawing() {
  const [ready, setReady] = useState(Boolean(globalThis.uPlot));
  useEffect(() => void loadPlotting().then(() => setReady(true)), []);
  return ready;
}

const QUANTILES = ["p50_ms", "p95_ms", "p99_ms"];

// The columns of each chart.
function charted(kept) {
  const [cohorts, columns] = aligned(kept);
  const of = (...fields) => [columns.at, ...cohorts.flatMap((cohort) => fields.map((field) => columns[cohort][field]))];
  return { cohorts, errors: of("errors"), latency: of("p99_ms", "p95_ms", "p50_ms"), rate: of("rate") };
}

// uPlot wants one column of moments for all lines; where a cohort has no such second, or no requests in it, there is a gap.
function aligned(kept) {
  const cohorts = COHORTS.filter((name) => kept.has(name));
  const moments = new Set();
  for (const cohort of cohorts) for (const one of kept.get(cohort)) moments.add(one.end_ms);
  const all = [...moments].sort((a, b) => a - b);
  const found = { at: all.map((ms) => ms / 1000) };
  for (const cohort of cohorts) {
    const byMoment = new Map(kept.get(cohort).map((one) => [one.end_ms, one]));
    // To uPlot null is a gap; over undefined it draws on: a second that is late or lost is no news, many are.
    let last = -Infinity;
    const missing = all.map((ms) => {
      if (byMoment.has(ms)) last = ms;
      return ms - last > SUMMED_MS ? null : undefined;
    });
    const of = (measure) => all.map((ms, at) => (byMoment.has(ms) ? measure(byMoment.get(ms)) : missing[at]));
    found[cohort] = Object.fromEntries(QUANTILES.map((field) => [field, of((one) => measured(one[field]))]));
    // Cohorts differ in size: of each node alone they can be compared.
    found[cohort].rate = of((one) => (one.nodes ? one.rate / one.nodes : null));
    const shares = new Map(summed(kept.get(cohort)));
    found[cohort].errors = of((one) => shares.get(one.end_ms));
  }
  return [cohorts, found];
}

// The share of errors in the seconds up to each.
function* summed(seconds) {
  let [first, requests, errors] = [0, 0, 0];
  for (const one of seconds) {
    requests += one.requests;
    errors += one.errors;
    for (; seconds[first].end_ms <= one.end_ms - SUMMED_MS; first += 1) {
      requests -= seconds[first].requests;
      errors -= seconds[first].errors;
    }
    yield [one.end_ms, requests ? errors / requests : null];
  }
}

const measured = (value) => (value == null || value < 0 ? null : value);
