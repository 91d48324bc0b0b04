// A light touch of colour in code: comments, strings, numbers, and words that most languages keep for themselves.

import { el } from "./dom.js";

const MOST = 20_000; // characters; longer code stays plain
const WORDS = `abstract and as assert async await break case catch class const continue def default defer del do elif else enum
export extends extern false False finally fn for from func function global goto if impl import in include interface is lambda let
match mod module mut new nil None not null or package pass private protected pub public raise return select self static struct
super switch template this throw trait true True try type typedef typeof union unsafe use using var virtual void where while with
yield SELECT FROM WHERE INSERT INTO UPDATE DELETE CREATE TABLE JOIN GROUP BY ORDER LIMIT VALUES SET AND OR NOT NULL`;
const KEPT = new Set(WORDS.split(/\s+/));
const HASH = new Set("python py sh bash zsh shell yaml yml toml ruby rb r perl make makefile dockerfile nix".split(" "));
const DASHES = new Set(["sql", "lua", "haskell", "hs"]);
const PROSE = new Set(["", "text", "txt", "markdown", "md", "plain", "console", "log", "diff"]);

const STRING = String.raw`"(?:[^"\\\n]|\\.){0,2000}"|'(?:[^'\\\n]|\\.){0,2000}'`;
const LONG = String.raw`"""[^]{0,5000}?"""|'''[^]{0,5000}?'''|` + "`(?:[^`\\\\]|\\\\[^]){0,5000}`";
const REST = String.raw`\b\d[\w.]{0,40}\b|[A-Za-z_]\w*`;
const COMMENTS = {
  hash: String.raw`#[^\n]*`,
  dashes: String.raw`--[^\n]*`,
  slashes: String.raw`\/\/[^\n]*|\/\*[^]{0,5000}?\*\/`,
};

/** The text as nodes. */
export function colour(text, language) {
  const name = language.toLowerCase();
  if (PROSE.has(name) || text.length > MOST) return [text];
  const comment = COMMENTS[HASH.has(name) ? "hash" : DASHES.has(name) ? "dashes" : "slashes"];
  const pattern = new RegExp(`(${comment})|(${LONG}|${STRING})|${REST}`, "g");
  const nodes = [];
  let plain = 0;
  for (const found of text.matchAll(pattern)) {
    const [word, isComment, isString] = found;
    const kind = isComment ? "comment" : isString ? "string" : /^\d/.test(word) ? "number" : KEPT.has(word) ? "word" : null;
    if (!kind) continue;
    nodes.push(text.slice(plain, found.index), el("span", { className: `c-${kind}` }, word));
    plain = found.index + word.length;
  }
  nodes.push(text.slice(plain));
  return nodes;
}
