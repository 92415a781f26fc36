"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const SMALL = 64; // pixels of a side up to which an image is shown with its pixels

const mean = (rows) => rows.reduce((sum, row) => sum + row.similarity, 0) / rows.length;
const probability = (predictions, label) => (predictions.find(([other]) => other === label) || [label, 0])[1];
const isWrong = (predictions, label) => Boolean(predictions) && predictions[0][0] !== label;
const percent = (share) => `${Math.round(100 * share)}%`;

for (const example of data.examples) {
  example.own = example.positives.length ? mean(example.positives) : null;
  example.others = example.negatives.length ? mean(example.negatives) : null;
  example.student = example.after || example.before;
}

// Sort keys of the examples, smallest first. Examples with equal keys keep their order.
const ORDERS = {
  drawn: ["the order they were drawn in", () => 0],
  positives: ["least similar positives", (example) => example.own ?? -2],
  negatives: ["most similar negatives", (example) => -(example.others ?? -2)],
  margin: ["negatives nearer than positives", (example) => (example.own ?? -2) - (example.others ?? -2)],
  teacher: ["teacher wrong first", (example) => correctness(example.teacher, example.label)],
};
if (data.examples.some((example) => example.student)) {
  ORDERS.student = ["student wrong first", (example) => correctness(example.student, example.label)];
}

function correctness(predictions, label) { // confident errors have the smallest values
  if (!predictions) return 2;
  return isWrong(predictions, label) ? -predictions[0][1] : probability(predictions, label);
}

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "share") element.style.setProperty("--share", value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Return an image in a square frame, with its point marked. Text of the data is never parsed as markup.
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

// The state of the page is in its address, so that a view can be linked and restored.
function state() {
  const read = new URLSearchParams(location.hash.slice(1));
  const label = read.get("class") ?? "";
  return {
    tab: read.get("tab") === "label-issues" ? "label-issues" : "contexts",
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
  return hasClass(data.examples, now.label).sort((a, b) => key(a) - key(b));
}

function render() {
  const now = state();
  for (const tab of ["contexts", "label-issues"]) {
    at(tab).hidden = now.tab !== tab;
    at(`tab-${tab}`).setAttribute("aria-selected", now.tab === tab);
    at(`tab-${tab}`).tabIndex = now.tab === tab ? 0 : -1;
  }
  at("sorting").hidden = at("keys").hidden = now.tab !== "contexts";
  at("sort").value = now.sort;
  renderClasses(now);
  if (now.tab === "contexts") renderContexts(now);
  else renderLabelIssues(now);
}

function renderClasses(now) {
  const rows = now.tab === "contexts" ? data.examples : data.labelIssues;
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
  const examples = sorted(now);
  const selected = examples.find((example) => example.number === now.query) || examples[0];
  at("shown").textContent = `${examples.length} ${examples.length === 1 ? "query" : "queries"}`;
  at("queries").replaceChildren(...examples.map((example) => queryButton(example, example === selected)));
  at("example").replaceChildren(
    ...(selected ? exampleParts(selected) : [make("p", null, "No query of this class.")]));
  const current = at("queries").querySelector("[aria-current=true]");
  if (current) current.scrollIntoView({ block: "nearest", inline: "nearest" });
}

const format = (similarity) => (similarity === null ? "–" : similarity.toFixed(3));

function queryButton(example, isSelected) {
  const kind = isWrong(example.student || example.teacher, example.label) ? "other" : "own";
  return make("button", {
    class: "query", type: "button", "data-query": example.number, "aria-current": isSelected,
    onclick: () => go({ query: example.number }),
  }, frame(example.image, kind, example.point, "span"),
  make("span", null,
    make("strong", null, data.classes[example.label]),
    make("span", { class: "faint" }, `own ${format(example.own)} · others ${format(example.others)}`),
    example.student && isWrong(example.student, example.label)
      ? make("span", { class: "faint wrong" }, `student: ${data.classes[example.student[0][0]]}`)
      : null));
}

function exampleParts(example) {
  const { image, label, split, point, teacher, before, after, positives, negatives } = example;
  const networks = [["Teacher", teacher], ["Student before", before], ["Student after", after]];
  return [
    make("div", { class: "top" }, frame(image, "queried", point), make("div", { class: "summary" },
      make("h2", null, data.classes[label]),
      make("p", { class: "path" }, `${data.images[image].name} (${split})`),
      make("div", { class: "networks" },
        ...networks.filter(([, predictions]) => predictions)
          .map(([name, predictions]) => predictionsOf(name, predictions, label))))),
    ...contextOf("Positives", "nearest rows of its class", positives, label),
    ...contextOf("Negatives", "nearest rows of other classes", negatives, label),
  ];
}

function predictionsOf(name, predictions, label) {
  const wrong = isWrong(predictions, label);
  return make("div", null,
    make("h4", null, name,
      make("span", { class: `verdict ${wrong ? "wrong" : "right"}` }, wrong ? "✗ wrong" : "✓ right")),
    ...predictions.map(([other, share]) =>
      make("div", { class: other === label ? "prediction true" : "prediction", share },
        make("b", null, percent(share)), make("span", { title: data.classes[other] }, data.classes[other]))));
}

function contextOf(title, what, rows, label) {
  return [
    make("h3", null, `${title} `, make("small", null, rows.length ? what : "no rows")),
    make("div", { class: "neighbours" }, ...rows.map((row) => make("figure", null,
      frame(row.image, row.label === label ? "own" : "other", row.point),
      make("figcaption", { title: row.teacher.map(([other, share]) =>
        `teacher: ${percent(share)} ${data.classes[other]}`).join("\n") },
      make("strong", null, row.similarity.toFixed(3)),
      make("span", null, data.classes[row.label]),
      make("span", { class: isWrong(row.teacher, row.label) ? "wrong" : "faint" },
        `teacher: ${percent(row.teacher[0][1])} ${data.classes[row.teacher[0][0]]}`))))),
  ];
}

function renderLabelIssues(now) {
  const rows = hasClass(data.labelIssues, now.label);
  at("shown").textContent = `${rows.length} shown of ${data.numLabelIssues}`;
  if (!rows.length) at("rows").replaceChildren(make("p", null, "No label issues."));
  else at("rows").replaceChildren(...rows.map((row) => make("li", { "data-image": data.images[row.image].name },
    make("span", { class: "rank" }, String(row.rank)),
    frame(row.image, "other", null),
    make("div", { class: "change" },
      make("b", null, data.classes[row.label]), make("i", null, "→"), make("b", null, data.classes[row.suggested]),
      make("div", { class: "path" }, data.images[row.image].name)),
    make("span", { class: "score", share: row.score }, percent(row.score)))));
}

function move(step) {
  const now = state(), examples = sorted(now);
  const place = Math.max(0, examples.findIndex((example) => example.number === now.query));
  const next = examples[Math.min(examples.length - 1, Math.max(0, place + step))];
  if (next) go({ query: next.number });
}

document.addEventListener("keydown", (event) => {
  if (at("zoom").open || event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  const now = state();
  if (event.target.getAttribute && event.target.getAttribute("role") === "tab"
      && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    go({ tab: now.tab === "contexts" ? "label-issues" : "contexts" });
    at(`tab-${state().tab}`).focus();
  } else if (step && now.tab === "contexts") {
    event.preventDefault();
    move(step);
  }
});
at("zoom").addEventListener("click", (event) => { if (event.target === at("zoom")) at("zoom").close(); });
at("class").addEventListener("change", () => go({ class: at("class").value, query: null }));
at("sort").addEventListener("change", () => go({ sort: at("sort").value, query: null }));
for (const tab of ["contexts", "label-issues"]) at(`tab-${tab}`).addEventListener("click", () => go({ tab }));
window.addEventListener("hashchange", render);

document.title = `${data.title}: mmickd gallery`;
at("title").textContent = data.title;
at("facts").textContent = data.facts.join(" · ");
at("tab-contexts").textContent = `Contexts (${data.examples.length})`;
at("tab-label-issues").textContent = `Label issues (${data.numLabelIssues})`;
at("about-label-issues").textContent = data.aboutLabelIssues;
at("sort").replaceChildren(...Object.entries(ORDERS).map(([value, [text]]) => make("option", { value }, text)));
render();
