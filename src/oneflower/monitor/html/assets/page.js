"use strict";
// The live page: the server renders every part, this script puts in the parts that changed, tells how long ago
// things were, reads curves out, and says when the server is gone. Nothing is kept and nothing is sent.

const body = document.body;
const link = document.getElementById("link");
let ahead = 0; // the server's clock less this one's, in milliseconds
let source = null;

// --- changed parts -------------------------------------------------------------------------------

// Change `now` into `next` in place, so that focus, open details and selected text stay where they are.
function morph(now, next) {
  if (now.isEqualNode(next)) return;
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) return void now.replaceWith(next);
  if (now.nodeType !== Node.ELEMENT_NODE) return void (now.nodeValue = next.nodeValue);
  if (now.classList.contains("reader")) return; // the script's own
  for (const { name } of [...now.attributes]) {
    const opened = name === "open" && now.nodeName === "DETAILS";
    if (!next.hasAttribute(name) && !opened) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  const [olds, news] = [[...now.childNodes], [...next.childNodes]];
  news.forEach((child, i) => (olds[i] ? morph(olds[i], child) : now.append(child)));
  olds.slice(news.length).forEach((child) => child.remove());
}

function show(sections) {
  for (const [id, html] of Object.entries(sections)) {
    const place = document.getElementById(id);
    if (!place) continue;
    const next = place.cloneNode(false);
    next.innerHTML = html;
    morph(place, next);
  }
}

// --- how long ago --------------------------------------------------------------------------------

function ago(seconds) {
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

function tellTimes() {
  for (const time of document.querySelectorAll("time")) {
    const at = Date.parse(time.dateTime);
    const passed = (Date.now() + ahead - at) / 1000;
    let text = ago(passed);
    if (time.closest(".clock")) text = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    if (time.closest(".due")) text = passed < 0 ? `in ${Math.ceil(-passed)} s` : "now";
    if (time.textContent !== text) time.textContent = text;
  }
}

// --- curves, read by pointer or key --------------------------------------------------------------

function values(figure) {
  if (figure.seenPoints !== figure.dataset.points) {
    figure.seenPoints = figure.dataset.points;
    figure.values = JSON.parse(figure.dataset.points);
  }
  return figure.values;
}

function wordsAt(data, index) {
  const round = data.rounds[index];
  const lines = Object.entries(data.lines)
    .filter(([, column]) => column[index] !== null)
    .map(([name, column]) => `${name}: ${column[index]}`);
  const news = data.marks.filter(([at]) => Math.abs(at - round) <= 0.5).map(([, text]) => text);
  return [`Round ${round}`, ...lines, ...news];
}

function point(reader, index) {
  const figure = reader.closest("figure");
  const data = values(figure);
  if (!data.rounds.length) return;
  const at = Math.max(0, Math.min(data.rounds.length - 1, index));
  const [first, last] = [figure.dataset.first - 0.5, +figure.dataset.last + 0.5];
  const left = (100 * (data.rounds[at] - first)) / (last - first);
  const words = wordsAt(data, at);
  reader.index = at;
  reader.querySelector(".hair").style.left = `${left}%`;
  const readout = reader.querySelector(".readout");
  readout.textContent = words.join("\n");
  readout.style.left = left < 55 ? `calc(${left}% + 8px)` : "auto";
  readout.style.right = left < 55 ? "auto" : `calc(${100 - left}% + 8px)`;
  reader.setAttribute("aria-valuenow", data.rounds[at]);
  reader.setAttribute("aria-valuetext", words.join(", "));
}

function nearest(reader, event) {
  const figure = reader.closest("figure");
  const { rounds } = values(figure);
  const box = reader.getBoundingClientRect();
  const [first, last] = [figure.dataset.first - 0.5, +figure.dataset.last + 0.5];
  const round = first + ((event.clientX - box.left) / box.width) * (last - first);
  let best = 0;
  rounds.forEach((each, i) => { if (Math.abs(each - round) < Math.abs(rounds[best] - round)) best = i; });
  return best;
}

const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -1e9, End: 1e9 };

function makeReadable(reader) {
  const figure = reader.closest("figure");
  if (!figure.dataset.points || reader.ready) return;
  reader.ready = true;
  reader.hidden = false;
  reader.tabIndex = 0;
  reader.setAttribute("role", "slider");
  reader.addEventListener("pointermove", (event) => { reader.classList.add("shows"); point(reader, nearest(reader, event)); });
  reader.addEventListener("pointerleave", () => { if (document.activeElement !== reader) reader.classList.remove("shows"); });
  reader.addEventListener("focus", () => { reader.classList.add("shows"); point(reader, reader.index ?? Infinity); });
  reader.addEventListener("blur", () => reader.classList.remove("shows"));
  reader.addEventListener("keydown", (event) => {
    if (event.key === "Escape") reader.classList.remove("shows");
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    reader.classList.add("shows");
    point(reader, Math.max(0, reader.index + STEPS[event.key]));
  });
}

function readCurves() {
  for (const reader of document.querySelectorAll(".reader")) {
    makeReadable(reader);
    const data = values(reader.closest("figure"));
    reader.setAttribute("aria-label", `${data.title}, read with the arrow keys`);
    reader.setAttribute("aria-valuemin", data.rounds[0] ?? 0);
    reader.setAttribute("aria-valuemax", data.rounds.at(-1) ?? 0);
    if (reader.index === undefined || !reader.classList.contains("shows")) point(reader, Infinity);
  }
}

// --- the connection ------------------------------------------------------------------------------

function say(state, text) {
  link.className = `link ${state}`;
  if (link.textContent !== text) link.textContent = text;
}

function refresh() {
  tellTimes();
  readCurves();
}

function take(event) {
  const news = JSON.parse(event.data);
  if (news.build !== body.dataset.build) return void location.reload(); // the server is another version
  ahead = Date.parse(news.now) - Date.now();
  body.dataset.have = news.version;
  document.title = news.title;
  say("on", "Live");
  show(news.sections);
  refresh();
}

function connect() {
  source = new EventSource(`events?have=${encodeURIComponent(body.dataset.have)}`);
  source.addEventListener("message", take);
  source.addEventListener("open", () => say("on", "Live"));
  source.addEventListener("error", () => {
    say("off", "Connection lost, trying again");
    source.close(); // our own tries carry what we have; the browser's would ask for the first version again
    setTimeout(again, 1000);
  });
}

// The server was started again: it asks for the token once more. Who else listens on its port is not asked for ever.
async function again() {
  const answer = await fetch("assets/page.js", { cache: "no-store" }).catch(() => null);
  if (answer?.status !== 401) return connect();
  say("off", "The server was started again: open the link that it printed, or reload and enter the token");
}

// --- light and dark ------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
const button = document.getElementById("theme");

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = `Theme: ${theme}`;
  document.cookie = `theme=${theme}; Path=/; Max-Age=31536000; SameSite=Strict`;
}

button.hidden = false;
button.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});

ahead = Date.parse(body.dataset.now) - Date.now();
refresh();
setInterval(tellTimes, 1000);
connect();
