"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const SMALL = 64; // pixels of a side up to which an image is shown with its pixels

const mean = (rows) => rows.reduce((sum, row) => sum + row.similarity, 0) / rows.length;
const chance = (voice, label) => (voice.find(([one]) => one === label) || [label, 0])[1];
const isWrong = (voice, label) => Boolean(voice) && voice[0][0] !== label;
const percent = (share) => `${Math.round(100 * share)}%`;

for (const one of data.cases) {
  one.own = one.positives.length ? mean(one.positives) : null;
  one.others = one.negatives.length ? mean(one.negatives) : null;
  one.student = one.after || one.before;
}

// What a case is sorted by: the smaller, the sooner it comes. Of equals, the order they came in.
const ORDERS = {
  drawn: ["the order they were drawn in", () => 0],
  positives: ["least similar positives", (one) => one.own ?? -2],
  negatives: ["most similar negatives", (one) => -(one.others ?? -2)],
  margin: ["negatives nearer than positives", (one) => (one.own ?? -2) - (one.others ?? -2)],
  teacher: ["teacher wrong first", (one) => doubt(one.teacher, one.label)],
};
if (data.cases.some((one) => one.student)) {
  ORDERS.student = ["student wrong first", (one) => doubt(one.student, one.label)];
}

function doubt(voice, label) { // the wrong ones first, the surest of them at the top
  if (!voice) return 2;
  return isWrong(voice, label) ? -voice[0][1] : chance(voice, label);
}

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "share") made.style.setProperty("--share", value);
    else if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// An image in a square frame, its point marked. All text of the data becomes text, never markup.
function frame(image, kind, point, tag = "button") {
  const { uri, name, width, height } = data.images[image];
  const picture = make("span", { class: "picture" },
    make("img", { src: uri, alt: name, class: Math.max(width, height) <= SMALL ? "small" : null }));
  picture.style.width = `${100 * Math.min(1, width / height)}%`;
  picture.style.height = `${100 * Math.min(1, height / width)}%`;
  if (point) {
    const mark = make("span", { class: "point" });
    mark.style.left = `${100 * point[0]}%`;
    mark.style.top = `${100 * point[1]}%`;
    picture.append(mark);
  }
  if (tag !== "button") return make(tag, { class: `frame ${kind}` }, picture);
  return make(tag, { class: `frame ${kind}`, type: "button", "aria-label": `zoom ${name}`,
    onclick: () => zoom(image, point) }, picture);
}

function zoom(image, point) {
  at("zoomed").replaceChildren(frame(image, "", point, "div"));
  at("zoomed-name").textContent = data.images[image].name;
  at("zoom").showModal();
}

// The state of the page stands in its address, so that a view can be linked and restored.
function state() {
  const read = new URLSearchParams(location.hash.slice(1));
  const label = read.get("class") ?? "";
  return {
    tab: read.get("tab") === "suspects" ? "suspects" : "contexts",
    label: data.classes[label] === undefined || label === "" ? null : Number(label),
    sort: ORDERS[read.get("sort")] ? read.get("sort") : "drawn",
    query: read.get("query") === null ? null : Number(read.get("query")),
  };
}

function go(changes) {
  const read = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") read.delete(name);
    else read.set(name, value);
  }
  history.replaceState(null, "", `#${read}`);
  render();
}

const hasClass = (rows, label) => rows.filter((row) => label === null || row.label === label);

function sorted(now) {
  const key = ORDERS[now.sort][1];
  return hasClass(data.cases, now.label).sort((a, b) => key(a) - key(b));
}

function render() {
  const now = state();
  for (const tab of ["contexts", "suspects"]) {
    at(tab).hidden = now.tab !== tab;
    at(`tab-${tab}`).setAttribute("aria-selected", now.tab === tab);
    at(`tab-${tab}`).tabIndex = now.tab === tab ? 0 : -1;
  }
  at("sorting").hidden = at("keys").hidden = now.tab !== "contexts";
  at("sort").value = now.sort;
  renderClasses(now);
  if (now.tab === "contexts") renderContexts(now);
  else renderSuspects(now);
}

function renderClasses(now) {
  const rows = now.tab === "contexts" ? data.cases : data.suspects;
  const counts = new Map();
  for (const row of rows) counts.set(row.label, (counts.get(row.label) || 0) + 1);
  const labels = [...new Set([...counts.keys(), ...(now.label === null ? [] : [now.label])])];
  at("class").replaceChildren(
    make("option", { value: "" }, `all (${rows.length})`),
    ...labels.sort((a, b) => a - b).map((label) =>
      make("option", { value: label }, `${data.classes[label]} (${counts.get(label) || 0})`)));
  at("class").value = now.label ?? "";
}

function renderContexts(now) {
  const cases = sorted(now);
  const picked = cases.find((one) => one.number === now.query) || cases[0];
  at("shown").textContent = `${cases.length} ${cases.length === 1 ? "query" : "queries"}`;
  at("queries").replaceChildren(...cases.map((one) => make("button", {
    class: "query", type: "button", "data-query": one.number, "aria-current": one === picked,
    onclick: () => go({ query: one.number }),
  }, frame(one.image, isWrong(one.student || one.teacher, one.label) ? "other" : "own", one.point, "span"),
  make("span", null,
    make("strong", null, data.classes[one.label]),
    make("span", { class: "faint" }, `own ${shown(one.own)} · others ${shown(one.others)}`),
    one.student && isWrong(one.student, one.label)
      ? make("span", { class: "faint wrong" }, `student: ${data.classes[one.student[0][0]]}`)
      : null))));
  at("case").replaceChildren(...(picked ? caseOf(picked) : [make("p", null, "No query of this class.")]));
  const current = at("queries").querySelector("[aria-current=true]");
  if (current) current.scrollIntoView({ block: "nearest", inline: "nearest" });
}

const shown = (similarity) => (similarity === null ? "–" : similarity.toFixed(3));

function caseOf(one) {
  const voices = [["Teacher", one.teacher], ["Student before", one.before], ["Student after", one.after]];
  return [
    make("div", { class: "top" }, frame(one.image, "asked", one.point), make("div", { class: "says" },
      make("h2", null, data.classes[one.label]),
      make("p", { class: "path" }, `${data.images[one.image].name} (${one.split})`),
      make("div", { class: "voices" },
        ...voices.filter(([, voice]) => voice).map(([who, voice]) => voiceOf(who, voice, one.label))))),
    ...contextOf("Positives", "nearest rows of its class", one.positives, one.label),
    ...contextOf("Negatives", "nearest rows of other classes", one.negatives, one.label),
  ];
}

function voiceOf(who, voice, label) {
  const wrong = isWrong(voice, label);
  return make("div", null,
    make("h4", null, who,
      make("span", { class: `verdict ${wrong ? "wrong" : "right"}` }, wrong ? "✗ wrong" : "✓ right")),
    ...voice.map(([one, share]) => make("div", { class: one === label ? "guess true" : "guess", share },
      make("b", null, percent(share)), make("span", { title: data.classes[one] }, data.classes[one]))));
}

function contextOf(title, what, rows, label) {
  return [
    make("h3", null, `${title} `, make("small", null, rows.length ? what : "none were found")),
    make("div", { class: "neighbours" }, ...rows.map((row) => make("figure", null,
      frame(row.image, row.label === label ? "own" : "other", row.point),
      make("figcaption", { title: row.teacher.map(([one, share]) =>
        `teacher: ${percent(share)} ${data.classes[one]}`).join("\n") },
      make("strong", null, row.similarity.toFixed(3)),
      make("span", null, data.classes[row.label]),
      make("span", { class: isWrong(row.teacher, row.label) ? "wrong" : "faint" },
        `teacher: ${percent(row.teacher[0][1])} ${data.classes[row.teacher[0][0]]}`))))),
  ];
}

function renderSuspects(now) {
  const rows = hasClass(data.suspects, now.label);
  at("shown").textContent = `${rows.length} shown of ${data.suspectsInAll}`;
  if (!rows.length) at("rows").replaceChildren(make("p", null, "No label is doubted."));
  else at("rows").replaceChildren(...rows.map((row) => make("li", { "data-image": data.images[row.image].name },
    make("span", { class: "rank" }, String(row.rank)),
    frame(row.image, "other", null),
    make("div", { class: "change" },
      make("b", null, data.classes[row.label]), make("i", null, "→"), make("b", null, data.classes[row.suggested]),
      make("div", { class: "path" }, data.images[row.image].name)),
    make("span", { class: "score", share: row.score }, percent(row.score)))));
}

function move(step) {
  const now = state(), cases = sorted(now);
  const place = Math.max(0, cases.findIndex((one) => one.number === now.query));
  const next = cases[Math.min(cases.length - 1, Math.max(0, place + step))];
  if (next) go({ query: next.number });
}

document.addEventListener("keydown", (event) => {
  if (at("zoom").open || event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  const now = state();
  if (event.target.getAttribute && event.target.getAttribute("role") === "tab"
      && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    go({ tab: now.tab === "contexts" ? "suspects" : "contexts" });
    at(`tab-${state().tab}`).focus();
  } else if (step && now.tab === "contexts") {
    event.preventDefault();
    move(step);
  }
});
at("zoom").addEventListener("click", (event) => { if (event.target === at("zoom")) at("zoom").close(); });
at("class").addEventListener("change", () => go({ class: at("class").value, query: null }));
at("sort").addEventListener("change", () => go({ sort: at("sort").value, query: null }));
for (const tab of ["contexts", "suspects"]) at(`tab-${tab}`).addEventListener("click", () => go({ tab }));
window.addEventListener("hashchange", render);

document.title = `${data.title}: mmickd gallery`;
at("title").textContent = data.title;
at("facts").textContent = data.facts.join(" · ");
at("tab-contexts").textContent = `Contexts (${data.cases.length})`;
at("tab-suspects").textContent = `Suspicious labels (${data.suspectsInAll})`;
at("about-suspects").textContent = data.aboutSuspects;
at("sort").replaceChildren(...Object.entries(ORDERS).map(([value, [text]]) => make("option", { value }, text)));
render();
