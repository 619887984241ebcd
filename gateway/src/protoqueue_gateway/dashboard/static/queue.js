// One queue: parts of the page are replaced when the gateway sends them anew. It has escaped what is in them.
import { readCharts } from "./charts.js";
import { tickNow } from "./format.js";

const later = new Map();

export function followQueue(follow) {
  const charts = document.getElementById("charts");
  if (charts) readCharts(charts);
  if (!document.body.dataset.stream) return;
  const stop = follow(document.body.dataset.stream, (change) => {
    for (const [part, html] of Object.entries(change.parts)) replace(document.getElementById(part), html);
    if (change.over) {
      stop();
      document.getElementById("going")?.remove();
    }
    show("pause", !change.paused);
    show("resume", change.paused);
    tickNow();
  });
  document.addEventListener("focusout", () => setTimeout(() => later.forEach((html, node) => replace(node, html)), 0));
}

function show(name, shown) {
  const node = document.getElementById(name);
  if (node) node.hidden = !shown;
}

// What is open stays open, and what somebody is in stays as it is until they have left it.
function replace(node, html) {
  later.delete(node);
  if (node.contains(document.activeElement)) {
    later.set(node, html);
    return;
  }
  const open = [...node.querySelectorAll("details")].map((each) => each.open);
  node.innerHTML = html;
  node.querySelectorAll("details").forEach((each, place) => {
    each.open = open[place] ?? false;
  });
}
