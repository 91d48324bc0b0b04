// The settings panel.

import { on, tell } from "./bus.js";
import { forgetKey, hasKey } from "./api.js";
import { el, find, toast } from "./dom.js";
import { props } from "./models.js";
import { NUMBERS, change, parsed, settings } from "./settings.js";

const EXAMPLE = `[{"name": "get_weather",
  "description": "Weather of a city",
  "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"]}}]`;

function numberField([name, label, about, step, min, max]) {
  const field = el("input", { type: "number", id: `set-${name}`, step, min, max, value: settings[name] ?? "", title: about, inputMode: "decimal" });
  field.oninput = () => {
    const valid = field.value !== "" && field.checkValidity();
    field.setAttribute("aria-invalid", String(!field.checkValidity()));
    change(name, valid ? field.valueAsNumber : null);
  };
  // Any value between the bounds will do; the step is only what the arrows do.
  field.addEventListener("invalid", (event) => event.preventDefault());
  if (step < 1) field.step = "any";
  return el("label", { className: "number", title: about }, el("span", {}, label), field);
}

function textField(name, label, placeholder, rows, json) {
  const wrong = el("small", { className: "error", id: `wrong-${name}` });
  const field = el("textarea", { id: `set-${name}`, rows, placeholder, value: settings[name] ?? "", spellcheck: !json, "aria-describedby": wrong.id });
  if (json) field.classList.add("mono");
  field.oninput = () => {
    change(name, field.value);
    if (!json) return;
    try {
      parsed(name);
      wrong.textContent = "";
    } catch (error) {
      wrong.textContent = error.message;
    }
    field.setAttribute("aria-invalid", String(Boolean(wrong.textContent)));
    tell("settings");
  };
  return el("label", {}, el("span", {}, label), field, wrong);
}

function draw() {
  const reset = el("button", { type: "button", className: "text", onclick: () => {
    for (const name of [...NUMBERS.map(([each]) => each), "system", "tools", "schema"]) change(name, "");
    draw();
    tell("settings");
  } }, "Reset all");
  const forget = el("button", { type: "button", className: "text", onclick: () => (forgetKey(), draw(), toast("The key is forgotten.")) }, "Forget the API key");
  find("settings").replaceChildren(
    textField("system", "System prompt", "How the model is to answer", 3, false),
    el("div", { className: "numbers" }, ...NUMBERS.map(numberField)),
    textField("tools", "Tools", EXAMPLE, 6, true),
    textField("schema", "JSON schema of the answer", '{"type": "object"}', 3, true),
    el("p", { className: "row" }, reset, hasKey() && forget),
  );
  showDefaults();
}

/** Empty fields tell what the model itself would have. */
function showDefaults() {
  const own = props()?.default_generation_settings.params ?? {};
  for (const [name] of NUMBERS) {
    const field = find(`set-${name}`);
    const value = own[name];
    field.placeholder = typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : "auto";
  }
}

export function begin() {
  draw();
  on("model", showDefaults);
}
