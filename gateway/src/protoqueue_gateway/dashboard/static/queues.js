// The list of queues: live, sorted and filtered without asking again.
import { NOTHING, age, count, say } from "./format.js";

const COLUMNS = ["name", "waiting", "inflight", "scheduled", "dead", "oldest", "in", "done", "workers", "state"];
const NUMBERS = { waiting: 1, inflight: 2, scheduled: 3, dead: 4 };

export function followQueues(follow) {
  const body = document.querySelector("#queues tbody");
  const form = document.getElementById("filter");
  const rows = new Map();
  let sort = form.elements.sort.value;
  let arranging = 0;

  for (const row of body.rows) rows.set(row.cells[0].textContent, row);
  // The page holds the rows that its address asks for. All others come with the stream.
  const since = form.elements.text.value || form.elements.show.value ? "" : document.body.dataset.since;

  const number = (cell) => Number.parseFloat(cell.textContent) || 0;

  function value(row, column) {
    const cell = row.cells[COLUMNS.indexOf(column)];
    if (column === "oldest") return cell.dataset.t ? -Number(cell.dataset.t) : -Infinity;
    return column === "name" || column === "state" ? cell.className + cell.textContent : number(cell);
  }

  function isShown(row, text, show) {
    if (text && !row.cells[0].textContent.includes(text)) return false;
    if (show === "attention") return row.cells[9].className === "failed" || number(row.cells[4]) > 0;
    return show !== "busy" || number(row.cells[1]) + number(row.cells[2]) > 0;
  }

  function arrange() {
    arranging = 0;
    const column = sort.replace("-", "");
    const sign = sort.startsWith("-") ? -1 : 1;
    const text = form.elements.text.value.trim().toLowerCase();
    const show = form.elements.show.value;
    const keyed = [...rows].map(([name, row]) => [value(row, column), name, row]);
    keyed.sort((a, b) => (a[0] < b[0] ? -sign : a[0] > b[0] ? sign : a[1] < b[1] ? -1 : 1));
    let place = body.firstElementChild;
    let shown = 0;
    for (const [, , row] of keyed) {
      row.hidden = !isShown(row, text, show);
      shown += row.hidden ? 0 : 1;
      if (row === place) place = place.nextElementSibling;
      else body.insertBefore(row, place);
    }
    say(document.getElementById("shown"), `${shown} shown`);
    total();
  }

  function total() {
    const sums = { queues: rows.size, attention: 0, waiting: 0, inflight: 0, scheduled: 0, dead: 0 };
    for (const row of rows.values()) {
      for (const [name, place] of Object.entries(NUMBERS)) sums[name] += number(row.cells[place]);
      sums.attention += isShown(row, "", "attention") ? 1 : 0;
    }
    for (const [name, sum] of Object.entries(sums)) say(document.getElementById(`total-${name}`), String(sum));
  }

  function newRow(name) {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    const link = document.createElement("a");
    link.href = `/dashboard/queues/${name}`;
    link.textContent = name;
    head.append(link);
    row.append(head);
    for (let place = 1; place < COLUMNS.length; place += 1) row.insertCell();
    rows.set(name, row);
    document.getElementById("none")?.remove();
    return row;
  }

  function update(name, cells) {
    const row = rows.get(name) ?? newRow(name);
    const [waiting, inFlight, scheduled, dead, oldest, arrivals, done, workers, health, reason, message] = cells;
    const at = row.cells;
    [waiting, inFlight, scheduled, dead].forEach((each, place) => say(at[place + 1], count(each)));
    at[5].dataset.t = oldest ?? "";
    say(at[5], age(oldest));
    say(at[6], count(arrivals));
    say(at[7], count(done));
    say(at[8], workers || NOTHING);
    at[9].className = health;
    at[9].title = message;
    say(at[9], reason);
  }

  function remove(name) {
    rows.get(name)?.remove();
    rows.delete(name);
  }

  // Several events of a moment are arranged once. A row that somebody is about to open stays where it is.
  function soon() {
    if (!arranging) arranging = setTimeout(() => (body.contains(document.activeElement) ? (arranging = 0, total()) : arrange()), 150);
  }

  follow(`/dashboard/live?since=${since}`, (change) => {
    if (change.all) {
      const there = new Set(change.all);
      for (const name of [...rows.keys()]) if (!there.has(name)) remove(name);
    }
    for (const [name, cells] of Object.entries(change.set ?? {})) update(name, cells);
    for (const name of change.gone ?? []) remove(name);
    soon();
  });

  function remember() {
    const url = new URL(location.href);
    url.search = new URLSearchParams([...new FormData(form)].filter(([, text]) => text)).toString();
    history.replaceState(null, "", url);
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    arrange();
    remember();
  });
  document.querySelector("#queues thead").addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head || !event.target.closest("a")) return;
    event.preventDefault();
    const { column } = head.dataset;
    sort = sort === column ? `-${column}` : column;
    for (const each of document.querySelectorAll("#queues thead th")) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sort.startsWith("-") ? "descending" : "ascending");
    form.elements.sort.value = sort;
    remember();
    arrange();
  });
}
