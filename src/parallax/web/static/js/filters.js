// Searches and filters as you type: a form's fields become the page's address, and its list is fetched again.

import { sayGone } from "./connection.js";

const LONGEST = 8000; // a network that delivers nothing must not hold up what comes after
const asked = new Map();

/** Fetch an address and morph one part of this page to what it says there. The newest question wins, not the slowest
 *  answer; with `whatever`, also the words of a refusal are shown; with `gently`, a row that has the focus and is gone
 *  there stays until the focus has left it. */
export async function refetch(address, selector, { gently = false, whatever = false } = {}) {
  const turn = (asked.get(selector) ?? 0) + 1;
  asked.set(selector, turn);
  const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(LONGEST) });
  if (!answer.ok && !(whatever && answer.status < 500)) throw new Error(`${answer.status}`, { cause: answer });
  const text = await answer.text();
  const part = new DOMParser().parseFromString(text, "text/html").querySelector(selector);
  const here = document.querySelector(selector);
  if (!part || !here || asked.get(selector) !== turn) return;
  const row = gently ? document.activeElement?.closest(".row[id]") : null;
  if (row && here.contains(row) && !part.querySelector(`#${CSS.escape(row.id)}`)) {
    document.addEventListener("focusout", catchUpSoon, { once: true });
    return;
  }
  await htmx.swap({ text: part.outerHTML, sourceElement: here, target: here, swap: "outerMorph" });
}

const running = new WeakMap();

function addressOf(form) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "" && value !== "all") fields.append(name, value);
  const query = fields.toString();
  return form.getAttribute("action") + (query ? `?${query}` : "");
}

function schedule(form, delay) {
  clearTimeout(running.get(form));
  running.set(
    form,
    setTimeout(async () => {
      const address = addressOf(form);
      history.replaceState(history.state, "", address);
      // What the desk refuses it explains on a page of its own; while it does not answer, this page stays. The address
      // is this search's already, so the list is right as soon as the page catches up.
      await refetch(address, form.dataset.filters).catch((error) => (error.cause ? form.submit() : sayGone()));
    }, delay),
  );
}

const CATCH_UP = 1500; // at most so often, however much happens; and not before a new row has stood out
let due = 0;

/** Fetch the list of this very address again, in a moment: what is shown has changed by itself. */
function catchUpSoon() {
  if (due) return;
  due = setTimeout(() => {
    due = 0;
    const form = document.querySelector("form[data-filters]");
    if (form) refetch(location.href, form.dataset.filters, { gently: true }).catch(() => {});
  }, CATCH_UP);
}

async function choices(form) {
  const q = form.elements.q.value;
  const address = `/switch?${new URLSearchParams({ q, page: form.dataset.switch })}`;
  const answer = await fetch(address, { signal: AbortSignal.timeout(LONGEST) }).catch(() => null);
  if (!answer) return sayGone();
  if (answer.ok && form.elements.q.value === q) document.getElementById("switch-list").innerHTML = await answer.text();
}

document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (form?.matches("[data-filters]")) schedule(form, event.target.type === "search" ? 120 : 0);
  if (form?.matches("[data-switch]")) choices(form);
});
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-filters]")) {
    event.preventDefault();
    schedule(event.target, 0);
  } else if (event.target.matches("[data-switch]")) {
    event.preventDefault();
    document.querySelector("#switch-list a")?.click();
  }
});
document.addEventListener("stale", catchUpSoon);
// The list of users opens below its button, wherever banners have moved that to.
document.addEventListener(
  "beforetoggle",
  (event) => {
    if (event.target.id !== "switcher" || event.newState !== "open") return;
    const { bottom } = document.querySelector("[popovertarget=switcher]").getBoundingClientRect();
    event.target.style.top = `${Math.round(bottom) + 6}px`;
  },
  true,
);
document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.id !== "switcher" || event.newState !== "open") return;
    const form = event.target.querySelector("form");
    form.reset();
    choices(form);
  },
  true,
);
