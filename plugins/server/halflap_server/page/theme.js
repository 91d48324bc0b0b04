// Runs before the first paint, so that the chosen colours do not come late.
(() => {
  const root = document.documentElement;
  const apply = (theme) => (theme === "light" || theme === "dark" ? (root.dataset.theme = theme) : delete root.dataset.theme);
  let chosen = null;
  try {
    chosen = localStorage.getItem("halflap.theme");
  } catch {} // storage may be off
  apply(chosen);
  window.switchTheme = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const next = dark ? "light" : "dark";
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    apply(next === system ? null : next); // back at the system's own: follow it again
    try {
      next === system ? localStorage.removeItem("halflap.theme") : localStorage.setItem("halflap.theme", next);
    } catch {}
  };
})();
