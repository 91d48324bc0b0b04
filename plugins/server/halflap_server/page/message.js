// One message on the page: what the user said, or an answer with its thinking, its tool calls and its speed.

import { siblings } from "./conversations.js";
import { copy, el, icon, iconButton, rate } from "./dom.js";
import { Markdown, codeBlock } from "./markdown.js";

export class Message {
  /**
   * @param actions what the buttons do: edit(node, text), again(node), choose(id), results(node, texts)
   * @param results of the node's tool calls, by the call's place; undefined where there is none yet
   */
  constructor(conversation, node, actions, results = []) {
    this.conversation = conversation;
    this.node = node;
    this.actions = actions;
    this.results = results;
    this.body = el("div", { className: "body" });
    this.foot = el("footer", {});
    const who = node.role === "user" ? "You" : node.model || "Answer";
    this.element = el("article", { className: node.role, "aria-label": who }, this.body, this.foot);
    this.element.dataset.node = node.id;
    if (node.role === "user") this.showUser();
    else this.prepareAnswer();
  }

  showUser() {
    const images = (this.node.images ?? []).map((url, i) => el("img", { src: url, alt: `Image ${i + 1}` }));
    this.body.replaceChildren(...images, el("div", { className: "said" }, this.node.content));
    this.foot.replaceChildren(this.versions(), iconButton("copy", "Copy", (e) => copy(e.currentTarget, this.node.content)),
      iconButton("edit", "Edit (↑)", () => this.edit()));
  }

  edit() {
    const field = el("textarea", { value: this.node.content, "aria-label": "Edit your message", rows: Math.min(this.node.content.split("\n").length + 1, 12) });
    const back = () => (this.showUser(), this.foot.querySelector("[title^=Edit]").focus());
    const send = () => field.value.trim() && this.actions.edit(this.node, field.value.trim());
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") (event.stopPropagation(), back());
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), send());
    });
    this.body.replaceChildren(field);
    this.foot.replaceChildren(el("button", { type: "button", className: "text", onclick: back }, "Cancel"),
      el("button", { type: "button", className: "main", onclick: send }, "Send"));
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  prepareAnswer() {
    const thinking = el("div", { className: "markdown" });
    this.summary = el("summary", {});
    this.fold = el("details", { className: "thinking", hidden: true }, this.summary, thinking);
    this.summary.addEventListener("click", () => (this.folded = true)); // from now on it is the user's
    this.thinking = new Markdown(thinking);
    const text = el("div", { className: "markdown words" });
    this.text = new Markdown(text);
    this.cards = el("div", { className: "cards" });
    this.wait = el("div", { className: "wait" });
    this.trouble = el("p", { className: "error", hidden: true });
    this.body.append(this.fold, text, this.cards, this.wait, this.trouble);
  }

  /** Show the answer as it is now. `progress`: how far the prompt has been read, while nothing else is known. */
  update(growing, progress) {
    const { node } = this;
    const begun = Boolean(node.content || node.calls?.length);
    this.element.classList.toggle("growing", growing);
    this.element.setAttribute("aria-busy", String(growing));
    if (node.reasoning) {
      this.fold.hidden = false;
      if (!this.folded) this.fold.open = growing && !begun;
      this.summary.textContent = growing && !begun ? "Thinking…" : "Thought";
      this.thinking.show(node.reasoning, growing && !begun);
    }
    this.text.show(node.content, growing);
    if (node.calls?.length) this.showCalls(growing);
    const waiting = growing && !begun && !node.reasoning;
    this.wait.replaceChildren(...(waiting ? [el("i"), el("i"), el("i"), progress ?? ""] : []));
    this.trouble.hidden = growing || !(node.error || !node.reason);
    this.trouble.textContent = node.error || "The answer was interrupted.";
    this.foot.replaceChildren(...(growing ? [] : this.answerFoot()));
  }

  answerFoot() {
    const { node } = this;
    return [
      this.versions(),
      iconButton("copy", "Copy", (e) => copy(e.currentTarget, node.content)),
      iconButton("again", "Answer again", () => this.actions.again(node)),
      el("small", {}, facts(node).join(" · ")),
    ];
  }

  /** ‹ 2/3 › between the versions of a message. */
  versions() {
    const all = siblings(this.conversation, this.node);
    if (all.length < 2) return "";
    const place = all.indexOf(this.node);
    const go = (to) => ({ disabled: !all[to], onclick: () => this.actions.choose(all[to].id) });
    return el("span", { className: "versions" }, iconButton("left", "Version before", null, go(place - 1)),
      `${place + 1}/${all.length}`, iconButton("right", "Next version", null, go(place + 1)));
  }

  showCalls(growing) {
    const fields = [];
    const cards = this.node.calls.map((call, place) => {
      const head = el("header", {}, icon("tool"), el("b", {}, call.name), el("small", {}, this.results[place] === undefined ? "tool call" : "answered"));
      const card = el("section", { className: "card", "aria-label": `Tool call ${call.name}` }, head, codeBlock(pretty(call.arguments), "json", growing));
      if (this.results[place] !== undefined) card.append(el("div", { className: "result" }, el("small", {}, "Result"), el("pre", {}, this.results[place])));
      else if (!growing) {
        const field = el("textarea", { rows: 2, placeholder: "What the tool answers", "aria-label": `Result of ${call.name}` });
        field.addEventListener("keydown", (event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), send());
        });
        fields.push(field);
        card.append(field);
      }
      return card;
    });
    const send = () => {
      const empty = fields.find((field) => !field.value.trim());
      if (empty) empty.focus();
      else this.actions.results(this.node, fields.map((field) => field.value));
    };
    const button = fields.length > 0 && el("button", { type: "button", className: "main", onclick: send }, fields.length > 1 ? "Send results" : "Send result");
    this.cards.replaceChildren(...cards, ...(button ? [button] : []));
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // still coming, or not what was asked for
  }
}

function facts(node) {
  const { stats } = node;
  const told = [];
  if (stats) {
    told.push(`${stats.generated} tokens`);
    if (stats.perSecond) told.push(`${rate(stats.perSecond)} tokens/s`);
    told.push(`prompt ${stats.prompt}${stats.cached ? `, ${stats.cached} cached` : ""}`);
  }
  if (node.reason === "length") told.push("ended at the limit");
  if (node.reason === "stopped") told.push("stopped");
  return told;
}
