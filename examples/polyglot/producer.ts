// Puts the words of a text on the queue, a hundred in a request: `node build/producer.js words 300`.

import { Queues } from "@protoqueue/client";

const [queue = "words", count = "300"] = process.argv.slice(2);
const text = "it was the best of times it was the worst of times".split(" ");
const messages = Array.from({ length: Number(count) }, (_, index) => ({
  payload: { word: text[index % text.length], index },
  dedupId: `word-${index}`, // run again, it adds nothing
}));

const queues = new Queues(); // PROTOQUEUE_GATEWAY_URL and PROTOQUEUE_API_KEY
let stored = 0;
for (let start = 0; start < messages.length; start += 100) {
  const receipts = await queues.enqueueBatch({ queue, messages: messages.slice(start, start + 100) });
  stored += receipts.filter((receipt) => !receipt.duplicate).length;
}
console.log(JSON.stringify({ stored }));
