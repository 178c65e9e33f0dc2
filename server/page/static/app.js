// The page: passages and edges on one side, questions and answers on the other.

import * as api from "./api.js";
import { $, el } from "./dom.js";
import * as graph from "./graph.js";
import * as mask from "./mask.js";
import * as passages from "./passages.js";
import { examples } from "./examples.js";

let running = null; // AbortController of the question under way
let results = []; // of the last question
let selected = null;

// ---- Settings

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("graphkv-theme", theme);
  $("theme").setAttribute("aria-pressed", theme === "dark");
}
setTheme(localStorage.getItem("graphkv-theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

let model = "", retry;
async function connect() {
  clearTimeout(retry);
  try {
    const [list, kinds] = [await api.models(), await api.strategies()];
    model = list[0].id;
    $("model").textContent = `${model}, ready`;
    $("key-form").hidden = true;
    const before = chosenStrategies();
    $("strategies").replaceChildren(...kinds.map((s) => el("label", { title: s.about },
      el("input", { type: "checkbox", name: "strategy", value: s.id, checked: before.length ? before.includes(s.id) : ["sequential", "graphkv"].includes(s.id) }), " ", s.id)));
  } catch (e) {
    const keyless = e.status === 401;
    $("model").textContent = !keyless ? `not connected: ${e.message}` : api.hasKey() ? "this server does not know the API key" : "this server wants an API key";
    $("key-form").hidden = !keyless;
    if (!keyless) retry = setTimeout(connect, 3000);
  }
}
$("key").addEventListener("change", (e) => { api.setKey(e.target.value.trim()); connect(); });
$("key-form").addEventListener("submit", (e) => e.preventDefault()); // Enter is a change too

// ---- Passages

passages.state.changed = () => {
  selected = null;
  graph.show(null);
};
$("add").addEventListener("click", () => {
  passages.load([...passages.state.passages, passages.fresh()]);
  $("passages").lastElementChild.querySelector("input").focus();
});
$("paste").addEventListener("click", () => {
  const open = $("paste-box").hidden;
  $("paste-box").hidden = !open;
  $("paste").setAttribute("aria-expanded", open);
  if (open) $("paste-text").focus();
});
$("paste-do").addEventListener("click", () => {
  try {
    passages.load([...passages.state.passages, ...passages.parse($("paste-text").value)]);
    $("paste-text").value = "";
    $("paste").click();
  } catch (e) {
    say(`These passages cannot be read: ${e.message}`, true);
  }
});
$("edges-all").addEventListener("click", () => passages.linkAll(() => true));
$("edges-last").addEventListener("click", () => passages.linkAll((source, target) => target === passages.state.passages.length - 1));
$("edges-none").addEventListener("click", () => passages.linkAll(() => false));
for (const x of examples) $("examples").append(el("option", { value: x.name }, x.name));
$("examples").addEventListener("change", (e) => {
  const x = examples.find((y) => y.name === e.target.value);
  if (!x) return;
  passages.load(x.passages);
  $("question").value = x.question;
  e.target.value = "";
});

// ---- Asking

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

function chosenStrategies() {
  return [...document.querySelectorAll("input[name=strategy]:checked")].map((i) => i.value);
}

// settings are what a strategy needs to be told.
function settings(strategy) {
  const list = passages.state.passages;
  switch (strategy) {
    case "graphkv-topk": return { strategy, top_k: 3 };
    case "ego": return { strategy, center: list.reduce((a, b) => (b.links.length > a.links.length ? b : a), { id: "", links: [] }).id || list[0]?.id };
    case "dag": return circular() ? { strategy, rounds: 1, visible_rounds: [0, 1] } : { strategy };
  }
  return { strategy };
}

// circular reports whether passages read each other in a circle.
function circular() {
  const rest = new Map(passages.state.passages.map((p) => [p.id, new Set(p.links)]));
  for (;;) {
    const ready = [...rest].filter(([, links]) => links.size === 0).map(([id]) => id);
    if (!ready.length) return rest.size > 0;
    for (const id of ready) {
      rest.delete(id);
      for (const links of rest.values()) links.delete(id);
    }
  }
}

function body(strategy) {
  const list = passages.state.passages;
  return {
    model,
    messages: [{ role: "user", content: $("question").value }],
    documents: list.filter((p) => p.text.trim()).map((p) => ({ id: p.id, title: p.title, text: p.text, links: p.links })),
    graphkv: settings(strategy),
    max_tokens: Number($("max-tokens").value),
    temperature: Number($("temperature").value),
  };
}

$("ask").addEventListener("submit", async (e) => {
  e.preventDefault();
  if (running) return;
  const chosen = chosenStrategies();
  if (!chosen.length) return say("Choose at least one strategy.", true);
  running = new AbortController();
  $("go").disabled = true;
  $("stop").disabled = false;
  $("answers").setAttribute("aria-busy", "true");
  results = chosen.map((strategy) => ({ strategy, text: "", state: "waiting" }));
  for (const r of results) card(r);
  $("answers").replaceChildren(...results.map((r) => r.card));
  // One after the other, so that their times can be compared.
  for (const r of results) {
    if (running.signal.aborted) break;
    say(`Asking with ${r.strategy}…`);
    await ask(r, running.signal);
  }
  const failed = results.filter((r) => r.state === "failed");
  if (running.signal.aborted) say("Stopped.");
  else if (failed.length) say(`${failed.length} of ${results.length} failed: ${failed[0].error}`, true);
  else say("Done.");
  running = null;
  $("go").disabled = false;
  $("stop").disabled = true;
  $("answers").setAttribute("aria-busy", "false");
});
$("stop").addEventListener("click", () => running?.abort());
$("question").addEventListener("keydown", (e) => {
  if (e.key === "Enter" && !e.shiftKey) {
    e.preventDefault();
    $("ask").requestSubmit();
  }
});

async function ask(r, signal) {
  r.state = "busy";
  const began = performance.now();
  update(r);
  try {
    for await (const event of api.trace(body(r.strategy), signal)) {
      switch (event.event) {
        case "plan": r.plan = event; break;
        case "mask": r.mask = event; break;
        case "prepared": r.nodes = event.nodes; break;
        case "text":
          r.seen ??= performance.now() - began;
          r.text += event.text;
          break;
        case "done": r.done = event; r.state = "done"; break;
        case "read": r.readers = event.readers; break;
      }
      update(r);
      if (event.event === "done" || event.event === "read" || event.event === "prepared" || event.event === "mask") select(r);
    }
  } catch (e) {
    r.state = "failed";
    r.error = signal.aborted ? "stopped" : e.message;
    if (e.status === 401) connect();
  }
  update(r);
}

// ---- Answers

function card(r) {
  r.textNode = el("p", { class: "text" });
  r.figures = el("dl");
  r.showButton = el("button", { type: "button", onclick: () => select(r), "aria-pressed": "false" }, "Show in the graph");
  r.card = el("article", { class: "answer", "data-strategy": r.strategy, "aria-label": `Answer with ${r.strategy}` },
    el("h3", {}, r.strategy, r.showButton), r.textNode, r.figures);
}

function update(r) {
  r.card.classList.toggle("busy", r.state === "busy");
  r.card.dataset.state = r.state;
  r.textNode.textContent = r.state === "failed" ? `${r.text}\n${r.error}` : r.text;
  r.textNode.classList.toggle("error", r.state === "failed");
  for (const other of results) figures(other); // meters are relative to the slowest
}

function meter(parts, total) {
  return el("div", { class: "meter", "aria-hidden": "true" }, ...parts.map(([kind, n]) => {
    const span = el("span", { class: kind });
    span.style.width = `${(100 * n) / (total || 1)}%`;
    return span;
  }));
}

function figures(r) {
  if (!r.done) return;
  const u = r.done.usage, t = r.done.timings_ms;
  const most = Math.max(...results.map((x) => x.done?.usage.prompt_tokens ?? 0));
  const slowest = Math.max(...results.map((x) => x.done?.timings_ms.first_token ?? 0));
  const memory = u.cached_tokens - u.fetched_tokens;
  const rate = t.decode > 0 ? ((u.completion_tokens - 1) / t.decode) * 1000 : 0;
  const row = (label, bar, value, key) => [el("dt", {}, label), bar ?? el("span"), el("dd", { "data-figure": key }, value)];
  r.figures.replaceChildren(
    ...row("First token", meter([["time", t.first_token]], slowest), `${t.first_token.toFixed(0)} ms`, "ttft"),
    ...row("Encoded", meter([["encoded", u.encoded_tokens]], most), `${u.encoded_tokens} tokens`, "encoded"),
    ...row("Reused", meter([["cached", memory], ["fetched", u.fetched_tokens]], most), `${u.cached_tokens} tokens`, "reused"),
    ...row("Answer", null, `${u.completion_tokens} tokens${rate ? `, ${rate.toFixed(0)}/s` : ""}`, "answer"));
}

// select shows in the graph, the mask and the table what an answer did.
function select(r) {
  selected = r;
  for (const x of results) {
    x.card.classList.toggle("shown", x === r);
    x.showButton.setAttribute("aria-pressed", x === r);
  }
  const nodes = r.plan?.nodes ?? [];
  const segmentOf = new Map(nodes.map((n) => [n.id, n.segment]));
  const words = { encoded: "encoded", cached: "reused", fetched: "fetched" };
  const origins = {};
  for (const n of r.nodes ?? []) {
    const s = segmentOf.get(n.id);
    if (!s) continue;
    const o = (origins[s] ??= { encoded: 0, cached: 0, fetched: 0 });
    o[n.origin] += n.tokens;
  }
  for (const [s, o] of Object.entries(origins)) {
    const kind = o.encoded ? "encoded" : o.fetched ? "fetched" : "cached";
    origins[s] = { kind, text: Object.keys(words).filter((k) => o[k]).map((k) => `${o[k]} ${words[k]}`).join(", ") };
  }
  graph.show({ origins, reads: reads(r, segmentOf) });
  if (r.mask) {
    const title = new Map(passages.state.passages.map((p) => [p.id, passages.name(p)]));
    mask.draw(r.mask, r.mask.nodes.map((n) => ({ tokens: n.tokens, label: n.segment ? title.get(n.segment) + (n.round ? `, round ${n.round}` : "") : n.id })));
  }
  table(r, segmentOf);
}

// reads sums masses by passage: what a passage's last node read of others, and what the answer read ("").
function reads(r, segmentOf) {
  const sums = new Map();
  const last = new Map(); // node by passage
  for (const x of r.readers ?? []) if (segmentOf.get(x.id)) last.set(segmentOf.get(x.id), x.id);
  for (const x of r.readers ?? []) {
    const to = x.id === "answer" ? "" : segmentOf.get(x.id);
    if (to === undefined || (to && last.get(to) !== x.id)) continue;
    for (const e of x.reads) {
      const from = segmentOf.get(e.id);
      if (!from || from === to) continue;
      sums.set(`${from} ${to}`, (sums.get(`${from} ${to}`) ?? 0) + e.mass);
    }
  }
  return [...sums].map(([k, mass]) => ({ from: k.split(" ")[0], to: k.split(" ")[1], mass }));
}

function table(r, segmentOf) {
  if (!r.readers) return;
  const title = new Map(passages.state.passages.map((p) => [p.id, passages.name(p)]));
  const label = (id) => (segmentOf.get(id) ? title.get(segmentOf.get(id)) : id);
  const rows = [];
  for (const x of r.readers) {
    for (const e of [...x.reads].sort((a, b) => b.mass - a.mass)) {
      rows.push(el("tr", {}, el("td", {}, label(x.id)), el("td", {}, e.id === x.id ? "itself" : label(e.id)), el("td", { class: "number" }, `${(100 * e.mass).toFixed(1)} %`)));
    }
  }
  $("mass").replaceChildren(el("table", {},
    el("caption", { class: "quiet" }, "Share of a reader's attention, mean over layers, heads and tokens"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "reader"), el("th", { scope: "col" }, "reads"), el("th", { scope: "col", class: "number" }, "attention"))),
    el("tbody", {}, ...rows)));
}

if (!passages.restore()) {
  passages.load(examples[0].passages);
}
$("question").value ||= examples[0].question;
connect();
