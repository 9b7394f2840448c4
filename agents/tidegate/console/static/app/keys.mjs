// Keys: every view and every action without a mouse. A key never acts by itself: actions open their dialog.
import { useEffect } from "./html.mjs";
import { go } from "./routes.mjs";

const GO = { f: "fleet", r: "rollouts", l: "flags", e: "experiments", a: "alarms", t: "timeline" };
const ACTS = { p: ["pause", "resume"], o: ["promote"], x: ["kill", "abort"], u: ["undo", "restore"] };
const WITHIN_MS = 1500;

// As the help shows them.
export const KEYS = [
  ["g f", "fleet"],
  ["g r", "rollouts"],
  ["g l", "flags"],
  ["g e", "experiments"],
  ["g a", "alarms"],
  ["g t", "timeline"],
  ["/", "filter"],
  ["j  k", "next, previous row"],
  ["Enter", "open the row"],
  ["p", "pause or resume"],
  ["o", "promote"],
  ["x", "abort a rollout, kill a flag"],
  ["u", "undo a rollout, restore a flag"],
  ["d", "light, dark, as the system"],
  ["Esc", "close"],
  ["?", "this list"],
];

export function useKeys({ help, theme }) {
  useEffect(() => {
    let goneAt = -WITHIN_MS;
    const down = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
      const began = performance.now() - goneAt < WITHIN_MS;
      goneAt = event.key === "g" ? performance.now() : -WITHIN_MS;
      if (began && GO[event.key]) go(GO[event.key]);
      else if (!did(event.key, { help, theme })) return;
      event.preventDefault();
    };
    addEventListener("keydown", down);
    return () => removeEventListener("keydown", down);
  }, []);
}

function did(key, { help, theme }) {
  if (key === "?") help();
  else if (key === "d") theme();
  else if (key === "/") document.querySelector(".filter")?.focus();
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else if (ACTS[key]) ACTS[key].some(press);
  else return false;
  return true;
}

// The field of a dialog that has just ended keeps the focus for a moment: nobody types there.
const typing = (target) => /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && target.type !== "checkbox" && !target.closest("dialog:not([open])");

function press(right) {
  const button = document.querySelector(`[data-keys="actions"] [data-right="${right}"]`);
  button?.click();
  return Boolean(button);
}

function step(by) {
  const all = [...document.querySelectorAll("main a.cover, main a.card")];
  const at = all.indexOf(document.activeElement);
  const next = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
