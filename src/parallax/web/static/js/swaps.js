// The swap style "upsert": a row that is there is morphed in place (keeping focus), a new one is put where its
// `data-order` says. A list that shows a part only (`data-window`) takes no row from beyond its end, a filtered one
// (`data-refetch`) asks the server instead, as a row may have come to belong there or not any more. One whose rows are
// counted (`data-counted`) asks for the count, and `data-limit` bounds one that grows.

const FRESH = 1200; // how long a new row stands out

let morph;

function fragmentOf(row) {
  const fragment = document.createDocumentFragment();
  fragment.append(row);
  return fragment;
}

function stale(list) {
  list.dispatchEvent(new CustomEvent("stale", { bubbles: true }));
}

function place(list, row) {
  const key = row.dataset.order;
  const down = list.dataset.sort === "down";
  const comesBefore = (other) =>
    // Of one moment, the later news is the newer row: venues write times to the second.
    down ? Number(key) >= Number(other.dataset.order) : key.localeCompare(other.dataset.order) < 0;
  const after = [...list.children].find((other) => other.dataset.order === undefined || comesBefore(other));
  if (!after || after.dataset.order === undefined) {
    const partial = list.hasAttribute("data-window");
    if (partial && list.childElementCount > 0) return null;
  }
  list.insertBefore(row, after ?? null);
  const limit = Number(list.dataset.limit ?? Infinity);
  while (list.childElementCount > limit) list.lastElementChild.remove();
  return row.isConnected ? row : null;
}

htmx.registerExtension("parallax-upsert", {
  init: (api) => {
    morph = api.morph;
  },
  handle_swap: (style, list, fragment) => {
    if (style !== "upsert") return false;
    const touched = [];
    for (const row of [...fragment.children]) {
      const known = document.getElementById(row.id);
      if (known) {
        morph(known, fragmentOf(row), false);
        touched.push(known);
        if (list.hasAttribute("data-refetch")) stale(list);
      } else if (list.hasAttribute("data-refetch")) {
        stale(list);
      } else if (row.dataset.order !== undefined) {
        const placed = place(list, row);
        if (list.hasAttribute("data-counted")) stale(list);
        if (placed) {
          placed.classList.add("fresh");
          setTimeout(() => placed.classList.remove("fresh"), FRESH);
          touched.push(placed);
        }
      }
    }
    return touched.length ? touched : [document.createComment("")];
  },
});
