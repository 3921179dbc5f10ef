// The ticket's two amounts: typing on one side writes the other, exactly. The server reads and checks again.

import { amountFor, convert, parseAmount, parseRate, plain } from "./money.js";

const tab = (() => {
  try {
    let id = sessionStorage.getItem("tab");
    if (!id) {
      id = Math.random().toString(36).slice(2, 8).padEnd(6, "0");
      sessionStorage.setItem("tab", id);
    }
    return id;
  } catch {
    return "";
  }
})();

function terms(form) {
  const { rate, from, fromDigits, to, toDigits } = form.dataset;
  return { rate: parseRate(rate), from, fromDigits: Number(fromDigits), to, toDigits: Number(toDigits) };
}

/** What is typed as the amount to send and what it buys; throws AmountInvalid. */
function read(form, side, text) {
  const { rate, from, fromDigits, to, toDigits } = terms(form);
  if (side === "send") {
    const sent = parseAmount(text, from, fromDigits);
    return { sent, received: convert(sent, rate, toDigits) };
  }
  const wanted = parseAmount(text, to, toDigits);
  const sent = amountFor(wanted, rate, fromDigits, toDigits);
  parseAmount(plain(sent), from, fromDigits);
  return { sent, wanted, received: convert(sent, rate, toDigits) };
}

function update(form, side) {
  const fields = { send: form.querySelector("#send"), receive: form.querySelector("#receive") };
  const own = fields[side];
  const other = fields[side === "send" ? "receive" : "send"];
  form.elements.side.value = side;
  own.name = "amount";
  other.removeAttribute("name");
  const error = form.querySelector(`#${side}-error`);
  form.querySelector(`#${other.id}-error`).textContent = "";
  other.removeAttribute("aria-invalid");
  let words = "";
  let result = null;
  if (own.value.trim()) {
    try {
      result = read(form, side, own.value);
    } catch (invalid) {
      words = invalid.message;
    }
  }
  if (error.textContent !== words) error.textContent = words;
  own.toggleAttribute("aria-invalid", Boolean(words));
  if (words) own.setAttribute("aria-invalid", "true");
  other.value = result ? plain(side === "send" ? result.received : result.sent) : "";
  const amount = result ? plain(result.sent) : "…";
  form.querySelector("#request").textContent =
    `POST /orders {"quote_id":"${form.dataset.quote}","user_id":"${form.dataset.user}","from_amount":"${amount}"}`;
  const { from, to, toDigits } = form.dataset;
  const differs = result?.wanted && plain(result.received) !== plain(convert(result.wanted, { units: 1n, scale: 0 }, Number(toDigits)));
  form.querySelector("#exactly").textContent = differs
    ? `${grouped(result.sent)} ${from} buys ${grouped(result.received)} ${to}: the least that buys what you want.`
    : "";
  button(form, result);
}

/** Plain digits with thousands grouped, in the one form that the fields read. */
function grouped(value) {
  const [whole, ...fraction] = plain(value).split(".");
  return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...fraction].join(".");
}

function button(form, result) {
  const words = form.querySelector("[data-words]");
  if (!words) return;
  const { from, to } = form.dataset;
  words.textContent = result ? `Send ${grouped(result.sent)}\u00a0${from} for ${grouped(result.received)}\u00a0${to}` : "Place order";
}

document.addEventListener("input", (event) => {
  const form = event.target.closest?.("form[data-ticket]");
  if (form && event.target.dataset.side) update(form, event.target.dataset.side);
});

// Dead once pressed: the press itself is what counts, not the answer.
document.addEventListener("htmx:before:request", (event) => {
  const { ctx } = event.detail;
  const form = ctx.sourceElement?.closest?.("form[data-ticket]");
  if (!form) return;
  const dialog = form.closest("dialog");
  if (dialog.hasAttribute("data-sending")) return event.preventDefault();
  dialog.setAttribute("data-sending", "");
  form.querySelector("[data-confirm]").disabled = true;
});
document.addEventListener("htmx:finally:request", (event) => {
  const { ctx } = event.detail;
  const form = ctx.sourceElement?.closest?.("form[data-ticket]");
  if (!form?.isConnected || ctx.hx?.redirect) return;
  form.closest("dialog").removeAttribute("data-sending");
  if (placing(ctx) && !answered(ctx)) lost(form);
  else if (!ctx.response) form.querySelector("[data-confirm]").disabled = false;
});
// An order was sent and no answer of the desk came back: it may exist. The ticket's key finds it.
const ASK_EVERY = 2000;
const placing = (ctx) => {
  const form = ctx.sourceElement?.closest?.("form[data-ticket]");
  return form && !ctx.request?.submitter?.dataset.fresh && ctx.request?.method?.toUpperCase() === "POST" ? form : null;
};
function answered(ctx) {
  const headers = ctx.response?.headers;
  return Boolean(headers && ((headers.get("X-Ticket") && ctx.text !== undefined) || headers.get("HX-Redirect")));
}

async function ask(form) {
  const say = (words) => {
    const line = form.querySelector("[data-lost-words]");
    if (line.textContent !== words) line.textContent = words;
  };
  const confirm = form.querySelector("[data-confirm]");
  while (form.isConnected) {
    const answer = await fetch(form.dataset.placed, { cache: "no-store" }).then((got) => (got.ok ? got.json() : null)).catch(() => null);
    if (!form.isConnected) return;
    if (answer?.order) {
      say("The order exists. Going to it…");
      location.assign(answer.order);
      return;
    }
    if (answer) {
      say("The desk has no order of this ticket yet. Send this ticket again: however often it is sent, it becomes one order at most.");
      confirm.disabled = dead(form) || form.closest("dialog").hasAttribute("data-sending");
    } else {
      say("Your order may have been placed. The desk does not answer now; this ticket goes on asking, and shows the order when it does.");
      confirm.disabled = true;
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY));
  }
}

function lost(form) {
  const box = form.querySelector("[data-lost]");
  form.querySelector("[data-confirm]").disabled = true;
  form.querySelector("[data-lost-words]").textContent = "Your order may have been placed. Asking the desk for it…";
  if (!box.hidden) return;
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
  ask(form);
}
document.addEventListener("htmx:before:swap", (event) => {
  const form = placing(event.detail.ctx);
  if (form && !answered(event.detail.ctx)) event.preventDefault(); // what stands between the desk and here has spoken
});

document.addEventListener("htmx:config:request", (event) => {
  const { ctx } = event.detail;
  ctx.request.headers["X-Tab"] = tab;
  const fresh = ctx.request.submitter?.dataset.fresh;
  if (fresh) ctx.request.action = fresh;
});

// Enter in an empty or wrong field shows what is wrong and sends nothing.
document.addEventListener(
  "submit",
  (event) => {
    const form = event.target.closest?.("form[data-ticket]");
    if (!form || event.submitter?.dataset.fresh) return;
    const side = form.elements.side.value;
    const field = form.querySelector(`#${side}`);
    try {
      read(form, side, field.value);
      if (form.querySelector("[data-confirm]").disabled || dead(form)) throw new Error("");
    } catch (invalid) {
      event.preventDefault();
      event.stopImmediatePropagation();
      if (invalid.message) form.querySelector(`#${side}-error`).textContent = invalid.message;
      field.setAttribute("aria-invalid", "true");
      field.focus();
    }
  },
  true,
);

function dead(form) {
  const phase = form.dataset.phase;
  return phase === "late" || phase === "over" || form.querySelector("[data-taken]") !== null;
}

function settle() {
  for (const form of document.querySelectorAll("form[data-ticket]")) {
    const confirm = form.querySelector("[data-confirm]");
    // A clock that was set, or a machine that slept, makes a quote seem over until the desk has told its clock again.
    if (dead(form)) {
      if (!confirm.disabled) confirm.dataset.dead = "1";
      confirm.disabled = true;
    } else if (confirm.dataset.dead) {
      delete confirm.dataset.dead;
      confirm.disabled = false;
    }
    const side = form.elements.side.value;
    if (!form.dataset.said) {
      form.dataset.said = "1";
      if (form.querySelector(`#${side}`).value) update(form, side);
    }
  }
}
document.addEventListener("phase", settle);
document.addEventListener("htmx:after:swap", settle);
document.addEventListener("news", settle);
settle();
