// What no other script is about: rows that leave by the clock, and the theme.

// A quote whose time has run out leaves the list of good ones after a moment, by the clock alone.
document.addEventListener("phase", ({ target, detail }) => {
  const row = target.closest("#quote-rows > .quote");
  if (!row || detail.phase !== "over") return;
  setTimeout(
    () => {
      if (!row.isConnected || row.contains(document.activeElement) || row.dataset.phase !== "over") return;
      row.remove();
      const count = document.getElementById("past-count");
      if (count) count.textContent = String(Number(count.textContent) + 1);
    },
    detail.first ? 0 : 6000,
  );
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // Storage may be forbidden: the choice then lasts for this page.
  }
});
