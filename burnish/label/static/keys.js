// Judging by keyboard. Everything here also works with the mouse and, without this file, as a plain form.
// What a page has is told by its markup: data-keys are the keys of a choice, data-row is what digits are given to. What is
// said here stands there too, in the page's language.
"use strict";

const form = document.getElementById("judge");
const answers = document.getElementById("answers");
const said = document.getElementById("said");
const skip = document.getElementById("skip");
const rationale = document.getElementById("rationale");
const words = JSON.parse(document.getElementById("words").textContent);
const save = form.querySelector('button[value="judge"]');
const choices = [...form.querySelectorAll("input[data-keys]")];
const scale = choices.filter((choice) => choice.dataset.at).sort((a, b) => a.dataset.at - b.dataset.at);
const ordered = "order" in answers.dataset;
const guideline = document.getElementById("guideline");
const written = document.getElementById("written");
const drafts = "burnish:";
const draft = drafts + form.dataset.draft;
const right = document.documentElement.dir === "rtl" ? -1 : 1; // which way the scale goes
let sending = false;
let again;

const rows = () => [...form.querySelectorAll("[data-row]")];
const checked = (row) => row.querySelector("input[type=radio]:checked");
const missing = () => rows().filter((row) => !checked(row));
const chosen = () => choices.find((choice) => choice.checked);
const complete = () => (choices.length ? chosen() : !missing().length);
const marked = () => rows().find((row) => row.classList.contains("marked"));

function mark(row, focus = true) {
  rows().forEach((other) => other.classList.toggle("marked", other === row));
  if (row && focus) row.focus();
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function say(text) {
  const left = missing().length;
  if (text) said.textContent = text;
  else if (chosen()) said.textContent = `${chosen().dataset.said} ${words.enter}`;
  else if (left) said.textContent = filled(answers.dataset.missing, { left, all: rows().length });
  else if (rows().length) said.textContent = `${answers.dataset.complete} ${words.enter}`;
}

function choose(input) {
  input.checked = true;
  if (choices.length) input.focus({ preventScroll: true });
  else mark(missing()[0] || marked());
  form.dispatchEvent(new Event("change"));
}

function step(by) {
  // along the scale of a pair: data-at is below 0 where the first is better, 0 at the tie
  const at = scale.findIndex((choice) => (chosen()?.dataset.at ? choice === chosen() : choice.value === "tie"));
  choose(scale[Math.min(scale.length - 1, Math.max(0, at + by))]);
}

function move(by) {
  const at = rows().indexOf(marked());
  mark(rows()[Math.min(rows().length - 1, Math.max(0, at + by))]);
}

// Cards in an order (data-order): to move one gives all of them places from the top, and those that share one go on to.

const arranged = () => {
  const cards = rows().map((card, at) => ({ card, place: Number(checked(card)?.value ?? 10 + at) }));
  return cards.sort((one, other) => one.place - other.place);
};

function lay(order, card) {
  let place = 0;
  order.forEach((each, at) => {
    if (!at || each.place !== order[at - 1].place) place += 1;
    each.card.querySelector(`input[value="${place}"]`).checked = true;
  });
  const cards = order.map((each) => each.card);
  const at = cards.indexOf(card); // it stays where it is in the document, or would lose focus and pointer
  card.before(...cards.slice(0, at));
  card.after(...cards.slice(at + 1));
  if (!card.classList.contains("dragged")) card.scrollIntoView({ block: "nearest" });
  form.dispatchEvent(new Event("change"));
  const shared = cards.filter((other) => other !== card && checked(other).value === checked(card).value);
  const name = (each) => each.querySelector("legend").textContent;
  const values = { card: name(card), place: checked(card).value, places: place, others: shared.map(name).join(", ") };
  say(filled(shared.length ? words.shared : words.moved, values));
}

// Keys move a card past all that share the next place; a pointer may part them.
function shift(card, to) {
  const order = arranged();
  const at = order.findIndex((each) => each.card === card);
  order.splice(at, 1);
  order.splice(to(order, at), 0, { card, place: 0 }); // with nobody
  lay(order, card);
}

const above = (order, at) => order.findIndex((each) => each.place === order[Math.max(0, at - 1)].place);
const below = (order, at) => order.findLastIndex((each) => each.place === order[Math.min(order.length - 1, at)].place) + 1;

function tie(card) {
  const order = arranged();
  const at = order.findIndex((each) => each.card === card);
  if (at > 0) order[at].place = order[at - 1].place;
  lay(order, card);
}

function drag(card) {
  const grip = document.createElement("span");
  grip.className = "grip";
  grip.title = words.drag;
  grip.setAttribute("aria-hidden", "true"); // for the pointer alone; keys and places do the same
  card.append(grip);
  grip.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    grip.setPointerCapture(event.pointerId);
    card.classList.add("dragged");
    mark(card);
  });
  grip.addEventListener("pointermove", (event) => {
    if (!grip.hasPointerCapture(event.pointerId)) return;
    const over = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-row]");
    const to = rows().indexOf(over);
    if (over && over !== card && passed(event, card, over)) shift(card, () => to);
    if (event.clientY < 60) window.scrollBy(0, -15);
    if (event.clientY > window.innerHeight - 120) window.scrollBy(0, 15); // the bar covers the rest
  });
  grip.addEventListener("lostpointercapture", () => card.classList.remove("dragged"));
}

function passed(event, card, over) {
  // beyond the middle of the other card, or cards of unequal size would change places for ever
  const [mine, other] = [card, over].map((each) => each.getBoundingClientRect());
  const beside = other.top < mine.bottom && mine.top < other.bottom;
  const beyond = beside ? event.clientX - (other.left + other.right) / 2 : event.clientY - (other.top + other.bottom) / 2;
  return rows().indexOf(over) > rows().indexOf(card) === beyond > 0;
}

function copies(block) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "copy" });
  button.textContent = words.copy;
  button.addEventListener("click", async () => {
    const code = block.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      say(words.copied);
    } catch {
      getSelection().selectAllChildren(code); // not allowed here: it is marked, to be copied by hand
    }
  });
  block.prepend(button);
}

function toggleGuideline() {
  if (guideline) guideline.open = !guideline.open;
}

function openSkip() {
  skip.open = true;
  document.getElementById("reason").focus();
  say(words.skip);
}

const place = () => marked()?.dataset.row || 1; // of the marked answer, as it was shown

function open(id, inside) {
  const part = document.getElementById(id);
  part.open = true;
  part.querySelector(inside).focus();
}

function enter(event) {
  if (event.target.closest("a, summary, button, textarea")) return; // these have their own meaning of Enter
  event.preventDefault();
  if (skip.contains(event.target)) form.requestSubmit(skip.querySelector("button"));
  else if (complete() && rationale.required && !rationale.value.trim()) {
    open("why", "textarea");
    say(words.why);
  } else if (complete()) form.requestSubmit(save);
  else say(answers.dataset.first);
}

// What is filled in is kept in this browser until it is saved: a reload or a lost connection loses nothing.

function keep() {
  const fields = [...new FormData(form)].filter(([name]) => !["csrf", "reason"].includes(name));
  localStorage.setItem(draft, JSON.stringify({ at: Date.now(), fields }));
}

function restore() {
  const kept = JSON.parse(localStorage.getItem(draft));
  if (!kept) return;
  for (const [name, value] of kept.fields) {
    for (const input of form.querySelectorAll(`[name="${CSS.escape(name)}"]`)) {
      if (["radio", "checkbox"].includes(input.type)) input.checked = input.value === value;
      else input.value = value; // the id of the submission too: what may have arrived already is then not kept twice
      const changed = input.type === "checkbox" ? input.checked : input.value !== (input.defaultValue ?? "");
      if (changed && input.closest(".more")) input.closest("details").open = true;
    }
  }
  say(words.restored);
}

function forget(old) {
  // all of them at sign-out, and whatever nobody came back for in a day
  const names = Object.keys(localStorage).filter((name) => name.startsWith(drafts));
  names.filter((name) => JSON.parse(localStorage.getItem(name)).at < old).forEach((name) => localStorage.removeItem(name));
}

async function send(button) {
  clearTimeout(again);
  sending = true;
  let answer, next;
  try {
    const body = new URLSearchParams(new FormData(form, button));
    answer = await fetch(form.action, { method: "POST", body, redirect: "manual", headers: { Accept: "application/json" } });
    if (answer.headers.get("Content-Type") === "application/json") next = (await answer.json()).next;
  } catch {
    say(words.offline);
    again = setTimeout(() => send(button), 3000);
  }
  sending = false;
  if (next) {
    localStorage.removeItem(draft);
    sending = true; // until the next page is there
    location.assign(next);
  } else if (answer) {
    // a page that says what is wrong: let the browser fetch and show it, under the same submission id
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "act", value: button.value }));
    form.submit();
  }
}

const keys = {
  s: openSkip,
  f: () => open("flags", `fieldset:nth-of-type(${place()}) select`),
  e: () => document.getElementById("edits") && open("edits", `label:nth-of-type(${place()}) textarea`),
  r: () => open("why", "textarea"),
  u: () => document.getElementById("undo")?.click(),
  w: () => written.click(),
  g: toggleGuideline,
  "?": toggleGuideline,
  j: () => move(1),
  k: () => move(-1),
  J: () => ordered && marked() && shift(marked(), below),
  K: () => ordered && marked() && shift(marked(), above),
  "=": () => ordered && marked() && tie(marked()),
  ...(scale.length && { ArrowLeft: () => step(-right), ArrowRight: () => step(right) }),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("footer")) return;
  if (event.key === "Enter") return enter(event);
  if (event.key === "Escape") {
    skip.open = false;
    event.target.blur();
    return say();
  }
  if (event.target.matches("select, textarea")) return;
  const choice = choices.find((each) => each.dataset.keys.split(" ").includes(event.key.toLowerCase()));
  const digit = /^[1-9]$/.test(event.key) && (marked() || missing()[0])?.querySelector(`input[value="${event.key}"]`);
  if (choice || digit) choose(choice || digit);
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
});

form.addEventListener("change", () => say());
form.addEventListener("change", keep);
form.addEventListener("input", keep);
form.addEventListener("focusin", (event) => {
  const row = event.target.closest("[data-row]");
  if (row) mark(row, false);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!sending) send(event.submitter); // not a second click while the first is on its way
});
window.addEventListener("pageshow", () => {
  sending = false;
});
document.getElementById("leave")?.addEventListener("click", () => localStorage.removeItem(draft));
document.querySelector("form.who").addEventListener("submit", () => forget(Infinity));
forget(Date.now() - 24 * 60 * 60 * 1000);
restore();
form.querySelectorAll(".answer-head").forEach((head) => {
  // the whole card is its label, but for what somebody marks to copy
  head.parentElement.addEventListener("click", (event) => {
    if (!event.target.closest("label, button") && getSelection().isCollapsed) head.click();
  });
});
document.querySelectorAll("pre").forEach(copies);
if (ordered) rows().forEach(drag);
if (rows().length) mark(missing()[0] || rows()[0]);
