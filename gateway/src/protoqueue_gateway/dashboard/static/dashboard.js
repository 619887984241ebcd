// What keeps an open page up to date. Every page works without it, as it was when it was loaded.
import { follow, isSignedIn } from "./stream.js";
import { followQueues } from "./queues.js";
import { selectLetters } from "./letters.js";
import { followQueue } from "./queue.js";
import { tick } from "./format.js";

document.documentElement.classList.add("scripted");
const { page, signIn, now } = document.body.dataset;

if (signIn) {
  // A browser that comes from another site does not bring its cookie at first: ask again from here.
  isSignedIn().then((known) => known && location.replace(signIn));
}
if (now) tick(Number(now));
if (page === "queues") followQueues(follow);
if (page === "letters") selectLetters();
if (page === "queue") followQueue(follow);
