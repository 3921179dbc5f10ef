// Searches and filters as you type: a form's fields become the page's address, and its list is fetched again.

/** Fetch an address and morph one part of this page to what it says there. */
export async function refetch(address, selector) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`${answer.status}`);
  const text = await answer.text();
  const part = new DOMParser().parseFromString(text, "text/html").querySelector(selector);
  const here = document.querySelector(selector);
  if (!part || !here) return;
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
      await refetch(address, form.dataset.filters).catch(() => form.submit());
    }, delay),
  );
}

async function choices(form) {
  const query = new URLSearchParams({ q: form.elements.q.value, page: form.dataset.switch });
  const answer = await fetch(`/switch?${query}`);
  if (answer.ok) document.getElementById("switch-list").innerHTML = await answer.text();
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
document.addEventListener("stale", () => {
  const form = document.querySelector("form[data-filters]");
  if (form) schedule(form, 400);
});
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
