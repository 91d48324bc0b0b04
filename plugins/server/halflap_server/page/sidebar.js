// The list of conversations: search, rename, delete with undo, files.

import { answering, current, show } from "./chat.js";
import * as conversations from "./conversations.js";
import { on } from "./bus.js";
import { el, find, iconButton, toast } from "./dom.js";

function draw() {
  const list = find("conversations");
  const focused = document.activeElement?.closest?.("#conversations li")?.dataset.id;
  if (list.querySelector("input")) return; // a name is being written
  const found = conversations.matching(find("search").value);
  const nothing = el("li", { className: "nothing" }, conversations.all.size ? "Nothing found" : "No conversations yet");
  list.replaceChildren(...(found.length ? found.map(entry) : [nothing]));
  if (focused) [...list.children].find((item) => item.dataset.id === focused)?.querySelector("button").focus();
}

function entry(conversation) {
  const open = el("button", { type: "button", className: "open", title: conversation.title, onclick: () => look(conversation) }, conversation.title);
  if (conversation.id === current().id) open.setAttribute("aria-current", "true");
  const item = el("li", {}, open, iconButton("edit", `Rename ${conversation.title}`, () => rename(item, conversation)),
    iconButton("trash", `Delete ${conversation.title}`, () => remove(conversation)));
  item.dataset.id = conversation.id;
  return item;
}

function look(conversation) {
  show(conversation);
  document.body.classList.remove("sidebar");
}

function rename(item, conversation) {
  const field = el("input", { value: conversation.title, maxLength: 200, "aria-label": "Name of the conversation" });
  let over = false;
  const end = (save) => {
    if (over) return;
    over = true;
    field.remove();
    if (save && field.value.trim()) conversation.title = field.value.trim();
    conversations.keep(conversation);
  };
  field.onkeydown = (event) => {
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") (event.stopPropagation(), end(false));
  };
  field.onblur = () => end(true);
  item.replaceChildren(field);
  field.select();
}

async function remove(conversation) {
  if (answering(conversation)) return toast("Stop its answer first.");
  if (conversation.id === current().id) show();
  await conversations.remove(conversation);
  toast(`“${conversation.title}” is deleted.`, "Undo", () => conversations.keep(conversation).then(() => show(conversation)));
}

function save() {
  const url = URL.createObjectURL(new Blob([conversations.exported()], { type: "application/json" }));
  el("a", { href: url, download: `halflap-conversations-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

async function restore(file) {
  try {
    const count = await conversations.importFrom(await file.text());
    toast(`${count} conversation${count === 1 ? "" : "s"} imported.`);
  } catch (error) {
    toast(`${file.name} could not be imported: ${error.message}`);
  }
}

export function begin() {
  on("conversations", draw);
  on("shown", draw);
  find("search").oninput = draw;
  find("export").onclick = save;
  const file = find("import-file");
  find("import").onclick = () => file.click();
  file.onchange = () => file.files[0] && restore(file.files[0]).then(() => (file.value = ""));
  draw();
}
