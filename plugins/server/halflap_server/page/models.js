// Which models there are, which one answers, and what it can do.

import { get, post } from "./api.js";
import { tell } from "./bus.js";
import { el, find, toast } from "./dom.js";
import { load, save } from "./storage.js";

let known = [];
let chosen = load("model", null);
const details = new Map(); // id -> /props of it

export const current = () => known.find((model) => model.id === chosen) ?? known[0];
export const sees = () => Boolean(current()?.meta?.vision);
export const props = () => details.get(current()?.id);

/** Ask the server again; what it tells of a loaded model too. */
export async function refresh() {
  known = (await get("v1/models")).data;
  const model = current();
  if (model?.status.value === "loaded") {
    details.set(model.id, await get(`props?model=${encodeURIComponent(model.id)}`).catch(() => null));
  } else if (model) details.delete(model.id);
  show();
  tell("model");
}

function show() {
  const model = current();
  const button = find("model");
  button.querySelector("span").textContent = model?.id ?? "no model";
  button.querySelector(".dot").className = `dot ${model?.status.value ?? ""}`;
  button.setAttribute("aria-label", model ? `Model: ${model.id}, ${model.status.value}` : "No model");
  const menu = find("model-menu");
  const focused = menu.contains(document.activeElement) ? document.activeElement.dataset.of : null;
  menu.replaceChildren(...known.map(entry));
  if (focused) [...menu.querySelectorAll("button")].find((each) => each.dataset.of === focused)?.focus();
}

function entry(model) {
  const status = model.status.value;
  const facts = [status, model.meta && `${(model.meta.n_params / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} M parameters`,
    model.meta && `${model.meta.n_ctx.toLocaleString("en")} tokens`, model.meta?.vision && "sees images"];
  const pick = el("button", { type: "button", className: "pick", "aria-pressed": String(model === current()), "data-of": `pick ${model.id}`, onclick: () => pickModel(model) },
    el("i", { className: `dot ${status}` }),
    el("span", {}, el("b", {}, model.id), el("small", {}, facts.filter(Boolean).join(" · ")),
      model.status.failure && el("small", { className: "error" }, model.status.failure)));
  const loaded = status === "loaded";
  const toggle = el("button", { type: "button", className: "text", disabled: status === "loading", "data-of": `load ${model.id}`,
    "aria-label": `${loaded ? "Unload" : "Load"} ${model.id}`, onclick: () => act(loaded ? "unload" : "load", model) }, loaded ? "Unload" : "Load");
  return el("div", { className: "model" }, pick, toggle);
}

async function pickModel(model) {
  chosen = model.id;
  save("model", chosen);
  find("model-menu").hidePopover();
  show();
  await refresh().catch((error) => toast(error.message));
}

async function act(what, model) {
  const asked = post(`models/${what}`, { model: model.id });
  model.status = { value: what === "load" ? "loading" : "unloaded" };
  show();
  await asked.catch((error) => toast(error.message));
  await refresh().catch((error) => toast(error.message));
}

export function begin() {
  find("model-menu").addEventListener("toggle", (event) => {
    if (event.newState === "open") refresh().catch((error) => toast(error.message));
  });
}
