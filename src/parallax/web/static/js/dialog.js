// The ticket: a dialog with an address. Opened over the desk it is fetched and the address changes; a full load of the
// address finds it in the page. Closing goes back to the desk, and focus to where it came from.

import { sayGone } from "./connection.js";

const LONGEST = 8000; // milliseconds that a ticket may take to arrive

let opener = null;

function ticket() {
  return document.getElementById("ticket");
}

/** Make the ticket in the page a modal one. */
function raise() {
  const dialog = ticket();
  if (!dialog || dialog.matches(":modal")) return;
  dialog.removeAttribute("open");
  dialog.showModal();
  const field = dialog.querySelector("[autofocus]");
  field?.focus();
  field?.select?.();
}

async function openTicket(address) {
  const signal = AbortSignal.timeout(LONGEST);
  const answer = await fetch(address, { headers: { "HX-Request": "true" }, signal }).catch(() => null);
  if (!answer) return sayGone();
  if (!answer.ok || answer.redirected) {
    location.href = address;
    return;
  }
  const slot = document.getElementById("dialogs");
  await htmx.swap({ text: await answer.text(), sourceElement: slot, target: slot, swap: "innerHTML" });
}

function close() {
  const dialog = ticket();
  if (!dialog) return;
  dialog.close();
  dialog.remove();
  if (opener?.isConnected) opener.focus();
  opener = null;
}

document.addEventListener("click", async (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  const link = event.target.closest("a[data-dialog]");
  if (link) {
    event.preventDefault();
    opener = link;
    const address = link.getAttribute("href");
    await openTicket(address);
    if (ticket()) history.pushState({ ticket: address }, "", address);
    return;
  }
  if (event.target.closest("[data-close]")) {
    event.preventDefault();
    leave();
  } else if (event.target === ticket()) {
    leave(); // the backdrop
  }
});

function leave() {
  const back = ticket()?.dataset.back;
  if (history.state?.ticket) return history.back();
  close();
  if (back) history.replaceState(null, "", back);
}

document.addEventListener(
  "cancel",
  (event) => {
    if (event.target.id !== "ticket") return;
    event.preventDefault();
    leave();
  },
  true,
);

window.addEventListener("popstate", async (event) => {
  if (event.state?.ticket) await openTicket(event.state.ticket);
  else close();
});

document.addEventListener("htmx:after:swap", raise);
document.addEventListener("htmx:before:response", (event) => {
  const address = event.detail.ctx?.response?.headers.get("X-Address");
  if (address) history.replaceState({ ticket: address }, "", address);
});
raise();
