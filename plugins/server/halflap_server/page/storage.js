// Small things kept between visits, where the browser allows it.

export function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`halflap.${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function save(name, value) {
  try {
    localStorage.setItem(`halflap.${name}`, JSON.stringify(value));
  } catch {} // full, or off: the page works on without
}
