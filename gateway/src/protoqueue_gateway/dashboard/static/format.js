// How numbers and times are written: as formats.py does.
export const NOTHING = "–";
const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
let ahead = 0;

function span(seconds) {
  const place = Math.max(0, UNITS.findIndex(([, size]) => seconds >= size || size === 1));
  const [unit, size] = UNITS[place];
  const whole = Math.floor(seconds / size);
  if (place + 1 === UNITS.length) return `${whole}${unit}`;
  const [smaller, smallerSize] = UNITS[place + 1];
  const parts = Math.floor((seconds % size) / smallerSize);
  return parts ? `${whole}${unit} ${parts}${smaller}` : `${whole}${unit}`;
}

export function age(epoch) {
  if (!epoch) return NOTHING;
  const seconds = Math.trunc(Date.now() / 1000 - ahead - Number(epoch));
  return seconds < 0 ? `in ${span(-seconds)}` : span(seconds);
}

export const count = (number) => (number === null ? NOTHING : String(number));

export function say(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

// Let every element with data-t say how long ago that is. `now` is the time of the server, as the page was made.
export function tick(now) {
  ahead = Date.now() / 1000 - now;
  setInterval(() => document.hidden || tickNow(), 1000);
}

export function tickNow() {
  for (const node of document.querySelectorAll("[data-t]")) say(node, age(node.dataset.t));
}
