// Conversations: trees of messages, since a message may be edited and an answer repeated. Kept in IndexedDB.

import { tell } from "./bus.js";

const FORM = 1; // of an exported file
const ROLES = ["user", "assistant", "tool"];
export const all = new Map(); // id -> conversation, the latest last

let database = null;

/** Open the browser's store; without one, conversations last as long as the page. Returns whether there is one. */
export async function open() {
  try {
    database = await new Promise((resolve, reject) => {
      const asked = indexedDB.open("halflap", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("conversations", { keyPath: "id" });
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = asked.onblocked = () => reject(asked.error);
    });
    const found = await done(database.transaction("conversations").objectStore("conversations").getAll());
    found.sort((a, b) => a.updated - b.updated).forEach((conversation) => all.set(conversation.id, conversation));
  } catch {
    database = null;
  }
  return database !== null;
}

const done = (asked) =>
  new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });

const writing = () => database.transaction("conversations", "readwrite").objectStore("conversations");

export function create() {
  return { id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, title: "", created: Date.now(), updated: Date.now(), nodes: {}, head: null };
}

/** Keep a conversation as it is now. `touched`: it becomes the latest. */
export async function keep(conversation, touched = false) {
  if (touched) {
    conversation.updated = Date.now();
    all.delete(conversation.id);
  }
  all.set(conversation.id, conversation);
  tell("conversations");
  if (!database) return;
  try {
    await done(writing().put(conversation));
  } catch (error) {
    tell("trouble", `This browser could not keep the conversation: ${error?.message ?? "its store is full"}`);
  }
}

export async function remove(conversation) {
  all.delete(conversation.id);
  tell("conversations");
  if (database) await done(writing().delete(conversation.id)).catch(() => {});
}

export function matching(words) {
  const wanted = words.trim().toLowerCase();
  const hit = (text) => text.toLowerCase().includes(wanted);
  const found = [...all.values()].reverse();
  return wanted ? found.filter((c) => hit(c.title) || Object.values(c.nodes).some((node) => hit(node.content))) : found;
}

// --- the tree ---

/** Add a message below `parent` (an id, or null) and look at it. */
export function add(conversation, parent, facts) {
  const number = Object.keys(conversation.nodes).reduce((most, id) => Math.max(most, Number(id)), 0) + 1;
  const node = { id: String(number), parent, content: "", at: Date.now(), ...facts };
  conversation.nodes[node.id] = node;
  conversation.head = node.id;
  if (!conversation.title && node.role === "user") conversation.title = titleOf(node.content);
  return node;
}

function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line || "Image";
}

/** From the first message to the one that is looked at. */
export function path(conversation, to = conversation.head) {
  const found = [];
  for (let node = conversation.nodes[to]; node; node = conversation.nodes[node.parent]) found.push(node);
  return found.reverse();
}

const below = (conversation, parent) => Object.values(conversation.nodes).filter((node) => node.parent === parent);
export const siblings = (conversation, node) => below(conversation, node.parent);

/** Look at another version of a message, with the latest that follows it. */
export function choose(conversation, id) {
  for (let next = id; next; next = below(conversation, next).at(-1)?.id) conversation.head = next;
}

// --- files ---

export function exported() {
  return JSON.stringify({ halflap: FORM, conversations: [...all.values()] }, null, 1);
}

/** Add the conversations of a file; returns how many. What is not as we write it is refused. */
export async function importFrom(text) {
  const data = JSON.parse(text);
  if (data?.halflap !== FORM || !Array.isArray(data.conversations)) throw new Error("not a file of exported conversations");
  const found = data.conversations.map(checked);
  for (const conversation of found) await keep(conversation);
  return found.length;
}

const string = (value, most = 1e7) => (typeof value === "string" ? value.slice(0, most) : "");
const image = (value) => typeof value === "string" && /^data:image\/(png|jpeg|webp);base64,[\w+/=]*$/.test(value);
const number = (value) => (Number.isFinite(value) ? value : 0);

function checked(given) {
  const conversation = { ...create(), title: string(given?.title, 200) || "Imported", created: number(given?.created), updated: number(given?.updated) };
  if (string(given?.id, 100)) conversation.id = given.id.slice(0, 100);
  let before = 0;
  for (const [id, node] of Object.entries(given?.nodes ?? {})) {
    const parented = node?.parent === null || Object.hasOwn(conversation.nodes, node?.parent);
    // Parents come before their children, so that no circle can be made.
    if (!/^[1-9]\d{0,8}$/.test(id) || Number(id) <= before || !ROLES.includes(node?.role) || !parented) throw new Error("it is damaged");
    before = Number(id);
    const kept = { id, parent: node.parent, role: node.role, content: string(node.content), at: number(node.at) };
    for (const name of ["reasoning", "model", "callId", "error", "reason"]) if (string(node[name])) kept[name] = string(node[name]);
    if (Array.isArray(node.images)) kept.images = node.images.filter(image);
    if (Array.isArray(node.calls)) {
      kept.calls = node.calls.map((call) => ({ id: string(call?.id), name: string(call?.name), arguments: string(call?.arguments) }));
    }
    if (node.stats) kept.stats = Object.fromEntries(Object.entries(node.stats).filter(([, value]) => Number.isFinite(value)));
    conversation.nodes[id] = kept;
  }
  conversation.head = Object.hasOwn(conversation.nodes, given?.head) ? given.head : (Object.keys(conversation.nodes).at(-1) ?? null);
  return conversation;
}
