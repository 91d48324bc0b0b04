// The live view: speed, cache and memory, asked for every two seconds while somebody looks.

import { on } from "./bus.js";
import { bytes, el, find, rate } from "./dom.js";
import { current, props, refresh } from "./models.js";

const EVERY = 2000; // milliseconds
const KINDS = [["weights", "weights"], ["state", "cache and state"], ["scratch", "scratch"]];
let before = null; // counters of the last look: {id, at, metrics}
let speed = null;

function draw() {
  const facts = props();
  const now = performance.now();
  const id = current()?.id;
  if (!facts) {
    before = null;
    find("meters").replaceChildren(el("p", { className: "muted" }, id ? `${id} is ${current().status.value}.` : "The server does not answer."));
    return;
  }
  const { metrics, devices } = facts;
  const last = before?.id === id ? before : null;
  const grown = (name) => (last && now > last.at ? Math.max(0, (1e3 * (metrics[name] - last.metrics[name])) / (now - last.at)) : 0);
  const told = metrics.prompt_tokens + metrics.cached_tokens;
  find("meters").replaceChildren(
    el("dl", { className: "numbers" },
      number("Answer", speed?.perSecond ? `${speed.exact ? "" : "≈ "}${rate(speed.perSecond)}` : "–", "tokens/s"),
      number("Prompt", speed?.promptPerSecond ? rate(speed.promptPerSecond) : "–", "tokens/s"),
      number("Server", rate(grown("generated_tokens")), "tokens/s"),
      number("Cached", told ? `${Math.round((100 * metrics.cached_tokens) / told)}` : "–", "% of prompts"),
      number("Running", metrics.running, ""),
      number("Waiting", metrics.waiting, "")),
    ...Object.entries(metrics.blocks_total).map(([pool, total]) =>
      bar(`${pool} blocks`, [["used", metrics.blocks_used[pool] ?? 0], ["cached", metrics.blocks_cached[pool] ?? 0]], total, (n) => n.toLocaleString("en"))),
    ...devices.map((device) => {
      const parts = KINDS.map(([name, label]) => [label, device[name]]);
      const taken = parts.reduce((sum, [, count]) => sum + count, 0);
      return bar(device.id, parts, taken + Math.max(0, device.free ?? 0), bytes, device.about);
    }),
  );
  before = { id, at: now, metrics };
}

const number = (name, value, unit) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value), el("small", {}, unit)));

function bar(name, parts, total, form, about) {
  const pieces = parts.map(([label, count], place) => {
    const piece = el("i", { className: `part${place}`, title: `${label}: ${form(count)}` });
    piece.style.width = `${total ? Math.max(count ? 0.7 : 0, (100 * count) / total) : 0}%`;
    return piece;
  });
  const taken = parts.reduce((sum, [, count]) => sum + count, 0);
  const legend = parts.filter(([, count]) => count).map(([label, count]) => `${label} ${form(count)}`).join(" · ");
  const words = `${form(taken)} of ${form(total)}`;
  return el("div", { className: "meter" },
    el("header", {}, el("span", { title: about }, name), el("small", {}, words)),
    el("div", { className: "bar", role: "img", "aria-label": `${name}: ${words}. ${legend}` }, ...pieces),
    el("small", { className: "muted" }, legend || "empty"));
}

function showSpeed(facts) {
  speed = facts;
  find("speed").textContent = facts.perSecond ? `${facts.exact ? "" : "≈ "}${rate(facts.perSecond)} tokens/s` : "";
}

const looking = () => !find("panel").hidden && document.visibilityState === "visible";

export async function look() {
  if (looking()) await refresh().catch(() => {});
}

export function begin() {
  on("model", draw);
  on("speed", showSpeed);
  on("shown", () => (find("speed").textContent = ""));
  on("answered", look);
  document.addEventListener("visibilitychange", look);
  const again = () => look().finally(() => setTimeout(again, EVERY)); // the next only when this one has come
  setTimeout(again, EVERY);
}
