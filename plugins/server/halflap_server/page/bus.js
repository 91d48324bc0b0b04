// What happens on the page, for those parts that want to know.

const bus = new EventTarget();
export const tell = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));
export const on = (name, listener) => bus.addEventListener(name, (event) => listener(event.detail));
