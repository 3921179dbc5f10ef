// The page's event stream: opened when the page is looked at, closed when it is not, and never given up.
//
// A browser opens six HTTP/1.1 connections to one host. Four of them may be streams, shared out by locks among all
// windows of this browser; a window that gets none asks for its news every two seconds instead.

import { mark, setVenueNow, since } from "./clock.js";
import { hear, show, silent, SILENCE } from "./connection.js";
import { beat } from "./elements.js";
import { refetch } from "./filters.js";

const STREAMS = 4;
const POLL = 2000;
const FIRST_DELAY = 250;
const LONGEST_DELAY = 4000;
const RETURN = 500; // what a page that comes back from behind others has to hear from its desk
const MEND = 2000; // between a sign of life and another look at a list that could not be read

const page = document.getElementById("page");

let source = null;
let release = null; // lets go of the stream's lock
let timer = 0;
let opened = mark();
let failures = 0;
let mending = 0;
let position = page.dataset.at;
let applied = Promise.resolve();
let outdated = false; // whether the page is about to be fetched again
let replaced = false; // whether the desk has other pages now than this one

function stop() {
  clearTimeout(timer);
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
  if (failures > 1 || silent()) show("lost");
  later(delay);
}

function heard() {
  failures = 0;
  hear();
  mend();
}

// A network that delivers nothing reports no error, and a machine that slept hears of nothing: the silence counts.
setInterval(() => {
  if (source && silent() && since(opened) > SILENCE) lost();
}, 1000);

/** What was missed could not be fetched: the next stream has to tell it again. */
function behind() {
  position = "";
  failures += 1;
  lost();
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
  opened = mark();
  if (silent()) setTimeout(() => silent() && show("lost"), RETURN);
  source.addEventListener("hello", (event) => {
    const [now, build] = event.data.split(" ");
    heard();
    setVenueNow(Number(now));
    beat();
    replaced = build !== document.body.dataset.build;
  });
  source.addEventListener("beat", (event) => {
    heard();
    setVenueNow(Number(event.data));
    beat();
    if (replaced && !busy()) return location.reload();
    // All that was missed has been told, and stands in the page once that has been put in place.
    const stream = source;
    applied = applied.then(() => stream === source && show("live"));
  });
  source.addEventListener("refresh", (event) => {
    heard();
    position = event.lastEventId || position;
    if (outdated) return; // the fetch that is due will bring this too
    outdated = true;
    applied = applied.then(catchUp).catch(behind);
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
  await refetch(location.href, "#page", { whatever: true });
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
