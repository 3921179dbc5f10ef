// What this page may say and do while its desk does not answer: what is only last known is grey with its time, actions
// are off with the reason beside them, and nothing leaves for an address that does not answer. `live.js` says when.
//
// The desk itself may have reasons too (a pause, a journal that cannot be written): its frame carries them, and an
// action names what it needs in `data-needs`.

import { loaded, mark, since } from "./clock.js";
import { say } from "./notices.js";

/** How long a page takes the desk's silence: what it shows has been true within so many milliseconds, or is grey. */
export const SILENCE = 5000;

const PROBE = 3000; // how long a link waits for the desk before it says that it does not answer
const ACTIONS = "form[method=post] button:not([type=button]), a[href]:not([href^='#'], [data-close])";

const root = document.documentElement;
const sign = document.getElementById("connection");
const strip = document.getElementById("lost");
const said = document.getElementById("said");
const names = { live: "Connected", connecting: "Connecting", paused: "Paused" };
const time = new Intl.DateTimeFormat(navigator.languages, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

let heard = loaded;
let slots = 0;

/** The desk has just given a sign of life. */
export function hear() {
  heard = mark();
}

/** Whether the last sign of life is too old for what is shown to pass as known. */
export function silent() {
  return since(heard) > SILENCE;
}

/** Whether what is shown is only last known. */
export function isLost() {
  return root.dataset.known === "last";
}

function lastKnown() {
  return `last known ${time.format(heard.wall)}`;
}

/** Show the state of the connection: connecting, live, lost, or paused (the page is hidden and asks nothing). */
export function show(state) {
  if (sign.dataset.state === state) return;
  sign.dataset.state = state;
  const lost = state === "lost" || (state !== "live" && isLost());
  const words = lost ? lastKnown() : names[state];
  sign.querySelector(".words").textContent = words[0].toUpperCase() + words.slice(1);
  if (lost === isLost()) return;
  if (lost) root.dataset.known = "last";
  else delete root.dataset.known;
  root.style.setProperty("--last-known", JSON.stringify(lastKnown()));
  strip.hidden = !lost;
  strip.querySelector(".words").textContent = lost ? lastKnown() : "";
  said.textContent = lost ? `The desk does not answer: ${lastKnown()}.` : "Connected again.";
  if (lost) review();
  else document.dispatchEvent(new CustomEvent("news"));
}

function whyOff(action) {
  if (isLost()) return `Not connected: ${lastKnown()}`;
  return document.getElementById("frame-digest")?.dataset[action.dataset.needs] ?? "";
}

/** Where the reason stands: beside the action, or for links of a lost page in the one strip. */
function slotOf(action) {
  if (isLost() && action.matches("a")) return strip;
  const there = action.parentElement.querySelector(":scope > .why");
  if (there) return there;
  const slot = document.createElement("span");
  slot.className = "why";
  action.after(slot);
  return slot;
}

/** Switch every action on or off, with the reason (`.why`) beside it. */
function review() {
  // The server has switched these off for browsers without scripts.
  for (const action of document.querySelectorAll("[data-off]")) {
    action.disabled = false;
    action.removeAttribute("data-off");
  }
  const reasons = new Map([...document.querySelectorAll(".why")].map((slot) => [slot, ""]));
  for (const action of document.querySelectorAll(ACTIONS)) {
    const why = whyOff(action);
    action.toggleAttribute("aria-disabled", Boolean(why));
    if (!why) {
      if (action.dataset.described) action.removeAttribute("aria-describedby");
      continue;
    }
    const slot = slotOf(action);
    if (slot !== strip) {
      slot.id ||= `why-${(slots += 1)}`;
      reasons.set(slot, why);
    }
    action.setAttribute("aria-disabled", "true");
    action.setAttribute("aria-describedby", slot.id);
    action.dataset.described = "1";
  }
  for (const [slot, why] of reasons) if (slot.textContent !== why) slot.textContent = why;
}

function isOff(action) {
  return action?.getAttribute("aria-disabled") === "true";
}

/** Say that the desk does not answer, and that the page has stayed. */
export function sayGone() {
  say("The desk does not answer", "You are still on the same page, and nothing was sent. It comes back by itself.");
}

function refuse(event, action) {
  event.preventDefault();
  event.stopImmediatePropagation();
  if (isLost()) sayGone();
  else said.textContent = whyOff(action);
}

window.addEventListener(
  "click",
  (event) => {
    const action = event.target.closest?.("a, button");
    if (isOff(action)) refuse(event, action);
  },
  true,
);
// Also by Enter in a field, and by a key.
window.addEventListener(
  "submit",
  (event) => {
    const action = event.submitter ?? event.target.querySelector("button:not([type=button])");
    if (isOff(action)) refuse(event, action);
  },
  true,
);
document.addEventListener("htmx:before:request", (event) => {
  if (isLost()) event.preventDefault();
});
document.addEventListener("htmx:after:swap", review);
document.addEventListener("news", review);
review();

async function answers() {
  const signal = AbortSignal.timeout(PROBE);
  return fetch("/healthz", { cache: "no-store", signal }).then(
    () => true,
    () => false,
  );
}

let leaving = false;

// A browser that has left for a desk that is gone shows a page of its own and stays there: so the desk is asked first.
window.addEventListener("click", async (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button) return;
  const link = event.target.closest?.("a[href]:not([download], [target])");
  if (!link || link.origin !== location.origin || link.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  if (leaving) return;
  leaving = true;
  if (await answers()) location.assign(link.href);
  else sayGone();
  leaving = false;
});
