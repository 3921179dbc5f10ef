// <time-left> and <local-time>: small elements that rewrite what the server wrote, for the viewer.
// One ticker serves all; only what can be seen is written to. Their children are theirs: morphs leave them alone.

import { venueNow } from "./clock.js";

const locale = navigator.languages;
const time = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "always", style: "short" });

const SOON = 60_000; // the last minute is amber
const LAST = 15_000; // and the last seconds are red

const ticking = new Set();
const deadlines = new Set();

// The text node stays: only its data changes, and no style has to ask whether an element is empty now.
function write(node, text) {
  const written = node?.firstChild;
  if (written?.nodeType === Node.TEXT_NODE && !written.nextSibling) {
    if (written.data !== text) written.data = text;
  } else if (node) {
    node.textContent = text;
  }
}

class TimeLeft extends HTMLElement {
  static observedAttributes = ["until", "safe"];

  connectedCallback() {
    this.until = Number(this.getAttribute("until"));
    this.safe = Number(this.getAttribute("safe") ?? this.until);
    this.from = Number(this.getAttribute("from") ?? -Infinity);
    this.bar = this.querySelector(".bar > i");
    this.text = this.querySelector(".left");
    deadlines.add(this);
    seen.observe(this);
    this.tick(venueNow());
  }

  disconnectedCallback() {
    deadlines.delete(this);
    ticking.delete(this);
    seen.unobserve(this);
  }

  attributeChangedCallback() {
    if (this.isConnected && this.text !== undefined) this.connectedCallback();
  }

  /** The phases with their beginnings: good, soon, last, late (too late to be safe), over. */
  get phases() {
    const { safe, until } = this;
    return [["good", -Infinity], ["soon", safe - SOON], ["last", safe - LAST], ["late", safe], ["over", until]];
  }

  /** When the next phase begins, or infinity. */
  get next() {
    const now = venueNow();
    return this.phases.find(([, begins]) => begins > now)?.[1] ?? Infinity;
  }

  /** Set the phase. The row or ticket around it shows the same. */
  phase(now) {
    const phase = this.phases.findLast(([, begins]) => now >= begins)[0];
    if (this.dataset.phase === phase) return;
    const first = this.dataset.phase === undefined;
    this.dataset.phase = phase;
    const host = this.closest("[data-until]");
    if (host) host.dataset.phase = phase;
    this.dispatchEvent(new CustomEvent("phase", { bubbles: true, detail: { phase, first } }));
  }

  tick(now) {
    this.phase(now);
    // Never more than a whole quote has: the exchange's clock may have been set, and this page not have heard of it.
    const left = Math.min(Math.max(0, this.until - now), Math.max(0, this.until - this.from));
    if (this.getAttribute("over") !== null && left === 0) return write(this.text, this.getAttribute("over"));
    const seconds = Math.floor(left / 1000);
    write(this.text, `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`);
    if (this.bar) this.bar.style.transform = `scaleX(${Math.min(1, left / (this.until - this.from)).toFixed(3)})`;
  }
}

class LocalTime extends HTMLElement {
  static observedAttributes = ["at"];

  connectedCallback() {
    this.write();
    if (this.getAttribute("form") === "ago") seen.observe(this);
  }

  disconnectedCallback() {
    seen.unobserve(this);
    ticking.delete(this);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.write();
  }

  write() {
    const at = new Date(Number(this.getAttribute("at")));
    const form = this.getAttribute("form");
    if (form === "ago") return write(this, ago(at));
    if (form === "full") return write(this, full.format(at));
    const today = Math.abs(Date.now() - at) < 64_800_000 && at.getDate() === new Date().getDate();
    write(this, today ? time.format(at) : day.format(at));
  }

  tick() {
    this.write();
  }
}

function ago(at) {
  const seconds = Math.max(0, Math.round((Date.now() - at) / 1000));
  if (seconds < 10) return "just now";
  if (seconds < 60) return relative.format(-Math.floor(seconds / 10) * 10, "second");
  if (seconds < 3600) return relative.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86_400) return relative.format(-Math.floor(seconds / 3600), "hour");
  return relative.format(-Math.floor(seconds / 86_400), "day");
}

const seen = new IntersectionObserver((entries) => {
  const now = venueNow();
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      ticking.add(target);
      target.tick(now);
    } else {
      ticking.delete(target);
    }
  }
});

// Once a second, and exactly when the next deadline of any element passes.
let timer = 0;
export function beat() {
  clearTimeout(timer);
  const now = venueNow();
  let next = now + 1000;
  for (const element of deadlines) {
    element.phase(now);
    next = Math.min(next, element.next);
  }
  if (!document.hidden) for (const element of ticking) element.tick(now);
  timer = setTimeout(beat, Math.max(20, next - now));
}

customElements.define("time-left", TimeLeft);
customElements.define("local-time", LocalTime);
document.addEventListener("visibilitychange", beat);
beat();
