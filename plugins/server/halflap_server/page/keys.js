// Asking for the server's API key.

import { find } from "./dom.js";

let asking = null;

/** {key, lasting}, or null when the user would rather not. Callers at the same time share one question. */
export function askForKey(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = find("key-dialog");
    const field = find("key");
    find("key-wrong").hidden = !wrong;
    field.value = "";
    let given = null;
    find("key-form").onsubmit = (event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (!key) return;
      given = { key, lasting: find("key-lasting").checked };
      dialog.close();
    };
    find("key-cancel").onclick = () => dialog.close();
    dialog.onclose = () => {
      field.value = "";
      asking = null;
      resolve(given);
    };
    dialog.showModal();
    field.focus();
  });
  return asking;
}
