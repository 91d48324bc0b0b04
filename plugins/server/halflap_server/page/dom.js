// Making elements. Text only ever becomes text nodes.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `facts`: on… are listeners, data-… and aria-… attributes, the rest properties. Children may be lists. */
export function el(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  return fill(made, children.flat());
}

/** Append children one by one: a list of a hundred thousand is too long for the arguments of a call. */
export function fill(parent, children) {
  for (const child of children) if (child !== null && child !== undefined && child !== false) parent.append(child);
  return parent;
}

const ICONS = {
  menu: "M4 6h16M4 12h16M4 18h16",
  plus: "M12 5v14M5 12h14",
  send: "M12 20V4M5 11l7-7 7 7",
  stop: "M7 7h10v10H7z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  panel: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  theme: "M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M5 13l4 4L19 7",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  again: "M20 11a8 8 0 1 0-2.3 6M20 4v7h-7",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  close: "M6 6l12 12M18 6L6 18",
  tool: "M14 6a4 4 0 0 1 5-1l-3 3 1 2 2 1 3-3a4 4 0 0 1-6 5l-7 7-3-3 7-7a4 4 0 0 1 1-4z",
  spark: "M12 4l1.8 5.2L19 11l-5.2 1.8L12 18l-1.8-5.2L5 11l5.2-1.8z",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A small button that is an icon; the label is its name and its tooltip. */
export function iconButton(name, label, onclick, facts = {}) {
  return el("button", { type: "button", className: "icon", title: label, "aria-label": label, onclick, ...facts }, icon(name));
}

export const find = (id) => document.getElementById(id);

/** Put icons where the index asks for them. */
export function fillIcons() {
  for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));
}

/** Copy, and show on the button that it worked. */
export async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { value: text, className: "unseen" }); // without TLS there is no clipboard API
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = [...button.childNodes];
  button.replaceChildren(icon("done"));
  setTimeout(() => button.replaceChildren(...before), 1200);
}

let fading;
/** A line at the bottom for some seconds, with at most one thing to do about it. */
export function toast(text, action, onclick) {
  const place = find("toast");
  clearTimeout(fading);
  const hide = () => place.replaceChildren();
  const button = action && el("button", { type: "button", className: "text", onclick: () => (hide(), onclick()) }, action);
  place.replaceChildren(el("div", { className: "toast" }, el("span", {}, text), button));
  fading = setTimeout(hide, 8000);
}

export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  const unit = count >= 2 ** 30 ? [2 ** 30, "GiB"] : count >= 2 ** 20 ? [2 ** 20, "MiB"] : [2 ** 10, "KiB"];
  const value = count / unit[0];
  return `${value.toFixed(value < 10 ? 1 : 0)} ${unit[1]}`;
}

export function rate(perSecond) {
  return perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(1);
}
