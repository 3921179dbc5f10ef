// The exchange's clock, as the server last told it. Everything that counts down asks here.

/** Milliseconds since a mark. Some machines stop the one clock while they sleep, and people may set the other: the
 *  longer of the two is taken, so that nothing seems younger than it is. */
export function since({ ticks, wall }) {
  return Math.max(performance.now() - ticks, Date.now() - wall);
}

/** A mark of this moment, or of one so many milliseconds ago. */
export function mark(ago = 0) {
  return { ticks: performance.now() - ago, wall: Date.now() - ago };
}

// The page was rendered somewhere between the request and the first byte of the answer.
const [navigation] = performance.getEntriesByType("navigation");
export const loaded = mark(performance.now() - (navigation?.responseStart ?? 0));
let heard = loaded;
let told = Number(document.body.dataset.venueNow);

/** Milliseconds since 1970 by the exchange's clock. */
export function venueNow() {
  return told + since(heard);
}

/** Take over what the server has just said. */
export function setVenueNow(milliseconds) {
  if (!Number.isFinite(milliseconds)) return;
  told = milliseconds;
  heard = mark();
}
