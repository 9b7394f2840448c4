// One chart over time, drawn by uPlot on a canvas. What it shows stands as numbers in the table beside it: a canvas says nothing to
// who listens. Cohorts differ in colour and in dash.
import { html, useEffect, useRef } from "../html.mjs";
import { hour } from "../numbers.mjs";

// uPlot is a classic script that leaves a global behind. It comes when the first chart does: most pages have none.
let plotting = null;
export function loadPlotting() {
  plotting ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: "vendor/uPlot.js", onload: done, onerror: failed });
    document.head.append(script);
  });
  return plotting;
}

const HEIGHT = 168;
const DASHES = { canary: [], control: [7, 4], rest: [2, 3] };
const WIDTHS = { canary: 2, control: 1.75, rest: 1.5 };

// columns: [seconds, ...values]; lines: [{cohort, hidden}], one for each column of values; bands: [[upper, lower, cohort]];
// limit: a level that is not to be passed; least: what the axis reaches at least; marks: [{at, text}] moments.
export function Chart({ title, columns, lines, bands = [], limit = null, least = 1, marks = [], shown, onMoment }) {
  const box = useRef(null);
  const plot = useRef(null);
  const now = useRef({});
  now.current = { limit, marks, onMoment, columns };
  const shape = JSON.stringify([lines, bands]);

  useEffect(() => {
    const element = box.current;
    const ink = inks(element);
    const made = new uPlot(options(element, { lines, bands, least, shown, ink, now }), now.current.columns, element);
    plot.current = made;
    const fit = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    fit.observe(element);
    const repaint = () => {
      Object.assign(ink, inks(element));
      made.redraw(false, true);
    };
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", repaint);
    addEventListener("themechange", repaint);
    return () => {
      scheme.removeEventListener("change", repaint);
      removeEventListener("themechange", repaint);
      fit.disconnect();
      made.destroy();
    };
  }, [shape]);

  useEffect(() => plot.current.setData(columns), [columns, limit, shape]);
  return html`<figure class="chart"><figcaption>${title}</figcaption><div ref=${box} aria-hidden="true"></div></figure>`;
}

// The colours of the page as it is now: a canvas cannot follow custom properties by itself.
function inks(box) {
  const found = {};
  const probe = document.createElement("i");
  box.append(probe);
  for (const name of ["canary", "control", "rest", "line", "soft", "bad"]) {
    probe.className = `ink-${name}`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

function options(box, { lines, bands, least, shown, ink, now }) {
  const axis = { stroke: () => ink.soft, grid: { stroke: () => ink.line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: box.clientWidth || 300,
    height: HEIGHT,
    padding: [14, 12, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "cohorts" }, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_plot, _low, high) => [0, Math.max(high ?? 0, now.current.limit ?? 0, least) * 1.12] } },
    axes: [
      { ...axis, values: (_plot, moments) => moments.map((one) => hour(one * 1000)), space: 46, size: 26 },
      { ...axis, values: (_plot, values) => values.map(shown), size: 58, space: 34 },
    ],
    series: [{}, ...lines.map((line) => series(line, ink))],
    bands: bands.map(([upper, lower, cohort]) => ({ series: [upper + 1, lower + 1], fill: () => faint(ink[cohort]) })),
    hooks: { draw: [(plot) => annotate(plot, now.current, ink)], setCursor: [(plot) => now.current.onMoment?.(moment(plot))] },
  };
}

function series({ cohort, hidden }, ink) {
  if (hidden) return { stroke: () => "transparent", width: 0, points: { show: false } };
  return { stroke: () => ink[cohort], width: WIDTHS[cohort], dash: DASHES[cohort], spanGaps: false, points: { show: false } };
}

const moment = (plot) => (plot.cursor.idx == null ? null : plot.data[0][plot.cursor.idx]);

const faint = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.15)");

function annotate(plot, { limit, marks }, ink) {
  const { ctx, bbox } = plot;
  const pixel = devicePixelRatio || 1;
  ctx.save();
  ctx.font = `${11 * pixel}px system-ui, sans-serif`;
  // Axes leave theirs behind.
  Object.assign(ctx, { lineWidth: pixel, textAlign: "left", textBaseline: "alphabetic" });
  if (limit != null) {
    const y = plot.valToPos(limit, "y", true);
    line(ctx, ink.bad, [4, 3], [bbox.left, y, bbox.left + bbox.width, y]);
    ctx.fillStyle = ink.bad;
    ctx.fillText("limit", bbox.left + 4 * pixel, y - 4 * pixel);
  }
  for (const { at, text } of marks) {
    const x = plot.valToPos(at, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    line(ctx, ink.soft, [2, 2], [x, bbox.top, x, bbox.top + bbox.height]);
    ctx.fillStyle = ink.soft;
    ctx.fillText(text, Math.min(x + 3 * pixel, bbox.left + bbox.width - ctx.measureText(text).width), bbox.top - 3 * pixel);
  }
  ctx.restore();
}

function line(ctx, colour, dash, [fromX, fromY, toX, toY]) {
  ctx.strokeStyle = colour;
  ctx.setLineDash(dash.map((one) => one * (devicePixelRatio || 1)));
  ctx.beginPath();
  ctx.moveTo(fromX, fromY);
  ctx.lineTo(toX, toY);
  ctx.stroke();
}
