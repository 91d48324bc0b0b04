// Talking to the server that this page came from.

import { askForKey } from "./keys.js";

const BASE = new URL("../", import.meta.url); // the server may stand behind a prefix

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let key = stored();

function stored() {
  try {
    return sessionStorage.getItem("halflap.key") ?? localStorage.getItem("halflap.key");
  } catch {
    return null;
  }
}

function remember(given, lasting) {
  key = given;
  try {
    sessionStorage.setItem("halflap.key", given);
    lasting ? localStorage.setItem("halflap.key", given) : localStorage.removeItem("halflap.key");
  } catch {} // kept until the page closes
}

export const hasKey = () => key !== null;

export function forgetKey() {
  key = null;
  try {
    sessionStorage.removeItem("halflap.key");
    localStorage.removeItem("halflap.key");
  } catch {}
}

/** A response that succeeded. Asks for a key where the server wants one. */
async function call(path, { body, signal } = {}) {
  for (;;) {
    const used = key;
    const headers = used === null ? {} : { authorization: `Bearer ${used}` };
    if (body !== undefined) headers["content-type"] = "application/json";
    let response;
    try {
      response = await fetch(new URL(path, BASE), {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        cache: "no-store",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The server does not answer. Is it still running?", 0);
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await response.body?.cancel();
      if (used === key) {
        const given = await askForKey(used !== null); // shared by all calls that wait
        if (given === null) throw new Failure("The server wants an API key.", 401);
        remember(given.key, given.lasting);
      }
      continue;
    }
    const told = await response.json().catch(() => null);
    throw new Failure(told?.error?.message ?? `The server answered ${response.status}.`, response.status);
  }
}

export const get = async (path) => (await call(path)).json();
export const post = async (path, body) => (await call(path, { body })).json();

/** The data of server-sent events as they come, parsed. */
export async function* stream(path, body, signal) {
  const response = await call(path, { body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
        const data = JSON.parse(line.slice(6));
        if (data.error) throw new Failure(data.error.message, data.error.code);
        yield data;
      }
    }
  } catch (error) {
    if (error instanceof Failure || error.name === "AbortError") throw error;
    throw new Failure("The connection broke before the answer was over.", 0);
  } finally {
    reader.cancel().catch(() => {});
  }
}
