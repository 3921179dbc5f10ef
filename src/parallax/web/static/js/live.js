// The page's event stream: opened when the page is looked at, closed when it is not, and never given up.
//
// A browser opens six HTTP/1.1 connections to one host. Four of them may be streams, shared out by locks among all
// windows of this browser; a window that gets none asks for its news every two seconds instead.

import { setVenueNow } from "./clock.js";
import { beat } from "./elements.js";
import { refetch } from "./filters.js";

const STREAMS = 4;
const POLL = 2000;
const SILENCE = 50_000; // the server beats every 20 s
const FIRST_DELAY = 250;
const LONGEST_DELAY = 4000;
const MEND = 2000; // between a sign of life and another look at a list that could not be read

const page = document.getElementById("page");
const sign = document.getElementById("connection");
const names = { live: "Live", connecting: "Connecting", lost: "Reconnecting", paused: "Paused" };

let source = null;
let release = null; // lets go of the stream's lock
let timer = 0;
let watchdog = 0;
let failures = 0;
let mending = 0;
let position = page.dataset.at;
let applied = Promise.resolve();
let outdated = false; // whether the page is about to be fetched again

function show(state) {
  if (sign.dataset.state === state) return;
  sign.dataset.state = state;
  sign.querySelector(".words").textContent = names[state];
}

function stop() {
  clearTimeout(timer);
  clearTimeout(watchdog);
  source?.close();
  source = null;
  release?.();
  release = null;
}

function later(delay) {
  stop();
  timer = setTimeout(open, delay * (0.8 + Math.random() * 0.4));
}

function lost() {
  const delay = Math.min(FIRST_DELAY * 2 ** failures, LONGEST_DELAY);
  failures += 1;
  if (failures > 1) show("lost");
  later(delay);
}

function heard() {
  failures = 0;
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, SILENCE);
  mend();
}

/** A note that a list could not be read goes when it can: the page looks again until then. */
function mend() {
  if (mending || !document.querySelector(".age.stale")) return;
  mending = setTimeout(() => {
    mending = 0;
    applied = applied.then(catchUp).catch(() => {});
  }, MEND);
}

/** A lock for one of the streams, held until `release` is called; false when all are taken. */
async function takeSlot() {
  if (!navigator.locks) return true; // only on pages that are neither local nor encrypted
  for (let slot = 0; slot < STREAMS; slot += 1) {
    const taken = await new Promise((answer) => {
      navigator.locks.request(`parallax-stream-${slot}`, { ifAvailable: true }, (lock) => {
        if (!lock) return answer(false);
        return new Promise((done) => {
          release = done;
          answer(true);
        });
      });
    });
    if (taken) return true;
  }
  return false;
}

async function open() {
  stop();
  if (document.hidden) return show("paused");
  const streaming = await takeSlot();
  if (document.hidden || source) return stop();
  const address = new URL(`/live?${page.dataset.live}`, location.href);
  address.searchParams.set("after", position);
  address.searchParams.set("frame", document.getElementById("frame-digest")?.dataset.digest ?? "");
  if (!streaming) address.searchParams.set("wait", "0");
  source = new EventSource(address);
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, SILENCE);
  source.addEventListener("hello", (event) => {
    const [now, build] = event.data.split(" ");
    heard();
    setVenueNow(Number(now));
    beat();
    show("live");
    if (build !== document.body.dataset.build && !busy()) location.reload();
  });
  source.addEventListener("beat", (event) => {
    heard();
    setVenueNow(Number(event.data));
  });
  source.addEventListener("refresh", (event) => {
    heard();
    position = event.lastEventId || position;
    if (outdated) return; // the fetch that is due will bring this too
    outdated = true;
    applied = applied.then(catchUp).catch(() => {});
  });
  source.addEventListener("message", (event) => {
    heard();
    if (event.lastEventId) position = event.lastEventId;
    applied = applied.then(() => apply(event.data)).catch(() => {});
  });
  source.addEventListener("error", () => {
    if (!streaming && source?.readyState === EventSource.CONNECTING && failures === 0) return later(POLL);
    lost();
  });
}

/** Fetch what this page shows again, and what has become of the quote of an open ticket; what is typed there stays. */
async function catchUp() {
  outdated = false;
  await refetch(location.href, "#page");
  for (const slot of document.querySelectorAll("#ticket .fate-slot")) await refetch(location.href, `#${slot.id}`);
}

/** Whether a reload would take something from under a person's hands. */
function busy() {
  return document.querySelector("dialog[open]") !== null || document.activeElement?.matches("input, textarea");
}

async function apply(html) {
  await htmx.swap({ text: html, sourceElement: page, target: page, swap: "none swapEmpty:false" });
  document.dispatchEvent(new CustomEvent("news"));
}

document.addEventListener("visibilitychange", () => (document.hidden ? (stop(), show("paused")) : open()));
window.addEventListener("online", open);
window.addEventListener("offline", lost);
window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", (event) => event.persisted && open());

// Wait for the first rows to be painted; news can come a moment later.
requestAnimationFrame(() => setTimeout(open, 0));
