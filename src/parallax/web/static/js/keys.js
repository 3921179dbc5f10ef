// Keys: `n` asks for a quote, `/` goes to the search, arrows walk through the choices of the switcher.

function typing(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const list = event.target.closest?.("#switcher");
  if (list && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const links = [...list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    (links[at] ?? list.querySelector("input")).focus();
    event.preventDefault();
    return;
  }
  if (typing(event.target) || document.querySelector("dialog[open], [popover]:not([popover=manual]):popover-open")) return;
  const found = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!found) return;
  event.preventDefault();
  if (found.matches("form")) found.requestSubmit();
  else found.focus();
});
