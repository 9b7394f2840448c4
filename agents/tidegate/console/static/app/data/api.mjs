// The control API: one function that asks, and the token that is shown. What is no success is thrown as a Problem.
const BASE = "/api/v1/";
const TOKEN = "tidegate.token";
// A peer that died without a word would keep a request for minutes. Who asks for a decision is answered within 10 s or so.
const READ_WITHIN_MS = 10_000;
const WRITE_WITHIN_MS = 20_000;

export class Problem extends Error {
  constructor({ status, title = "", detail = "", remedy = "", reason = "", faults = [] }) {
    super(detail || title);
    Object.assign(this, { status, title, detail: detail || title, remedy, reason, faults });
  }
}

// Of this tab alone, and gone with it.
export const token = {
  read: () => sessionStorage.getItem(TOKEN) ?? "",
  keep: (text) => sessionStorage.setItem(TOKEN, text),
  drop: () => sessionStorage.removeItem(TOKEN),
};

export const url = (path) => BASE + path;

export function headers(more = {}) {
  const text = token.read();
  return text ? { Authorization: `Bearer ${text}`, ...more } : more;
}

export async function ask(path, { method = "GET", body, also = {} } = {}) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  let text;
  try {
    const signal = AbortSignal.timeout(method === "GET" ? READ_WITHIN_MS : WRITE_WITHIN_MS);
    answer = await fetch(url(path), { method, body: body && JSON.stringify(body), headers: headers({ ...json, ...also }), signal });
    text = await answer.text();
  } catch {
    throw new Problem({ status: 0, title: "The API does not answer", remedy: "This page asks again by itself." });
  }
  // Who is asked for by /me is told by its answer.
  if (answer.status === 401 && path !== "me") dispatchEvent(new Event("unknown-visitor"));
  return read(answer, text);
}

function read(answer, text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Problem({ status: answer.status, title: `The answer (${answer.status}) is not the API's`, remedy: "Is there a proxy in between?" });
  }
  if (!answer.ok) throw new Problem(body);
  return { body, status: answer.status, etag: answer.headers.get("ETag") ?? "" };
}

// Not crypto.randomUUID: that is for pages over TLS alone, and a console may stand behind plain HTTP.
export function uniqueKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join("");
}
