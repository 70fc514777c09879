// Judging by keyboard. Everything here also works with the mouse and, without this file, as a plain form.
// What a page has is told by its markup: data-keys are the keys of a choice, data-row is what digits are given to.
"use strict";

const form = document.getElementById("judge");
const answers = document.getElementById("answers");
const said = document.getElementById("said");
const skip = document.getElementById("skip");
const save = form.querySelector('button[value="judge"]');
const choices = [...form.querySelectorAll("input[data-keys]")];
let sent = false;

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

function say(words) {
  if (words) said.textContent = words;
  else if (chosen()) said.textContent = `${chosen().dataset.said} Enter saves.`;
  else if (rows().length) {
    const left = missing().length;
    said.textContent = left
      ? `${left} of ${rows().length} ${answers.dataset.missing}.`
      : `${answers.dataset.complete} Enter saves.`;
  }
}

function choose(input) {
  input.checked = true;
  if (choices.length) input.focus({ preventScroll: true });
  else mark(missing()[0] || marked());
  say();
}

function step(by) {
  // along the scale of a pair: data-at is below 0 where the first is better, 0 at the tie
  const scale = choices.filter((choice) => choice.dataset.at).sort((a, b) => a.dataset.at - b.dataset.at);
  const at = scale.findIndex((choice) => (chosen()?.dataset.at ? choice === chosen() : choice.value === "tie"));
  if (scale.length) choose(scale[Math.min(scale.length - 1, Math.max(0, at + by))]);
}

function move(by) {
  const at = rows().indexOf(marked());
  mark(rows()[Math.min(rows().length - 1, Math.max(0, at + by))]);
}

function openSkip() {
  skip.open = true;
  document.getElementById("reason").focus();
  say("Choose why; Enter skips, Escape goes back.");
}

function enter(event) {
  if (event.target.closest("a, summary, button")) return; // these have their own meaning of Enter
  event.preventDefault();
  if (skip.contains(event.target)) form.requestSubmit(skip.querySelector("button"));
  else if (complete()) form.requestSubmit(save);
  else say(answers.dataset.first);
}

const keys = {
  s: openSkip,
  u: () => document.getElementById("undo")?.click(),
  j: () => move(1),
  k: () => move(-1),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter") return enter(event);
  if (event.key === "Escape" && skip.open) {
    skip.open = false;
    return say();
  }
  if (event.target.matches("select")) return;
  const choice = choices.find((each) => each.dataset.keys.split(" ").includes(event.key.toLowerCase()));
  const digit = /^[1-9]$/.test(event.key) && (marked() || missing()[0])?.querySelector(`input[value="${event.key}"]`);
  if (choice || digit) choose(choice || digit);
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
});

form.addEventListener("change", () => say());
form.addEventListener("focusin", (event) => {
  const row = event.target.closest("[data-row]");
  if (row) mark(row, false);
});
form.addEventListener("submit", (event) => {
  if (sent) event.preventDefault(); // a second click while the first is on its way
  sent = true;
});
window.addEventListener("pageshow", () => {
  sent = false;
});
if (rows().length) mark(missing()[0] || rows()[0]);
