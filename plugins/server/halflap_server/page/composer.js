// Where messages are written.

import { on } from "./bus.js";
import * as chat from "./chat.js";
import { el, find } from "./dom.js";
import * as images from "./images.js";
import * as models from "./models.js";
import { change, parsed, settings } from "./settings.js";

const SUGGESTIONS = ["What is 12 + 9?", "Tell me a story about a fox", "What is the capital of France?", "My name is Ada. What is my name?"];

function send(text = find("draft").value.trim()) {
  if (!text && !images.any()) return;
  if (chat.answering()) return;
  const taken = images.take();
  if (chat.say(text, taken)) {
    find("draft").value = "";
    grow();
  }
}

/** As high as its text, up to the limit that the style sets. */
function grow() {
  const draft = find("draft");
  draft.style.height = "auto";
  draft.style.height = `${draft.scrollHeight}px`;
}

function keys(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
  if (event.key === "ArrowUp" && !event.currentTarget.value) {
    event.preventDefault();
    chat.editLast();
  }
}

function showTools() {
  let count = 0;
  try {
    count = parsed("tools")?.length ?? 0;
  } catch {} // the panel says what is wrong
  find("with-tools").hidden = !count;
  find("with-tools").textContent = count === 1 ? "1 tool" : `${count} tools`;
}

export function begin() {
  const draft = find("draft");
  draft.oninput = grow;
  draft.onkeydown = keys;
  find("composer").onsubmit = (event) => (event.preventDefault(), send());
  find("stop").onclick = () => (chat.stop(), draft.focus());
  find("reasoning").value = settings.reasoning;
  find("reasoning").onchange = (event) => change("reasoning", event.target.value);
  find("suggestions").replaceChildren(
    ...SUGGESTIONS.map((text) => el("button", { type: "button", onclick: () => (send(text), draft.focus()) }, text)),
  );
  on("answering", (under) => {
    const held = document.activeElement === find("send") || document.activeElement === find("stop");
    find("send").hidden = under;
    find("stop").hidden = !under;
    if (held) draft.focus();
  });
  on("model", () => {
    const model = models.current();
    find("attach").hidden = !models.sees();
    find("welcome-model").textContent = model ? `You are talking to ${model.id}.` : "";
    draft.placeholder = model ? `Message ${model.id}` : "Message";
  });
  on("settings", showTools);
  showTools();
}
