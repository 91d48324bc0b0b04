// Inline markdown as DOM nodes: emphasis, code, links. One pass over the text; nesting is bounded, so time is linear.

import { el } from "./dom.js";

const DEPTH = 24;
const URL_LENGTH = 2000;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", "#39": "'" };
const TAGS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };
const PLAIN = /[^\\`*_~[\]!<&h\n]+|h(?!ttps?:\/\/)/y;
const AUTOLINK = /https?:\/\/[^\s<>"`]{1,2000}/y;
const ANGLE = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BREAK = /<br\s{0,4}\/?>/iy;
const ENTITY = /&(amp|lt|gt|quot|apos|nbsp|#39);/y;
const PUNCTUATION = /[!-/:-@[-`{-~]/;

/** The address, if it is one that a click may open. */
export function safeUrl(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null; // also all that is relative: it would lead into this server
  }
}

function link(url, children) {
  return el("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow", title: url }, children);
}

/** For every run of backticks, where runs of its length stand. */
function backticks(text) {
  const places = new Map();
  for (const found of text.matchAll(/`+/g)) {
    const length = found[0].length;
    if (!places.has(length)) places.set(length, []);
    places.get(length).push(found.index);
  }
  return places;
}

class Inline {
  constructor(text, open) {
    this.text = text;
    this.open = open;
    this.at = 0;
    this.frames = [{ mark: "", nodes: [] }];
    this.counts = {};
    this.runs = null;
  }

  nodes() {
    while (this.at < this.text.length) this.step();
    while (this.frames.length > 1) {
      const mark = this.frames.at(-1).mark;
      // What an answer under way has begun in bold will most likely be closed.
      if (this.open && mark === "**" && this.frames.at(-1).nodes.length) this.close(mark);
      else this.flatten();
    }
    return this.frames[0].nodes;
  }

  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found;
  }

  add(node) {
    const nodes = this.frames.at(-1).nodes;
    if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += node;
    else nodes.push(node);
  }

  step() {
    const plain = this.take(PLAIN);
    if (plain) return this.add(plain[0]);
    const here = this.text[this.at];
    if (here === "\n") return this.newline();
    if (here === "\\") return this.escaped();
    if (here === "`") return this.code();
    if (here in { "*": 1, _: 1, "~": 1 }) return this.emphasis(here);
    if (here === "!" && this.text[this.at + 1] === "[") {
      this.at += 2;
      return this.push("![");
    }
    if (here === "[") {
      this.at += 1;
      return this.push("[");
    }
    if (here === "]") return this.bracket();
    if (here === "<") {
      const angle = this.take(ANGLE);
      const url = angle && safeUrl(angle[1]);
      if (url) return this.add(link(url, [angle[1]]));
      if (angle) return this.add(angle[0]);
      if (this.take(BREAK)) return this.add(el("br"));
    }
    if (here === "&") {
      const entity = this.take(ENTITY);
      if (entity) return this.add(ENTITIES[entity[1]]);
    }
    if (here === "h") return this.autolink();
    this.at += 1;
    return this.add(here);
  }

  newline() {
    this.at += 1;
    const nodes = this.frames.at(-1).nodes;
    const hard = typeof nodes.at(-1) === "string" && nodes.at(-1).endsWith("  ");
    this.add(hard ? el("br") : "\n");
  }

  escaped() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "\n") this.add(el("br"));
    else this.add(PUNCTUATION.test(next) ? next : `\\${next}`);
    this.at += 2;
  }

  code() {
    let end = this.at;
    while (this.text[end] === "`") end += 1;
    const length = end - this.at;
    this.runs ??= backticks(this.text);
    const places = this.runs.get(length);
    while (places.length && places[0] < end) places.shift(); // each run is passed once
    if (places.length) {
      const inside = this.text.slice(end, places[0]).replaceAll("\n", " ");
      const padded = inside.length > 2 && inside.startsWith(" ") && inside.endsWith(" ") && inside.trim();
      this.add(el("code", {}, padded ? inside.slice(1, -1) : inside));
      this.at = places[0] + length;
    } else {
      this.add(this.text.slice(this.at, end));
      this.at = end;
    }
  }

  emphasis(char) {
    let end = this.at;
    while (this.text[end] === char && end - this.at < 1000) end += 1;
    const run = end - this.at;
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[end] ?? " ";
    this.at = end;
    if (run > 3 || (char === "~" && run !== 2)) return this.add(char.repeat(run));
    const word = (c) => !/\s/.test(c) && !PUNCTUATION.test(c);
    const inWord = char === "_" && word(before) && word(after); // snake_case stays
    const opens = !/\s/.test(after) && !inWord && (word(after) || !word(before));
    const closes = !/\s/.test(before) && !inWord;
    const marks = run === 3 ? [char, char + char] : [char.repeat(run)];
    if (closes && marks.every((mark) => this.counts[mark])) {
      const inner = run === 3 && this.last(marks[1]) > this.last(marks[0]) ? marks.reverse() : marks;
      return inner.forEach((mark) => this.close(mark));
    }
    if (opens) return marks.reverse().forEach((mark) => this.push(mark));
    return this.add(char.repeat(run));
  }

  last(mark) {
    return this.frames.findLastIndex((frame) => frame.mark === mark);
  }

  push(mark) {
    if (this.frames.length > DEPTH) return this.add(mark);
    this.frames.push({ mark, nodes: [] });
    this.counts[mark] = (this.counts[mark] ?? 0) + 1;
  }

  pop() {
    const frame = this.frames.pop();
    this.counts[frame.mark] -= 1;
    return frame;
  }

  /** The innermost frame was no markup after all. */
  flatten() {
    const frame = this.pop();
    this.add(frame.mark);
    frame.nodes.forEach((node) => this.add(node));
  }

  close(mark) {
    if (!this.counts[mark]) return this.add(mark);
    while (this.frames.at(-1).mark !== mark) this.flatten();
    const frame = this.pop();
    this.add(el(TAGS[mark], {}, frame.nodes));
  }

  bracket() {
    this.at += 1;
    const place = Math.max(this.last("["), this.last("!["));
    if (place < 0) return this.add("]");
    const target = this.text[this.at] === "(" ? this.target() : null;
    while (this.frames.length - 1 > place) this.flatten();
    if (target === null) {
      this.flatten();
      return this.add("]");
    }
    const frame = this.pop();
    // Images of other sites are not fetched: the address is shown as a link instead.
    const label = frame.nodes.length ? frame.nodes : [target];
    const inside = label.flatMap((node) => (node instanceof HTMLAnchorElement ? [...node.childNodes] : [node]));
    return this.add(link(target, [frame.mark === "![" && "🖼 ", ...inside]));
  }

  /** The address behind a link's text; what is no safe address leaves the text as it is. */
  target() {
    const found = this.text.slice(this.at + 1, this.at + 1 + URL_LENGTH);
    let depth = 1;
    let end = 0;
    for (; end < found.length && depth; end += 1) {
      if (found[end] === "(") depth += 1;
      else if (found[end] === ")") depth -= 1;
      else if (found[end] === "\n") return null;
    }
    if (depth) return null;
    const address = found.slice(0, end - 1).trim().replace(/\s+(".*"|'.*')$/, "").replace(/^<(.*)>$/, "$1");
    const url = safeUrl(address);
    if (url !== null) this.at += end + 1;
    return url;
  }

  autolink() {
    const before = this.text[this.at - 1] ?? " ";
    const found = /\w/.test(before) ? null : this.take(AUTOLINK);
    if (!found) {
      this.at += 1;
      return this.add("h");
    }
    let address = found[0].replace(/[.,;:!?'*_~]+$/, "");
    const left = address.split("(").length;
    while (address.endsWith(")") && address.split(")").length > left) address = address.slice(0, -1);
    const bracket = address.indexOf("]");
    if (bracket >= 0) address = address.slice(0, bracket);
    const url = safeUrl(address);
    this.at += address.length - found[0].length;
    return this.add(url ? link(url, [address]) : address);
  }
}

/** `open`: more of the text may come. */
export function inline(text, open = false) {
  return new Inline(text, open).nodes();
}
