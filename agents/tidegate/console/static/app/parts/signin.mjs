// The token is typed by the person, kept by this tab alone, and shown to no one but the API.
import { html, useEffect, useRef, useState } from "../html.mjs";
import { signIn, signOut, useWho } from "../data/who.mjs";
import { Dialog } from "./dialog.mjs";
import { Trouble } from "./small.mjs";

export function Account({ onClose }) {
  const who = useWho();
  if (!who.name) return html`<${SignIn} onClose=${onClose} />`;
  const leave = () => signOut().then(onClose);
  return html`<${Dialog} title=${who.name} icon="person" onClose=${onClose}>
    <p>Signed in with a token of the role <strong>${who.role}</strong>${who.scopes?.length ? `, for ${who.scopes.join(", ")}` : ""}. The name stands in every decision that it asks for.</p>
    <div class="dialog-buttons"><button type="button" class="button" onClick=${leave}>Sign out</button><button type="button" class="button primary" onClick=${onClose}>Close</button></div>
  <//>`;
}

// page: it stands in the page, for nothing can be shown without; else it is a dialog that can be closed.
export function SignIn({ page = false, onClose }) {
  const [problem, setProblem] = useState(null);
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  async function send(event) {
    event.preventDefault();
    const found = await signIn(field.current.value.trim());
    if (field.current) field.current.value = "";
    setProblem(found);
    if (!found) onClose?.();
  }
  const form = html`<form onSubmit=${send} class="signin">
    <label class="field">Token<input ref=${field} type="password" autocomplete="off" spellcheck=${false} required /></label>
    <p class="soft">Made by <code>tidegate api token NAME --role operator</code>. This tab keeps it until it is closed.</p>
    ${problem && html`<${Trouble} problem=${problem} />`}
    <div class="dialog-buttons">${!page && html`<button type="button" class="button" onClick=${onClose}>Cancel</button>`}<button class="button primary">Sign in</button></div>
  </form>`;
  if (page) return html`<section class="panel signin-page" aria-labelledby="title"><h1 id="title">Sign in</h1>${form}</section>`;
  return html`<${Dialog} title="Sign in" icon="person" onClose=${onClose}>${form}<//>`;
}
