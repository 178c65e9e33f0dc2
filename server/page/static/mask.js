// The block mask of a plan.

import { $, svg } from "./dom.js";

// draw draws blocks [row, column, kind…] of a mask with the nodes' first tokens along its sides.
export function draw(mask, nodes) {
  const n = mask.side, left = 130, size = Math.max(320, n * 4), cell = size / n;
  const root = svg("svg", { viewBox: `0 0 ${left + size + 4} ${size + 4}`, "aria-hidden": "true" });
  const paths = { full: "", partial: "" };
  for (const [row, col, kind] of mask.blocks) {
    paths[kind] += `M${left + col * cell} ${row * cell}h${cell}v${cell}h${-cell}z`;
  }
  root.append(svg("path", { class: "full", d: paths.full }), svg("path", { class: "partial", d: paths.partial }));
  const scale = size / mask.tokens, font = Math.min(12, size / 28);
  let at = 0, labelled = -Infinity;
  for (const node of nodes) {
    const y = at * scale;
    if (at > 0) root.append(svg("path", { class: "split", d: `M${left} ${y}h${size}M${left + y} 0v${size}` }));
    const middle = (at + node.tokens / 2) * scale;
    if (middle - labelled >= font) {
      root.append(svg("text", { x: left - 6, y: middle + font / 3, "text-anchor": "end", "font-size": font }, node.label.length > 22 ? `${node.label.slice(0, 21)}…` : node.label));
      labelled = middle;
    }
    at += node.tokens;
  }
  root.append(svg("rect", { class: "frame", x: left, y: 0, width: size, height: size }));
  const full = mask.blocks.filter((b) => b[2] === "full").length;
  $("mask").setAttribute("aria-label",
    `Block mask: ${mask.tokens} tokens in ${nodes.length} nodes, ${n} by ${n} blocks of ${mask.block}; ${full} full, ${mask.blocks.length - full} partial, ` +
    `${n * n - mask.blocks.length} empty; ${(100 * mask.density).toFixed(1)} % of all pairs of tokens are attended to`);
  $("mask").replaceChildren(root);
}
