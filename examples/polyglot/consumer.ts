// Counts words until SIGTERM, then prints what it has worked on: `node build/consumer.js words`.

import { Queues } from "@protoqueue/client";

const [queue = "words"] = process.argv.slice(2);
const worked: number[] = [];

const consumer = new Queues().consume<{ word: string; index: number }>({
  queue,
  concurrency: 4,
  handler: async (message) => {
    await new Promise((resolve) => setTimeout(resolve, 50)); // stands for work
    worked.push(message.payload.index);
  },
});
process.once("SIGTERM", () => consumer.stop());
await consumer.finished;
console.log(JSON.stringify({ language: "TypeScript", worked }));
