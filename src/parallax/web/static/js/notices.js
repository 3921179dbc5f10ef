// Notices in the corner, and what to say when a request does not come back.

const corner = document.getElementById("notices");

/** Say what went wrong, above everything else. */
export function say(title, words) {
  const notice = document.createElement("div");
  notice.className = "notice bad";
  const lines = document.createElement("div");
  lines.className = "lines";
  const strong = document.createElement("strong");
  strong.textContent = title;
  const text = document.createElement("span");
  text.textContent = words;
  lines.append(strong, text);
  notice.append(lines);
  corner.append(notice);
}

new MutationObserver(() => {
  // The same thing said again takes the place of the first.
  for (const notice of [...corner.children]) {
    const next = notice.nextElementSibling;
    if (next && next.textContent === notice.textContent) notice.remove();
  }
  while (corner.childElementCount > 3) corner.firstElementChild.remove();
  for (const notice of corner.children) {
    if (notice.dataset.timed) continue;
    notice.dataset.timed = "1";
    setTimeout(() => notice.remove(), 9000);
  }
  // The newest of the top layer stands above an open dialog and its backdrop.
  corner.hidePopover();
  if (corner.childElementCount) corner.showPopover();
}).observe(corner, { childList: true });

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-dismiss]");
  if (button) button.closest(".notice").remove();
});
document.addEventListener("htmx:error", (event) => {
  const { ctx } = event.detail;
  if (!ctx?.request || ctx.sourceElement?.closest?.("form[data-ticket]")) return; // a ticket says itself what is known
  say("The desk did not answer", "What was asked may or may not have been done. Look before you repeat it.");
});

// A page that could not be shown tries again until it can.
if (document.querySelector("[data-again]")) {
  setInterval(async () => {
    const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (answer?.ok) location.reload();
  }, 3000);
}
