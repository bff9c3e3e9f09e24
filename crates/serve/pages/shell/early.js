// Runs before the first paint, so that a chosen theme or language does not flash the other one.
// A classic script, not a module: modules wait for the whole document. `i18n.js` and `shell.js` go on from here.
(() => {
  const root = document.documentElement;
  const stored = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // storage is blocked: the defaults hold
    }
  };
  const theme = stored("tolmach.theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const language = stored("tolmach.language") ?? (navigator.language || "en").slice(0, 2);
  root.lang = language === "ru" ? "ru" : "en";
  // Hidden until translated; the timer shows the page even when a module fails to load.
  root.dataset.loading = "";
  setTimeout(() => delete root.dataset.loading, 2000);
})();
