// Server-sent events by fetch, for EventSource cannot show a token. It resumes by the last id, and never gives up.
import { headers, url } from "./api.mjs";

const SILENT_MS = 20_000; // the API speaks every 15 s at the latest
const WAIT_MS = [250, 500, 1000, 2000, 4000];

export class Stream {
  // hears: {event(kind, data), reset(), state("connecting" | "live" | "away")}
  constructor(path, hears) {
    this.path = path;
    this.hears = hears;
    this.lastId = "";
    this.failures = 0;
    this.running = false;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.#run();
  }

  stop() {
    this.running = false;
    this.abort?.abort();
    clearTimeout(this.timer);
    clearTimeout(this.silence);
  }

  async #run() {
    const mine = new AbortController();
    this.abort = mine;
    this.#wait(mine);
    try {
      this.hears.state("connecting");
      const also = this.lastId ? { "Last-Event-ID": this.lastId } : {};
      const answer = await fetch(url(this.path), { headers: headers(also), signal: mine.signal, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      await this.#follow(answer.body.getReader(), mine);
    } catch {
      // Why it ended makes no difference: it is asked for again, and reads say what is wrong.
    }
    // Stopped, or begun again meanwhile: whoever did so goes on from here.
    if (!this.running || this.abort !== mine) return;
    clearTimeout(this.silence);
    this.hears.state("away");
    this.timer = setTimeout(() => this.running && this.#run(), WAIT_MS[Math.min(this.failures++, WAIT_MS.length - 1)]);
  }

  // For the next word, the first one too.
  #wait(mine) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => mine.abort(), SILENT_MS);
  }

  async #follow(reader, mine) {
    const text = new TextDecoder();
    let rest = "";
    for (;;) {
      this.#wait(mine);
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + text.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      if (blocks.length) this.#alive();
      blocks.forEach((block) => this.#take(block));
    }
  }

  #alive() {
    this.failures = 0;
    this.hears.state("live");
  }

  #take(block) {
    let kind = "";
    let data = "";
    for (const line of block.split("\n")) {
      if (line.startsWith("id: ")) this.lastId = line.slice(4);
      else if (line.startsWith("event: ")) kind = line.slice(7);
      else if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (kind === "reset") this.hears.reset();
    else if (kind) this.hears.event(kind, JSON.parse(data));
  }
}
