// Where the page's scripts begin: after its first paint, which needs none of them.

/** The first paint, or a moment where nothing is painted because nobody looks. */
const painted = new Promise((go) => {
  requestAnimationFrame(() => setTimeout(go));
  setTimeout(go, 200);
});

/** A classic script of this site, run. */
function run(address) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  });
}

await painted;
await run(new URL("../vendor/htmx.min.js", import.meta.url));
await import("./clock.js");
await import("./elements.js");
await Promise.all(
  ["swaps", "filters", "keys", "notices", "connection", "ticket", "dialog", "desk", "live"].map((name) => import(`./${name}.js`)),
);
