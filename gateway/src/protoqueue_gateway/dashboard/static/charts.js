// Tells the figures of the moment that the pointer is at.
export function readCharts(root) {
  root.addEventListener("pointermove", (event) => {
    const plot = event.target.closest(".plot");
    if (plot) point(plot, event.clientX);
  });
  root.addEventListener("pointerout", (event) => {
    const plot = event.target.closest(".plot");
    if (plot && !plot.contains(event.relatedTarget)) leave(plot);
  });
}

function point(plot, x) {
  const figure = plot.closest("figure");
  const { t, lines } = JSON.parse(figure.dataset.chart);
  const svg = plot.querySelector("svg").getBoundingClientRect();
  const { begin, end } = figure.closest("[data-begin]").dataset;
  const wanted = Number(begin) + ((x - svg.left) / svg.width) * (end - begin);
  let nearest = 0;
  t.forEach((at, place) => {
    if (Math.abs(at - wanted) < Math.abs(t[nearest] - wanted)) nearest = place;
  });
  const title = lines.map(([label, values]) => `${label} ${values[nearest] ?? "–"}`).join(", ");
  const at = new Date(t[nearest] * 1000).toISOString().slice(11, 19);
  note(plot, "told", `${at} UTC: ${title}`);
  const line = note(plot, "at", "");
  line.style.left = `${((t[nearest] - begin) / (end - begin)) * 100}%`;
}

function note(plot, name, text) {
  let node = plot.querySelector(`.${name}`);
  if (!node) {
    node = document.createElement("div");
    node.className = name;
    plot.append(node);
  }
  node.textContent = text;
  return node;
}

function leave(plot) {
  for (const node of plot.querySelectorAll(".told, .at")) node.remove();
}
