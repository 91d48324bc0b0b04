// Markdown as it streams in: finished blocks are built once, only the last is built anew.

import { blocks } from "./blocks.js";
import { copy, el, fill, icon } from "./dom.js";
import { colour } from "./highlight.js";
import { inline } from "./inline.js";

/** Shows a growing text in an element. */
export class Markdown {
  constructor(root) {
    this.root = root;
    this.text = "";
    this.settled = 0; // characters whose blocks will not change any more
    this.last = []; // elements of the blocks behind them
    this.code = null;
  }

  /** Show `text`; `open`: more may come. What it began with before, it must begin with again. */
  show(text, open = false) {
    if (!text.startsWith(this.text)) this.clear();
    if (open && text === this.text) return;
    this.text = text;
    const lines = text.slice(this.settled).split("\n");
    const found = blocks(lines);
    if (open && this.growCode(found)) return;
    this.last.forEach((node) => node.remove());
    this.code = null;
    // A block is settled when the first line of the next one is whole: until then they may still be one.
    const settled = open ? found.findLastIndex((block) => block.from + 1 < lines.length) - 1 : found.length;
    this.last = found.map((block, place) => {
      const node = build(block, open && place === found.length - 1);
      this.root.append(node);
      return node;
    });
    if (settled >= 0 && open) {
      this.last = this.last.slice(settled + 1);
      for (const line of lines.slice(0, found[settled + 1].from)) this.settled += line.length + 1;
    }
    if (open && found.length - settled === 2 && found.at(-1).type === "code") this.code = this.last[0];
  }

  /** Long code that streams only grows its text. */
  growCode(found) {
    if (!this.code || found.length !== 1 || found[0].type !== "code" || found[0].closed) return false;
    this.code.querySelector("code").firstChild.data = found[0].text;
    return true;
  }

  clear() {
    this.root.replaceChildren();
    this.text = "";
    this.settled = 0;
    this.last = [];
    this.code = null;
  }
}

/** A whole text as a fragment. */
export function markdown(text) {
  const root = document.createDocumentFragment();
  return fill(root, all(blocks(text.split("\n")), false));
}

const BUILD = {
  heading: (block, open) => el(`h${Math.min(block.level + 2, 6)}`, { className: `h${block.level}` }, inline(block.text, open)),
  rule: () => el("hr"),
  paragraph: (block, open) => el("p", {}, inline(block.text, open)),
  quote: (block, open) => el("blockquote", {}, all(block.blocks, open)),
  code: (block, open) => codeBlock(block.text, block.language, open && !block.closed),
  list(block, open) {
    const items = block.items.map((item, place) => {
      const inside = item.blocks.flatMap((each, i) => {
        const growing = open && place === block.items.length - 1 && i === item.blocks.length - 1;
        return each.type === "paragraph" && !block.loose ? inline(each.text, growing) : [build(each, growing)];
      });
      if (item.done === null) return el("li", {}, inside);
      return el("li", { className: "task" }, el("input", { type: "checkbox", checked: item.done, disabled: true }), inside);
    });
    return block.ordered ? el("ol", { start: block.start }, items) : el("ul", {}, items);
  },
  table(block, open) {
    const row = (tag, cells) =>
      el("tr", {}, cells.map((cell, i) => el(tag, { className: block.align[i] ?? "" }, inline(cell, open))));
    const body = el("tbody", {}, block.rows.map((cells) => row("td", cells)));
    return el("div", { className: "table", tabIndex: 0 }, el("table", {}, el("thead", {}, row("th", block.head)), body));
  },
};

const build = (block, open) => BUILD[block.type](block, open);
const all = (found, open) => found.map((block, place) => build(block, open && place === found.length - 1));

export function codeBlock(text, language, growing = false) {
  const code = el("code", {}, growing ? text : colour(text, language));
  if (!code.firstChild) code.append(document.createTextNode(""));
  const button = el("button", { type: "button", className: "icon", title: "Copy", "aria-label": "Copy the code" }, icon("copy"));
  button.addEventListener("click", () => copy(button, code.textContent));
  return el("div", { className: "code" }, el("header", {}, el("span", {}, language || "text"), button), el("pre", { tabIndex: 0 }, code));
}
