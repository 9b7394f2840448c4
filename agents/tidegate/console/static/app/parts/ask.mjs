// Asking for something: what it is and does, why it is wanted, and what came of it. Nothing is asked without a reason and a click.
import { html, useEffect, useRef, useState } from "../html.mjs";
import { ask, uniqueKey } from "../data/api.mjs";
import { readAllAgain } from "../data/store.mjs";
import { said } from "../words.mjs";
import { Dialog } from "./dialog.mjs";
import { Trouble } from "./small.mjs";

const REASON_LENGTH_MAX = 256;
const LOOK_AGAIN_MS = 1000;

// wish: {label, icon, tone, title, does, path, etag, body}. Returns nothing: what was decided is in what is shown behind it.
export function Ask({ wish, onClose, children, ready = true }) {
  const [reason, setReason] = useState("");
  const [state, setState] = useState({ at: "asking" });
  const sent = useRef({ body: "", key: "" });
  const field = useRef(null);
  useEffect(() => field.current?.focus(), []);

  async function send(event) {
    event.preventDefault();
    setState({ at: "sent" });
    const body = { ...wish.body, reason: reason.trim() };
    // The same once more is the same request, also when the first answer was lost on the way; anything else is another.
    if (sent.current.body !== JSON.stringify([body, wish.etag])) sent.current = { body: JSON.stringify([body, wish.etag]), key: uniqueKey() };
    const also = { "Idempotency-Key": sent.current.key, ...(wish.etag ? { "If-Match": wish.etag } : {}) };
    try {
      const { body: answer } = await ask(wish.path, { method: "POST", body, also });
      setState({ at: "told", item: answer.item });
    } catch (problem) {
      if (problem.status >= 400 && problem.status < 500) sent.current = { body: "", key: "" };
      setState({ at: "refused", problem });
    }
    readAllAgain();
  }

  if (state.at === "told") return html`<${Answer} wish=${wish} item=${state.item} onClose=${onClose} />`;
  // What was seen is not what stands there any more: asking the same of it again cannot help.
  const outdated = state.problem?.status === 409;
  const busy = state.at === "sent";
  return html`<${Dialog} title=${wish.title} tone=${wish.tone} icon=${wish.icon} onClose=${onClose}>
    <form method="dialog" onSubmit=${send}>
      <p class="dialog-does">${wish.does}</p>
      ${children}
      <label class="field">Why? It stands in the decision.
        <textarea ref=${field} rows="2" required maxlength=${REASON_LENGTH_MAX} value=${reason} onInput=${(event) => setReason(event.target.value)}
          onKeyDown=${(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form.requestSubmit()}></textarea>
      </label>
      ${state.at === "refused" && html`<${Trouble} problem=${named(state.problem)} />`}
      <div class="dialog-buttons">
        <button type="button" class="button" onClick=${onClose}>${outdated ? "Close" : "Cancel"}</button>
        <button type="submit" class="button primary" disabled=${busy || outdated || !reason.trim() || !ready}>${busy ? "Asking …" : wish.label}</button>
      </div>
    </form>
  <//>`;
}

// A refusal is the decision agent's: its reason is one of the closed list.
function named(problem) {
  return problem.reason ? { ...problem, detail: `Refused (${said(problem.reason)}): ${problem.detail}` } : problem;
}

// What was decided; or that nobody has decided yet: then it is asked after until somebody has.
function Answer({ wish, item, onClose }) {
  const [found, setFound] = useState(item);
  const button = useRef(null);
  useEffect(() => button.current?.focus(), []);
  useEffect(() => {
    if (found.decision) return undefined;
    const timer = setInterval(async () => {
      try {
        const { body } = await ask(`requests/${encodeURIComponent(found.id)}`);
        if (body.item.decision) setFound(body.item);
      } catch {
        // It is asked after again in a second.
      }
    }, LOOK_AGAIN_MS);
    return () => clearInterval(timer);
  }, [found]);
  const told = found.decision;
  const refused = told?.kind === "refuse";
  return html`<${Dialog} title=${wish.title} tone=${refused ? "hold" : wish.tone} icon=${wish.icon} onClose=${onClose}>
    <div role="status" class="answer">
      ${told
        ? html`<p><strong>${refused ? "Refused" : "Decided"}: ${said(told.kind)}</strong> (${said(told.reason)}), decision ${told.seq}.</p>
            ${told.message && html`<p>${told.message}</p>`}`
        : html`<p><strong>It stands in the log.</strong> No decision agent has answered yet; this waits for it.</p>`}
    </div>
    <div class="dialog-buttons"><button ref=${button} class="button primary" onClick=${onClose}>Close</button></div>
  <//>`;
}
