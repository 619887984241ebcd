// The ancestor's README, and a run of a consumer, against a real gateway: PROTOQUEUE_GATEWAY_URL and PROTOQUEUE_API_KEY.

import assert from "node:assert/strict";
import { test } from "node:test";

import { InvalidRequest, LeaseLost, NotFound, Queues, Reject, Unauthorized } from "@protoqueue/client";

const skip = process.env["PROTOQUEUE_GATEWAY_URL"] ? false : "no gateway";
const suffix = Math.random().toString(36).slice(2, 8);

test("what the README shows works against a gateway", { skip, timeout: 100_000 }, async () => {
  const queues = new Queues();
  const name = `image-processing-${suffix}`;
  const queue = await queues.create({
    name,
    config: {
      maxRetries: 5,
      visibilityTimeout: 300,
      deadLetterQueue: `image-dlq-${suffix}`,
      rateLimit: { requests: 500, per: "second" },
    },
  });
  assert.equal(queue.name, name);
  const enqueued = await queues.enqueue({
    queue: name,
    payload: { imageUrl: "https://…", operations: ["resize", "compress"] },
    priority: 2,
    metadata: { userId: "123" },
  });
  assert.equal(enqueued.duplicate, false);
  const batch = await queues.enqueueBatch({ queue: name, messages: [{ payload: { imageUrl: "1" } }, { payload: { imageUrl: "2" } }] });
  assert.equal(new Set(batch.map((one) => one.id)).size, 2);
  const stop = new AbortController();
  const seen: unknown[] = [];
  const consumer = queues.consume<{ imageUrl: string }>({
    queue: name,
    concurrency: 20,
    signal: stop.signal,
    handler: async (message) => {
      seen.push(message.payload.imageUrl);
      if (seen.length === 3) stop.abort();
    },
    onError: (error) => assert.fail(error),
  });
  await consumer.finished;
  assert.deepEqual(seen.toSorted(), ["1", "2", "https://…"]);
  const { waiting, inFlight } = await queues.stats(name);
  assert.deepEqual({ waiting, inFlight }, { waiting: 0, inFlight: 0 });
});

test("a thousand messages are worked on once each", { skip, timeout: 100_000 }, async () => {
  const queues = new Queues();
  const queue = `many-${suffix}`;
  await queues.create({ name: queue, config: { visibilityTimeout: 60 } });
  for (let start = 0; start < 1000; start += 100) {
    await queues.enqueueBatch({ queue, messages: Array.from({ length: 100 }, (_, index) => ({ payload: start + index })) });
  }
  const seen: number[] = [];
  const began = performance.now();
  const consumer = queues.consume<number>({
    queue,
    concurrency: 50,
    handler: (message) => {
      seen.push(message.payload);
      if (seen.length === 1000) void consumer.stop();
    },
  });
  await consumer.finished;
  console.log(`# consumed ${Math.round(1000 / ((performance.now() - began) / 1000))} messages/s`);
  assert.equal(new Set(seen).size, 1000);
  assert.equal(seen.length, 1000);
});

test("leases are extended beyond the visibility timeout, and rejected messages are dead", { skip, timeout: 100_000 }, async () => {
  const queues = new Queues();
  const queue = `slow-${suffix}`;
  await queues.create({ name: queue, config: { visibilityTimeout: 2 } });
  await queues.enqueueBatch({ queue, messages: [{ payload: "slow" }, { payload: "bad" }] });
  const attempts: [unknown, number][] = [];
  const consumer = queues.consume({
    queue,
    handler: async (message) => {
      attempts.push([message.payload, message.attempt]);
      if (message.payload === "bad") throw new Reject("never");
      await new Promise((resolve) => setTimeout(resolve, 5000));
      void consumer.stop();
    },
    onError: (error) => assert(error instanceof Reject, error),
  });
  await consumer.finished;
  assert.deepEqual(attempts.toSorted(), [["bad", 1], ["slow", 1]]);
  const { waiting, inFlight, dead } = await queues.stats(queue);
  assert.deepEqual({ waiting, inFlight, dead }, { waiting: 0, inFlight: 0, dead: 1 });
});

test("what is refused is an error of its own class", { skip, timeout: 100_000 }, async () => {
  const queues = new Queues();
  const queue = `refused-${suffix}`;
  await queues.create({ name: queue, config: { visibilityTimeout: 1 } });
  await assert.rejects(queues.enqueue({ queue: "nothing-here", payload: 1 }), NotFound);
  await assert.rejects(queues.enqueue({ queue, payload: 1, priority: 11 }), (error) => {
    assert(error instanceof InvalidRequest);
    assert.deepEqual(error.errors.map(({ pointer }) => pointer), ["/priority"]);
    return true;
  });
  await assert.rejects(new Queues({ apiKey: "pq_no_key" }).stats(queue), Unauthorized);
  await queues.enqueue({ queue, payload: 1 });
  const [message] = await queues.receive({ queue, maxMessages: 1 });
  assert(message);
  const [again] = await queues.receive({ queue, maxMessages: 1, wait: 20 });
  assert.equal(again?.id, message.id);
  await assert.rejects(queues.ack(message), LeaseLost);
  await queues.ack(again);
});
