// Markdown's blocks: which lines belong together. Reads every line a bounded number of times.

const DEPTH = 8;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( {1,4}(?=\S)|[ \t]*$| +)/;
const DELIMITER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const LINE = 4000; // longer lines are text, whatever they begin with

const short = (line) => line.length <= LINE;
const blank = (line) => !line.trim();

function starts(lines, at, depth) {
  const line = lines[at];
  if (!short(line)) return false;
  const deeper = depth < DEPTH && (QUOTE.test(line) || (ITEM.test(line) && !blank(line.replace(ITEM, ""))));
  return deeper || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, at);
}

function isTable(lines, at) {
  const next = lines[at + 1];
  const likely = next !== undefined && lines[at].includes("|") && next.includes("-") && short(next) && short(lines[at]);
  return likely && DELIMITER.test(next) && cells(lines[at]).length === cells(next).length;
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** Blocks of lines: {type, from, to, …}; `to` is the line behind the last. */
export function blocks(lines, depth = 0) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (blank(lines[at])) at += 1;
    else {
      const block = short(lines[at]) ? block_at(lines, at, depth) : paragraph(lines, at, depth);
      found.push({ ...block, from: at });
      at = block.to;
    }
  }
  return found;
}

function block_at(lines, at, depth) {
  const line = lines[at];
  let match;
  if ((match = FENCE.exec(line))) return fence(lines, at, match);
  if ((match = HEADING.exec(line))) return { type: "heading", level: match[1].length, text: match[2] ?? "", to: at + 1 };
  if (RULE.test(line)) return { type: "rule", to: at + 1 };
  if (depth < DEPTH && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEPTH && ITEM.test(line)) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at, depth);
}

function fence(lines, at, [, mark, info]) {
  const indent = lines[at].search(/\S/);
  const body = [];
  let to = at + 1;
  let closed = false;
  for (; to < lines.length && !closed; to += 1) {
    const line = lines[to];
    const end = line.length <= LINE && /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(line);
    closed = Boolean(end) && end[1][0] === mark[0] && end[1].length >= mark.length;
    if (!closed) body.push(line.slice(Math.min(indent, Math.max(line.search(/\S/), 0))));
  }
  return { type: "code", language: info.trim().split(/\s/)[0].slice(0, 40), text: body.join("\n"), closed, to };
}

function quote(lines, at, depth) {
  const inner = [];
  let to = at;
  for (; to < lines.length; to += 1) {
    if (QUOTE.test(lines[to])) inner.push(lines[to].replace(QUOTE, ""));
    else if (blank(lines[to]) || starts(lines, to, depth)) break;
    else inner.push(lines[to]);
  }
  return { type: "quote", blocks: blocks(inner, depth + 1), to };
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const ordered = /\d/.test(first[2]);
  const same = (match) => match && /\d/.test(match[2]) === ordered && (ordered || match[2] === first[2]);
  const items = [];
  let to = at;
  let loose = false;
  while (to < lines.length) {
    const match = short(lines[to]) ? ITEM.exec(lines[to]) : null;
    if (!same(match) || RULE.test(lines[to])) break;
    const width = match[1].length + match[2].length + (match[3].length > 4 ? 1 : Math.max(match[3].length, 1));
    const inner = [lines[to].slice(Math.min(width, lines[to].length))];
    let gap = false;
    for (to += 1; to < lines.length; to += 1) {
      const line = lines[to];
      const indent = line.search(/\S/);
      if (indent < 0) gap = true;
      else if (indent >= Math.min(width, 4) || indent >= width) {
        if (gap) (loose = true), inner.push("");
        gap = false;
        inner.push(line.slice(Math.min(width, indent)));
      } else if (gap || starts(lines, to, depth)) break;
      else inner.push(line); // goes on without its indent
    }
    if (gap && to < lines.length && short(lines[to]) && same(ITEM.exec(lines[to]))) loose = true;
    const task = /^\[([ xX])\] /.exec(inner[0]);
    if (task) inner[0] = inner[0].slice(4);
    items.push({ blocks: blocks(inner, depth + 1), done: task ? task[1] !== " " : null });
  }
  return { type: "list", ordered, start: ordered ? Number.parseInt(first[2], 10) : 1, items, loose, to };
}

function table(lines, at) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map((cell) => {
    const [left, right] = [cell.startsWith(":"), cell.endsWith(":")];
    return right ? (left ? "middle" : "end") : "";
  });
  const rows = [];
  let to = at + 2;
  for (; to < lines.length && !blank(lines[to]) && lines[to].includes("|") && short(lines[to]); to += 1) {
    const row = cells(lines[to]);
    rows.push(head.map((_, column) => row[column] ?? ""));
  }
  return { type: "table", head, align, rows, to };
}

function paragraph(lines, at, depth) {
  let to = at + 1;
  while (to < lines.length && !blank(lines[to]) && !starts(lines, to, depth)) to += 1;
  const text = lines.slice(at, to).map((line) => line.trimStart()).join("\n");
  return { type: "paragraph", text: text.trimEnd(), to };
}
