// Judging by keyboard. Everything here also works with the mouse and, without this file, as a plain form.
"use strict";

const form = document.getElementById("judge");
const said = document.getElementById("said");
const skip = document.getElementById("skip");
const save = form.querySelector('button[value="judge"]');
const cards = [...form.querySelectorAll("fieldset.answer")];
const pair = { 1: "first", 2: "second", t: "tie" };
const words = { first: "Answer 1 is better.", second: "Answer 2 is better.", tie: "Both are equally good." };
let sent = false;

const ranked = (card) => card.querySelector("input:checked");
const unranked = () => cards.find((card) => !ranked(card));
const complete = () => (cards.length ? !unranked() : form.querySelector('input[name="choice"]:checked'));

function mark(card) {
  cards.forEach((other) => other.classList.toggle("marked", other === card));
  if (card) card.focus();
}

function marked() {
  return cards.find((card) => card.classList.contains("marked"));
}

function say() {
  if (cards.length) {
    const left = cards.filter((card) => !ranked(card)).length;
    said.textContent = left ? `${left} of ${cards.length} answers still without a place.` : "All have a place. Enter saves.";
  } else if (complete()) {
    said.textContent = `${words[complete().value]} Enter saves.`;
  }
}

function choose(input) {
  input.checked = true;
  if (cards.length) mark(unranked() || marked());
  else input.focus({ preventScroll: true });
  say();
}

function move(step) {
  const at = cards.indexOf(marked());
  mark(cards[Math.min(cards.length - 1, Math.max(0, at + step))]);
}

function openSkip() {
  skip.open = true;
  document.getElementById("reason").focus();
  said.textContent = "Choose why; Enter skips, Escape goes back.";
}

function enter(event) {
  if (event.target.closest("a, summary, button")) return; // these have their own meaning of Enter
  event.preventDefault();
  if (skip.contains(event.target)) form.requestSubmit(skip.querySelector("button"));
  else if (complete()) form.requestSubmit(save);
  else said.textContent = cards.length ? "Give every answer a place first." : "Choose 1, 2 or t first.";
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter") return enter(event);
  if (event.key === "Escape" && skip.open) {
    skip.open = false;
    return say();
  }
  if (event.target.matches("select")) return;
  const key = event.key.toLowerCase();
  if (key === "s") openSkip();
  else if (!cards.length && pair[key]) choose(form.querySelector(`input[value="${pair[key]}"]`));
  else if (cards.length && /^[1-9]$/.test(key) && key <= cards.length) {
    choose((marked() || unranked() || cards[0]).querySelector(`input[value="${key}"]`));
  } else if (cards.length && key === "j") move(1);
  else if (cards.length && key === "k") move(-1);
  else return;
  event.preventDefault();
});

form.addEventListener("change", say);
form.addEventListener("focusin", (event) => {
  const card = event.target.closest("fieldset.answer");
  if (card) cards.forEach((other) => other.classList.toggle("marked", other === card));
});
form.addEventListener("submit", (event) => {
  if (sent) event.preventDefault(); // a second click while the first is on its way
  sent = true;
});
window.addEventListener("pageshow", () => {
  sent = false;
});
if (cards.length) mark(unranked() || cards[0]);
