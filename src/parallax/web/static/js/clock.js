// The exchange's clock, as the server last told it. Everything that counts down asks here.

let told = Number(document.body.dataset.venueNow);
let heard = 0; // the page's own start: what the server said is at least as old as the navigation

/** Milliseconds since 1970 by the exchange's clock. */
export function venueNow() {
  return told + (performance.now() - heard);
}

/** Take over what the server has just said. */
export function setVenueNow(milliseconds) {
  if (!Number.isFinite(milliseconds)) return;
  told = milliseconds;
  heard = performance.now();
}

// The page was rendered somewhere between the request and the first byte of the answer.
const [navigation] = performance.getEntriesByType("navigation");
if (navigation) heard = navigation.responseStart;
