// One stream of events for a page; none while nobody looks at it.
import { say } from "./format.js";

const HIDDEN_MS = 30000;

export async function isSignedIn() {
  const answer = await fetch("/dashboard/session");
  return (await answer.json()).signedIn;
}

export function follow(address, handle) {
  const status = document.getElementById("live");
  let source = null;
  let last = "";
  let closing = 0;
  let isOver = false;

  function told(text, lost) {
    say(status, text);
    status?.classList.toggle("lost", lost);
  }

  function open() {
    clearTimeout(closing);
    if (source || isOver) return;
    const url = new URL(address, location.href);
    if (last) url.searchParams.set("since", last);
    source = new EventSource(url);
    source.onopen = () => told("live", false);
    source.onmessage = (event) => {
      last = event.lastEventId || last;
      handle(JSON.parse(event.data));
    };
    source.addEventListener("signed-out", () => location.reload());
    source.onerror = () => {
      told("connection lost, trying again", true);
      if (source.readyState === EventSource.CLOSED) {
        source = null;
        closing = setTimeout(check, 2000);
      }
    };
  }

  // The stream was refused: because the session is over, or because the gateway is away.
  function check() {
    isSignedIn().then((known) => (known ? open() : location.reload()), open);
  }

  function close() {
    source?.close();
    source = null;
    told("", false);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) closing = setTimeout(close, HIDDEN_MS);
    else open();
  });
  open();
  return () => {
    isOver = true;
    close();
  };
}
