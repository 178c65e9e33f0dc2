// The graph of passages: drawn in layers, edited by dragging or by keyboard, and coloured by what an answer did.

import { $, svg } from "./dom.js";
import { link, name, state, unlink } from "./passages.js";

const width = 150, height = 40, gapX = 60, gapY = 18;

let shown = null; // what an answer did: { origins: {id: …}, reads: [{from, to, mass}] }
let chosen = null; // the passage that an edge is to start at

export function show(result) {
  shown = result;
  draw();
}

// layers puts every passage one column right of what it reads, as far as there is no circle.
function layers() {
  const depth = new Map(state.passages.map((p) => [p.id, 0]));
  for (let round = 0; round < state.passages.length; round++) {
    let moved = false;
    for (const p of state.passages) {
      for (const s of p.links) {
        const back = state.passages.find((q) => q.id === s).links.includes(p.id);
        if (!back && depth.get(p.id) <= depth.get(s) && depth.get(s) + 1 < state.passages.length) {
          depth.set(p.id, depth.get(s) + 1);
          moved = true;
        }
      }
    }
    if (!moved) break;
  }
  return depth;
}

function positions() {
  const depth = layers();
  const rows = new Map();
  const at = new Map();
  let columns = 0, most = 0;
  for (const p of state.passages) {
    const d = depth.get(p.id);
    const row = rows.get(d) ?? 0;
    rows.set(d, row + 1);
    columns = Math.max(columns, d + 1);
    most = Math.max(most, row + 1);
    at.set(p.id, { column: d, row });
  }
  for (const place of at.values()) {
    // A lone column bends, so that edges within it can be told apart.
    const bend = columns === 1 ? (place.row % 2) * (width + gapX) : 0;
    place.x = 10 + place.column * (width + gapX) + bend;
    place.y = 10 + (place.row + (most - rows.get(place.column)) / 2) * (height + gapY);
  }
  const all = Math.max(columns, columns === 1 && most > 1 ? 2 : 1);
  return { at, w: all * (width + gapX) - gapX + 20 + width + gapX, h: Math.max(1, most) * (height + gapY) - gapY + 20 };
}

function curve(a, b) {
  const x1 = a.x + width, y1 = a.y + height / 2, x2 = b.x, y2 = b.y + height / 2;
  if (x2 > x1) return `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;
  const out = 30 + Math.abs(y2 - y1) / 6;
  if (Math.abs(a.x - b.x) < 1) return `M${x1} ${y1}C${x1 + out} ${y1} ${x1 + out} ${y2} ${x1} ${y2}`;
  return `M${a.x} ${y1}C${a.x - out} ${y1} ${b.x + width + out} ${y2} ${b.x + width} ${y2}`;
}

export function draw() {
  const { at, w, h } = positions();
  const query = { x: w - width - 10, y: h / 2 - height / 2 };
  const root = svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "group", "aria-label": "Graph of passages" },
    svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" },
      svg("path", { d: "M0 0 8 4 0 8z", class: "arrow" }))));
  const mass = (from, to) => shown?.reads.find((r) => r.from === from && r.to === to)?.mass;
  const most = Math.max(...(shown?.reads.map((r) => r.mass) ?? []), 1e-9);
  const stroke = (m) => (m === undefined ? 1.5 : 1 + (9 * m) / most);
  for (const p of state.passages) {
    for (const s of p.links) {
      const m = mass(s, p.id);
      const text = `${name(p)} reads ${name(state.passages.find((q) => q.id === s))}` + (m === undefined ? "" : `: ${(100 * m).toFixed(1)} % of its attention`);
      root.append(svg("path", {
        class: m === undefined ? "edge" : "edge mass", d: curve(at.get(s), at.get(p.id)), "stroke-width": stroke(m), "marker-end": "url(#tip)",
        tabindex: 0, role: "button", "aria-label": `${text}. Press Delete to remove.`, "data-edge": `${s} ${p.id}`,
        onkeydown: (e) => { if (e.key === "Delete" || e.key === "Backspace") { e.preventDefault(); unlink(s, p.id); } },
        onclick: (e) => e.currentTarget.focus(),
      }, svg("title", {}, text)));
    }
  }
  for (const r of shown?.reads ?? []) {
    if (r.to !== "" || !at.has(r.from)) continue;
    const p = state.passages.find((q) => q.id === r.from);
    root.append(svg("path", { class: "edge mass reads", d: curve(at.get(r.from), query), "stroke-width": stroke(r.mass) },
      svg("title", {}, `The answer reads ${name(p)}: ${(100 * r.mass).toFixed(1)} % of its attention`)));
  }
  if (shown) root.append(box({ id: "", label: "Question, answer", sub: "" }, query, "node"));
  for (const p of state.passages) {
    const origin = shown?.origins[p.id];
    const g = box({ id: p.id, label: name(p), sub: origin ? origin.text : "" }, at.get(p.id), `node ${origin?.kind ?? ""} ${chosen === p.id ? "chosen" : ""}`);
    g.setAttribute("tabindex", 0);
    g.setAttribute("role", "button");
    g.setAttribute("aria-label", `${name(p)}${origin ? `, ${origin.text}` : ""}. ` +
      (chosen && chosen !== p.id ? "Press Enter to let it read the chosen passage." : "Press Enter to choose it as a source."));
    g.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); choose(p.id); } else if (e.key === "Escape") choose(null); });
    g.addEventListener("pointerdown", (e) => drag(e, root, p.id, at));
    root.append(g);
  }
  const { node, edge } = document.activeElement?.closest?.("#graph [data-node], #graph [data-edge]")?.dataset ?? {};
  $("graph").replaceChildren(root);
  const again = (name, value) => root.querySelector(`[data-${name}="${CSS.escape(value)}"]`);
  if (node) again("node", node)?.focus();
  else if (edge) (again("edge", edge) ?? again("node", edge.split(" ")[1]))?.focus(); // an edge that is gone leaves it to its reader
}

function box({ id, label, sub }, at, kind) {
  const short = label.length > 20 ? `${label.slice(0, 19)}…` : label;
  return svg("g", { class: kind, "data-node": id, transform: `translate(${at.x} ${at.y})` },
    svg("title", {}, label),
    svg("rect", { width, height, rx: 7 }),
    svg("text", { x: 10, y: sub ? 17 : 25 }, short),
    sub ? svg("text", { x: 10, y: 32, class: "sub" }, sub) : null);
}

// choose starts an edge at a passage, or ends the one that was started at another.
function choose(id) {
  const source = chosen;
  chosen = source === null && id !== null ? id : null;
  if (source !== null && id !== null && source !== id) link(source, id);
  else draw();
}

// drag draws an edge from the passage under the pointer to the one where it is let go.
function drag(e, root, id, at) {
  const point = (ev) => new DOMPoint(ev.clientX, ev.clientY).matrixTransform(root.getScreenCTM().inverse());
  const from = at.get(id);
  const line = svg("line", { class: "draft", x1: from.x + width, y1: from.y + height / 2, x2: from.x + width, y2: from.y + height / 2 });
  let moved = false;
  const move = (ev) => {
    const p = point(ev);
    if (!moved) root.append(line);
    moved = true;
    line.setAttribute("x2", p.x);
    line.setAttribute("y2", p.y);
  };
  const up = (ev) => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", up);
    line.remove();
    if (!moved) return choose(id);
    const p = point(ev);
    for (const [other, b] of at) {
      if (other !== id && p.x >= b.x && p.x <= b.x + width && p.y >= b.y && p.y <= b.y + height) link(id, other);
    }
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", up);
  e.preventDefault();
  e.currentTarget.focus();
}
