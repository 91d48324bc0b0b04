// What the user decides about answers: fields, where they are kept, and how they reach a request.

import { load, save } from "./storage.js";

/** Numbers: name, label, what it does, step, bounds. Empty: the model's own value. */
export const NUMBERS = [
  ["temperature", "Temperature", "Higher is more varied; 0 always takes the likeliest", 0.05, 0, 5],
  ["top_k", "Top k", "Choose among the k likeliest tokens; 0: all", 1, 0, 100000],
  ["top_p", "Top p", "Choose among the likeliest that make up this share", 0.01, 0, 1],
  ["min_p", "Min p", "Leave out what is less likely than this share of the likeliest", 0.01, 0, 1],
  ["max_tokens", "Most tokens", "Where an answer ends at the latest", 1, 1, 1000000],
  ["seed", "Seed", "The same seed gives the same answer", 1, 0, Number.MAX_SAFE_INTEGER],
];

export const settings = { system: "", reasoning: "auto", tools: "", schema: "", ...load("settings", {}) };

export function change(name, value) {
  settings[name] = value;
  save("settings", settings);
}

/** JSON that the user typed. Throws with a message for the user; empty: undefined. */
export function parsed(name) {
  const text = String(settings[name] ?? "").trim();
  if (!text) return undefined;
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
  if (name === "schema") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("Want an object, a JSON schema.");
    return value;
  }
  const tools = Array.isArray(value) ? value : [value];
  return tools.map((tool) => {
    const whole = tool?.type === "function" ? tool : { type: "function", function: tool };
    if (typeof whole.function?.name !== "string") throw new Error("Want a list of tools, each a function with a name.");
    return whole;
  });
}

/** The members of a request that the settings decide. */
export function options() {
  const asked = {};
  for (const [name] of NUMBERS) {
    const value = settings[name];
    if (typeof value === "number" && Number.isFinite(value)) asked[name] = value;
  }
  if (settings.reasoning !== "auto") asked.reasoning = settings.reasoning;
  const tools = parsed("tools");
  const schema = parsed("schema");
  if (tools?.length) asked.tools = tools;
  if (schema) asked.json_schema = schema;
  return asked;
}
