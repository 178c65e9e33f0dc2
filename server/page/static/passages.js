// The passages and who reads whom, and the list that edits them. links[target] holds the ids that the target reads.

import { $, el } from "./dom.js";

const place = "graphkv-passages";

export const state = { passages: [], changed: () => {} };

let next = 1;

export function fresh(title = "", text = "") {
  while (state.passages.some((p) => p.id === `p${next}`)) next++;
  return { id: `p${next++}`, title, text, links: [] };
}

export function load(passages) {
  const ids = new Set(passages.map((p) => p.id));
  state.passages = passages.map((p) => ({
    id: p.id, title: p.title ?? "", text: p.text ?? "",
    links: [...new Set(p.links ?? [])].filter((l) => ids.has(l) && l !== p.id),
  }));
  draw();
}

// restore brings back what the last visit left.
export function restore() {
  try {
    const saved = JSON.parse(localStorage.getItem(place) ?? "null");
    if (Array.isArray(saved) && saved.length) {
      load(saved);
      return true;
    }
  } catch { /* what cannot be read is forgotten */ }
  return false;
}

export function changed() {
  localStorage.setItem(place, JSON.stringify(state.passages));
  state.changed();
}

export function name(p) {
  return p.title || p.text.slice(0, 24) || p.id;
}

export function link(source, target) {
  const p = state.passages.find((x) => x.id === target);
  if (!p || source === target || p.links.includes(source)) return;
  p.links.push(source);
  draw();
}

export function unlink(source, target) {
  const p = state.passages.find((x) => x.id === target);
  p.links = p.links.filter((l) => l !== source);
  draw();
}

export function linkAll(read) {
  state.passages.forEach((p, i) => {
    p.links = state.passages.filter((q, j) => i !== j && read(j, i)).map((q) => q.id);
  });
  draw();
}

// parse reads pasted passages: a JSON list, or paragraphs whose first line may be a title.
export function parse(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("[")) {
    const list = JSON.parse(trimmed);
    const ids = new Map();
    const made = list.map((d) => {
      if (typeof d.text !== "string") throw new Error("every passage needs a text");
      const p = fresh(d.title ?? "", d.text);
      ids.set(d.id ?? p.id, p.id);
      return { ...p, links: d.links ?? [] };
    });
    return made.map((p) => ({ ...p, links: p.links.map((l) => ids.get(l)).filter(Boolean) }));
  }
  return trimmed.split(/\n\s*\n/).filter((b) => b.trim()).map((block) => {
    const lines = block.trim().split("\n");
    const title = lines[0].startsWith("# ") ? lines.shift().slice(2) : "";
    return fresh(title, lines.join("\n"));
  });
}

export function draw() {
  $("passages").replaceChildren(...state.passages.map((p, i) => item(p, i)));
  changed();
}

function item(p, i) {
  const label = `Passage ${i + 1}`;
  const reads = el("details", {},
    el("summary", {}, `reads ${p.links.length ? p.links.length : "none"} of the others`),
    ...state.passages.filter((q) => q !== p).map((q) => el("label", {},
      el("input", {
        type: "checkbox", checked: p.links.includes(q.id),
        onchange: (e) => {
          p.links = e.target.checked ? [...p.links, q.id] : p.links.filter((l) => l !== q.id);
          reads.firstChild.textContent = `reads ${p.links.length ? p.links.length : "none"} of the others`;
          changed();
        },
      }), " ", name(q))));
  return el("li", { "data-id": p.id },
    el("div", { class: "head" },
      el("span", { class: "number", "aria-hidden": "true" }, `${i + 1}`),
      el("input", { "aria-label": `${label}: title`, placeholder: "Title", value: p.title, oninput: (e) => { p.title = e.target.value; changed(); } }),
      el("button", {
        type: "button", "aria-label": `Remove ${label}`, title: "Remove",
        onclick: () => load(state.passages.filter((q) => q !== p)),
      }, "×")),
    el("textarea", { "aria-label": `${label}: text`, rows: "3", value: p.text, oninput: (e) => { p.text = e.target.value; changed(); } }),
    reads);
}
