// Who looks, and what that person may do, as the API says it. It decides in any case: what is offered here is only what makes sense.
import { useEffect, useState } from "../html.mjs";
import { ask, token } from "./api.mjs";
import { goLive, leave } from "./live.mjs";
import { useData } from "./store.mjs";

const AGAIN_MS = 2000;
const listeners = new Set();

function tell(next) {
  who = next;
  listeners.forEach((listener) => listener());
}

const nobody = { known: false, name: "", role: "", fleet: "", rights: [], scopes: [] };
let who = { ...nobody, wanted: false, problem: null };

// Nothing else is asked for before it is known who asks.
export async function lookWho() {
  try {
    const { body } = await ask("me");
    tell({ ...body.item, known: true, wanted: false, problem: null });
    goLive();
  } catch (problem) {
    const wanted = problem.status === 401 || problem.status === 403;
    tell({ ...nobody, wanted, problem });
    if (wanted) leave();
    else setTimeout(lookWho, AGAIN_MS);
  }
}

// Returns why not; null: it is done. Who may look without a token looks on where this one is none.
export async function signIn(text) {
  token.keep(text);
  await lookWho();
  const { problem, wanted } = who;
  if (wanted) await signOut();
  return problem;
}

export async function signOut() {
  token.drop();
  await lookWho();
}

// A token may end while its visitor looks.
addEventListener("unknown-visitor", () => who.known && lookWho());

export function useWho() {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((count) => count + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return who;
}

// What this visitor may do to a subject ("svc/shop", "flag/web/dark"); without one what may be done to the fleet as a whole.
export function useRights(subject = "") {
  const { value } = useData(`me?subject=${encodeURIComponent(subject)}`, never);
  if (!value) return [];
  return subject || !value.item.scopes.length ? value.item.rights : ["read"];
}

const never = () => false;
