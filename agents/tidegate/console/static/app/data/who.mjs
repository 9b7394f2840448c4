// Who looks, and what that person may do, as the API says it. It decides in any case: what is offered here is only what makes sense.
import { useEffect, useState } from "../html.mjs";
import { Problem, ask, token } from "./api.mjs";
import { restart } from "./live.mjs";
import { useData } from "./store.mjs";

const listeners = new Set();
let who = { known: false, wanted: false, name: "", role: "", fleet: "", rights: [], problem: null };

function tell(next) {
  who = next;
  listeners.forEach((listener) => listener());
}

export async function lookWho() {
  try {
    const { body } = await ask("me");
    tell({ ...body.item, known: true, wanted: false, problem: null });
  } catch (problem) {
    const wanted = problem instanceof Problem && (problem.status === 401 || problem.status === 403);
    tell({ known: false, wanted, name: "", role: "", fleet: "", rights: [], problem });
    if (!wanted) setTimeout(lookWho, 2000);
  }
}

export async function signIn(text) {
  token.keep(text);
  await lookWho();
  if (who.known) restart();
  else if (who.wanted) token.drop();
  return who.known ? null : who.problem;
}

export async function signOut() {
  token.drop();
  await lookWho();
  restart();
}

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
