// A long list of rows of one height, of which only those in sight are in the document: a thousand nodes cost what thirty do.
import { html, useEffect, useRef, useState } from "../html.mjs";

const BEYOND = 5; // rows above and below what is in sight
const FIRST = 16; // before it is known how many are

// row(item) returns the cells of a row; items have a key, and every row the height that --row-height of the list's class says.
export function Rows({ items, row, label, of, header }) {
  const box = useRef(null);
  const [range, setRange] = useState([0, FIRST]);
  const [height, setHeight] = useState(52);
  useEffect(() => {
    let asked = false;
    const look = () => {
      asked = false;
      if (!box.current) return;
      const tall = parseFloat(getComputedStyle(box.current).getPropertyValue("--row-height")) || 52;
      const first = Math.max(0, Math.floor(-box.current.getBoundingClientRect().top / tall) - BEYOND);
      const last = first + Math.ceil(innerHeight / tall) + 2 * BEYOND;
      setHeight(tall);
      setRange((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    };
    const soon = () => {
      if (!asked) requestAnimationFrame(look);
      asked = true;
    };
    look();
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    return () => {
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
    };
  }, [items.length]);
  const [first, last] = range;
  return html`<div class="rows rows-${of}" role="table" aria-label=${label} aria-rowcount=${items.length + 1}>
    <div class="rows-head" role="row" aria-rowindex="1">${header.map((text) => html`<span role="columnheader" key=${text}>${text}</span>`)}</div>
    <div class="rows-body" role="rowgroup" ref=${box} style=${{ height: `${items.length * height}px` }}>
      ${items.slice(first, last).map((item, at) => {
        const index = first + at;
        const style = { transform: `translateY(${index * height}px)` };
        return html`<div class="row" key=${item.key} data-key=${item.key} role="row" aria-rowindex=${index + 2} style=${style}>${row(item)}</div>`;
      })}
    </div>
  </div>`;
}
