// The conversation that is shown: sending, answers as they stream, stopping, other versions.

import { stream } from "./api.js";
import { tell } from "./bus.js";
import * as conversations from "./conversations.js";
import { find, toast } from "./dom.js";
import { Message } from "./message.js";
import * as models from "./models.js";
import { options, settings } from "./settings.js";

let shown = conversations.create();
let views = new Map(); // node id -> Message, of the conversation that is shown
const running = new Map(); // conversation id -> AbortController

export const current = () => shown;
export const answering = (conversation = shown) => running.has(conversation.id);
export const stop = () => running.get(shown.id)?.abort();

/** Look at a conversation; without one, at a new one. */
export function show(conversation = conversations.create()) {
  shown = conversation;
  draw();
  toEnd();
  tell("shown", shown);
}

function draw() {
  const nodes = conversations.path(shown);
  views = new Map();
  const messages = find("messages");
  messages.replaceChildren();
  nodes.forEach((node, place) => {
    if (node.role === "tool") return;
    const results = (node.calls ?? []).map((call, i) => nodes[place + 1 + i]).map((next) => (next?.role === "tool" ? next.content : undefined));
    const view = new Message(shown, node, actions, results);
    if (node.role === "assistant") view.update(running.has(shown.id) && node.id === shown.head);
    views.set(node.id, view);
    messages.append(view.element);
  });
  find("welcome").hidden = nodes.length > 0;
  tell("answering", answering());
}

const actions = {
  edit: (node, text) => say(text, node.images ?? [], node.parent),
  again: (node) => free() && answer(shown, node.parent),
  choose(id) {
    if (!free()) return;
    conversations.choose(shown, id);
    conversations.keep(shown);
    draw();
  },
  results(node, texts) {
    if (!free()) return;
    let parent = node.id;
    texts.forEach((content, i) => (parent = conversations.add(shown, parent, { role: "tool", content, callId: node.calls[i].id }).id));
    answer(shown, parent);
  },
};

function free() {
  if (answering()) toast("Stop this answer first.");
  return !answering();
}

/** Say something, by default at the end; returns whether it was sent. */
export function say(content, images = [], parent = shown.head) {
  if (!free()) return false;
  try {
    options();
  } catch (error) {
    toast(`Settings: ${error.message}`);
    return false;
  }
  const node = conversations.add(shown, parent, { role: "user", content, ...(images.length ? { images } : {}) });
  answer(shown, node.id);
  return true;
}

export function editLast() {
  const last = conversations.path(shown).findLast((node) => node.role === "user");
  if (last && !answering()) views.get(last.id).edit();
}

/** The messages of a request. */
function messages(nodes) {
  const told = nodes.map((node) => {
    if (node.role === "tool") return { role: "tool", tool_call_id: node.callId, content: node.content };
    if (node.role === "assistant") {
      const calls = (node.calls ?? []).map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }));
      return { role: "assistant", content: node.content, ...(node.reasoning ? { reasoning_content: node.reasoning } : {}), ...(calls.length ? { tool_calls: calls } : {}) };
    }
    if (!node.images?.length) return { role: "user", content: node.content };
    const images = node.images.map((url) => ({ type: "image_url", image_url: { url } }));
    return { role: "user", content: [...images, { type: "text", text: node.content }] };
  });
  return settings.system.trim() ? [{ role: "system", content: settings.system.trim() }, ...told] : told;
}

async function answer(conversation, parent) {
  let asked;
  try {
    asked = options();
  } catch (error) {
    return toast(`Settings: ${error.message}`);
  }
  const model = models.current()?.id;
  const body = { model, messages: messages(conversations.path(conversation, parent)), stream: true,
    stream_options: { include_usage: true }, return_progress: true, ...asked };
  const node = conversations.add(conversation, parent, { role: "assistant", model });
  const controller = new AbortController();
  running.set(conversation.id, controller);
  conversations.keep(conversation, true);
  draw();
  toEnd();
  const painter = new Painter(conversation, node);
  try {
    for await (const chunk of stream("v1/chat/completions", body, controller.signal)) {
      take(node, chunk, painter);
      painter.soon();
    }
    node.reason ??= "stop";
  } catch (error) {
    if (error.name === "AbortError") node.reason = "stopped";
    else node.error = error.message;
  } finally {
    running.delete(conversation.id);
    painter.end();
    conversations.keep(conversation, true);
    tell("answered");
  }
}

function take(node, chunk, painter) {
  if (chunk.prompt_progress) painter.progress = chunk.prompt_progress;
  const choice = chunk.choices[0];
  if (choice?.finish_reason) node.reason = choice.finish_reason;
  const { content, reasoning_content: reasoning, tool_calls: calls } = choice?.delta ?? {};
  if (content) node.content += content;
  if (reasoning) node.reasoning = (node.reasoning ?? "") + reasoning;
  for (const piece of calls ?? []) {
    node.calls ??= [];
    const call = (node.calls[piece.index ?? 0] ??= { id: "", name: "", arguments: "" });
    call.id ||= piece.id ?? "";
    call.name ||= piece.function.name ?? "";
    call.arguments += piece.function.arguments ?? "";
  }
  if (content || reasoning || calls) painter.counted();
  if (chunk.timings && chunk.usage) {
    node.stats = { generated: chunk.usage.completion_tokens, prompt: chunk.usage.prompt_tokens, cached: chunk.timings.cache_n,
      perSecond: chunk.timings.predicted_per_second, promptPerSecond: chunk.timings.prompt_per_second };
  }
}

/** Paints an answer under way: at most once a frame, and never for more than a fifth of the time. */
class Painter {
  constructor(conversation, node) {
    this.conversation = conversation;
    this.node = node;
    this.progress = null;
    this.pieces = 0;
    this.kept = performance.now();
    this.due = 0;
  }

  counted() {
    this.pieces += 1;
    this.began ??= performance.now();
  }

  soon() {
    if (this.due) return;
    const wait = Math.max(16, 4 * (this.cost ?? 0));
    this.due = setTimeout(() => this.paint(true), wait);
  }

  paint(growing) {
    this.due = 0;
    const began = performance.now();
    const follow = atEnd();
    const view = shown === this.conversation && views.get(this.node.id);
    const read = this.progress && this.progress.processed < this.progress.total;
    if (view) view.update(growing, read ? `Reading ${Math.round((100 * this.progress.processed) / this.progress.total)} %` : null);
    if (view && follow) toEnd();
    if (growing) this.measure(began);
    this.cost = performance.now() - began;
  }

  measure(now) {
    if (this.began && now > this.began + 200) tell("speed", { perSecond: (1e3 * this.pieces) / (now - this.began), exact: false });
    if (now - this.kept > 1000) {
      this.kept = now;
      conversations.keep(this.conversation); // a reload in the middle loses little
    }
  }

  end() {
    clearTimeout(this.due);
    this.paint(false);
    if (this.node.stats) tell("speed", { ...this.node.stats, exact: true });
    if (shown === this.conversation) tell("answering", false);
  }
}

// --- scrolling ---

function atEnd() {
  const { scrollTop, scrollHeight, clientHeight } = find("scroll");
  return scrollHeight - scrollTop - clientHeight < 60;
}

export function toEnd() {
  find("scroll").scrollTop = find("scroll").scrollHeight;
}

export function begin() {
  find("scroll").addEventListener("scroll", () => (find("latest").hidden = atEnd()), { passive: true });
  find("latest").onclick = toEnd;
}
