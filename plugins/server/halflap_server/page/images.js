// Images that go with the next message: picked, pasted or dropped, made small enough on a canvas.

import { el, find, iconButton, toast } from "./dom.js";
import { sees } from "./models.js";

const SIDE = 2048; // pixels
const COUNT = 8;
let attached = []; // data URLs

export function take() {
  const taken = attached;
  attached = [];
  show();
  return taken;
}

export const any = () => attached.length > 0;

async function small(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = el("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return file.type === "image/png" && canvas.width * canvas.height < 1e6 ? canvas.toDataURL("image/png") : canvas.toDataURL("image/jpeg", 0.9);
}

export async function attach(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) return;
  if (!sees()) return toast("This model does not see images.");
  for (const file of images) {
    if (attached.length >= COUNT) return toast(`At most ${COUNT} images go with a message.`);
    try {
      attached.push(await small(file));
    } catch {
      toast(`${file.name || "The image"} could not be read.`);
    }
    show();
  }
}

function show() {
  find("attached").replaceChildren(
    ...attached.map((url, place) =>
      el("figure", {}, el("img", { src: url, alt: `Image ${place + 1}` }),
        iconButton("close", `Remove image ${place + 1}`, () => (attached.splice(place, 1), show())))),
  );
}

export function begin() {
  const file = find("image-file");
  find("attach").onclick = () => file.click();
  file.onchange = () => attach(file.files).then(() => (file.value = ""));
  addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    attach(event.clipboardData.files);
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    attach(event.dataTransfer?.files ?? []);
  });
}
