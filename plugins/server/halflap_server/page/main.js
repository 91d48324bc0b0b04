// The page comes together here: parts, what is open, and keys that work everywhere.

import { on } from "./bus.js";
import * as chat from "./chat.js";
import * as composer from "./composer.js";
import * as conversations from "./conversations.js";
import { fillIcons, find, toast } from "./dom.js";
import * as images from "./images.js";
import * as meters from "./meters.js";
import * as models from "./models.js";
import * as panel from "./panel.js";
import * as sidebar from "./sidebar.js";
import { load, save } from "./storage.js";

const body = document.body;
const narrow = matchMedia("(max-width: 800px)");

function openSidebar(open) {
  body.classList.toggle("sidebar", open);
  if (open) find("search").focus();
}

function openPanel(open, lasting = true) {
  find("panel").hidden = !open;
  body.classList.toggle("panel", open);
  find("panel-open").setAttribute("aria-expanded", String(open));
  if (lasting && !narrow.matches) save("panel", open);
  if (open) meters.look();
  if (open && lasting) find("panel-close").focus();
  if (!open && lasting) find("panel-open").focus();
}

function newChat() {
  openSidebar(false);
  chat.show();
  find("draft").focus();
}

function keys(event) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    newChat();
  }
  if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open], [popover]:popover-open")) return;
  if (chat.answering()) chat.stop();
  else if (narrow.matches && body.classList.contains("sidebar")) openSidebar(false);
  else if (narrow.matches && body.classList.contains("panel")) openPanel(false);
}

async function begin() {
  fillIcons();
  on("trouble", (message) => toast(message));
  for (const part of [models, images, chat, composer, panel, meters]) part.begin();
  addEventListener("keydown", keys);
  find("new-chat").onclick = newChat;
  find("theme").onclick = () => window.switchTheme();
  find("sidebar-open").onclick = () => openSidebar(!body.classList.contains("sidebar"));
  find("sidebar-close").onclick = () => openSidebar(false);
  find("panel-open").onclick = () => openPanel(find("panel").hidden);
  find("panel-close").onclick = () => openPanel(false);
  find("scrim").onclick = () => (openSidebar(false), narrow.matches && openPanel(false));
  openPanel(!narrow.matches && load("panel", false), false);
  on("shown", ({ id }) => save("shown", id));
  const lasts = await conversations.open();
  if (!lasts) toast("This browser keeps no data for this page: conversations end with it.");
  const last = load("shown", null);
  sidebar.begin();
  chat.show(conversations.all.get(last));
  if (!narrow.matches) find("draft").focus();
  body.classList.add("ready");
  await models.refresh().catch((error) => toast(error.message));
}

begin();
