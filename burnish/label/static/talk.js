// Talking with two models. Without this file the page is a plain form, and one that waits looks again by itself.
"use strict";

const drafts = "burnish:";
const form = document.getElementById("say");
const message = document.getElementById("message");
const waiting = document.getElementById("waiting");
const touched = matchMedia("(pointer: coarse)").matches; // there Enter begins a line, as its keys have no Shift beside it

// What is being written is kept in this browser until it is sent. The draft's name says which state of the conversation it
// is for; in another state it was sent, or given up.
const talk = drafts + document.querySelector("[data-talk]")?.dataset.talk;
const draft = form && talk + form.dataset.state;

function keep() {
  localStorage.setItem(draft, JSON.stringify({ at: Date.now(), fields: [["message", message.value]] }));
}

function restore() {
  const kept = JSON.parse(localStorage.getItem(draft));
  if (kept && (!message.value || message.value === message.defaultValue)) message.value = kept.fields[0][1];
  message.setSelectionRange(message.value.length, message.value.length);
}

const known = () => Object.keys(localStorage).filter((name) => name.startsWith(drafts));

function forget(old) {
  // all of them at sign-out, and whatever nobody came back for in a day
  known().filter((name) => JSON.parse(localStorage.getItem(name)).at < old).forEach((name) => localStorage.removeItem(name));
}

async function look() {
  try {
    const answer = await fetch(waiting.dataset.look, { headers: { Accept: "application/json" } });
    if (!answer.ok || !(await answer.json()).writing) return location.reload();
  } catch {
    // no connection: the answers are kept meanwhile
  }
  setTimeout(look, 1000);
}

known().filter((name) => name.startsWith(talk) && name !== draft).forEach((name) => localStorage.removeItem(name));
if (form) {
  restore();
  if (location.hash) message.focus({ preventScroll: true }); // the place that the address names keeps a browser from it
  message.addEventListener("input", keep);
  message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || touched) return;
    event.preventDefault();
    form.requestSubmit();
  });
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault(); // not a second click while the first is on its way
    sent = true;
  });
  window.addEventListener("pageshow", () => {
    sent = false;
  });
}
if (waiting) {
  const said = document.getElementById("said");
  setTimeout(() => (said.textContent = said.dataset.said), 100); // what stands there from the start, nobody is told
  setTimeout(look, 500);
}
document.querySelector("form.who").addEventListener("submit", () => forget(Infinity));
forget(Date.now() - 24 * 60 * 60 * 1000);
