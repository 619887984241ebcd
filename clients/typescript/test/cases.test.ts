// The cases that every client passes: tests/clients/cases.json, played by tests/clients/case_server.py.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { ApiError, ConfigurationError, Queues, QueuesError, Reject, Retry, Throttle } from "@protoqueue/client";
import type { Message, QueuesOptions } from "@protoqueue/client";

type Fields = Record<string, any>;

interface Step {
  call: string;
  args: Fields;
  result?: unknown;
  error?: Fields;
  handler?: Record<string, string>;
  handled?: string[];
  errors?: Fields[];
  stopAt?: string;
  gracePeriod?: number;
}

interface Case {
  name: string;
  options?: QueuesOptions;
  steps: Step[];
}

const folder = process.env["PROTOQUEUE_CASES"] ?? "../../tests/clients";
const { key, cases } = JSON.parse(readFileSync(`${folder}/cases.json`, "utf8")) as { key: string; cases: Case[] };
let server: ChildProcess;
let address: string;

before(async () => {
  server = spawn(process.env["PYTHON"] ?? "python3", [`${folder}/case_server.py`], { stdio: ["pipe", "pipe", "inherit"] });
  for await (const line of createInterface({ input: server.stdout! })) {
    address = line;
    break;
  }
});

after(() => {
  server.kill();
});

describe("cases", { concurrency: 8 }, () => {
  cases.forEach((one, number) => test(one.name, { timeout: 100_000 }, () => play(one, number)));
});

async function play(one: Case, number: number): Promise<void> {
  const baseUrl = `${address}/${number}`;
  const queues = new Queues({ apiKey: key, baseUrl, ...one.options });
  for (const step of one.steps) {
    if (step.call === "consume") await consume(queues, step, baseUrl);
    else await expect(() => call(queues, step), step);
  }
  const { done, unused, problems } = await report(baseUrl);
  assert.deepEqual({ done, unused, problems }, { done: true, unused: [], problems: [] });
}

async function report(baseUrl: string): Promise<Fields> {
  return (await (await fetch(`${baseUrl}/report`)).json()) as Fields;
}

async function answered(baseUrl: string, whole: boolean): Promise<void> {
  const started = Date.now();
  for (;;) {
    if (Date.now() - started > 60_000) throw new Error("the case does not come to its end");
    const { done, unused } = await report(baseUrl);
    if (done || (!whole && unused.length === 0)) return;
    await pause(20);
  }
}

function call(queues: Queues, { call, args }: Step): Promise<unknown> {
  const { id, ...rest } = unpacked(args) as any;
  switch (call) {
    case "create":
      return queues.create(rest);
    case "enqueue":
      return queues.enqueue(rest);
    case "enqueueBatch":
      return queues.enqueueBatch(rest);
    case "receive":
      return queues.receive(rest);
    case "ack":
      return queues.ack(id);
    case "nack":
      return queues.nack(id, rest);
    case "reject":
      return queues.reject(id, rest.reason);
    case "throttle":
      return queues.throttle(id, rest.delay, rest.reason);
    case "extend":
      return queues.extend(id, rest.seconds);
    case "stats":
      return queues.stats(rest);
    default:
      throw new Error(`no call ${call}`);
  }
}

async function expect(run: () => Promise<unknown>, step: Step): Promise<void> {
  let result: unknown;
  try {
    result = await run();
  } catch (error) {
    if (!step.error) throw error;
    return same(error, step.error);
  }
  assert.equal(step.error, undefined, `no error, but ${JSON.stringify(result)}`);
  if (step.result !== undefined) subset(plain(result), plain(unpacked(step.result)));
}

function same(error: unknown, expected: Fields): void {
  assert(error instanceof Error);
  assert(!error.message.includes(key) && !error.stack?.includes(key), "an error shows the key");
  const { kind, status, retryAfter, contains, errors } = expected;
  if (kind) {
    assert(error instanceof QueuesError, `${error} is not of the client's own`);
    assert.equal(error.name, kind, error.message);
  }
  if (status) assert.equal((error as ApiError).status, status);
  if (retryAfter) assert.equal((error as ApiError).retryAfter, retryAfter);
  if (errors) assert.deepEqual((error as ApiError).errors, errors);
  if (contains) assert(error.message.includes(contains), error.message);
}

async function consume(queues: Queues, step: Step, baseUrl: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  const handled: string[] = [];
  const errors: [Error, string | undefined][] = [];
  const consumer = queues.consume({
    queue: step.args["queue"],
    concurrency: step.args["concurrency"],
    ...(step.gracePeriod !== undefined && { gracePeriod: step.gracePeriod }),
    handler: async (message) => {
      handled.push(message.id);
      if (step.stopAt === message.id) void consumer.stop();
      await act(step.handler?.[message.id] ?? "", message, queues, baseUrl);
    },
    onError: (error, message) => errors.push([error, message?.id]),
  });
  if (step.error) {
    await assert.rejects(consumer.finished, (error) => (same(error, step.error!), true));
    return;
  }
  if (step.stopAt) {
    while (!handled.includes(step.stopAt) && performance.now() < deadline) await pause(5);
  } else {
    await Promise.race([answered(baseUrl, true), consumer.finished]);
    while (errors.length < (step.errors ?? []).length) {
      await pause(5);
      if (performance.now() > deadline) break;
    }
  }
  await consumer.stop();
  assert.deepEqual(handled.toSorted(), step.handled);
  for (const [index, expected] of (step.errors ?? []).entries()) {
    const [error, message] = errors[index]!;
    same(error, expected);
    assert.equal(message, expected["message"]);
  }
  if (step.errors) assert.equal(errors.length, step.errors.length, String(errors));
}

async function act(what: string, message: Message, queues: Queues, baseUrl: string): Promise<void> {
  const [verb, seconds] = what.split(" ");
  if (what === "fail") throw new TypeError("the handler failed");
  if (what === "reject") throw new Reject("never");
  if (what === "retry") throw new Retry(7);
  if (what === "throttle") throw new Throttle(30, "429 from the API");
  if (what === "ack") await queues.ack(message.id);
  if (what === "until answered") await answered(baseUrl, false);
  if (verb === "hold") await pause(Number(seconds) * 1000);
  if (what === "until aborted") {
    await new Promise((resolve) => message.signal.addEventListener("abort", resolve, { once: true }));
    throw message.signal.reason;
  }
}

function unpacked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unpacked);
  if (typeof value !== "object" || value === null) return value;
  if ("$bytes" in value) return Uint8Array.from(Buffer.from(String(value.$bytes), "base64"));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, unpacked(item)]));
}

/** Times as text, as the cases have them; bytes as lists. */
function plain(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString().replace(".000Z", "Z");
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const shown = Object.entries(value).filter(([, item]) => !(item instanceof AbortSignal));
  return Object.fromEntries(shown.map(([name, item]) => [name, plain(item)]));
}

/** What is expected is there; there may be more fields. */
function subset(seen: unknown, expected: unknown): void {
  if (Array.isArray(expected)) {
    assert(Array.isArray(seen));
    assert.equal(seen.length, expected.length);
    expected.forEach((item, index) => subset(seen[index], item));
  } else if (typeof expected === "object" && expected !== null) {
    for (const [name, item] of Object.entries(expected)) subset((seen as Fields)[name], item);
  } else {
    assert.equal(seen, expected);
  }
}

test("what is set up wrongly is told at once", () => {
  const { env } = process;
  assert.throws(() => new Queues({ baseUrl: "http://gateway" }), ConfigurationError);
  assert.throws(() => new Queues({ apiKey: "k" }), /PROTOQUEUE_GATEWAY_URL/);
  assert.throws(() => new Queues({ apiKey: "k", baseUrl: "gateway:8080" }), ConfigurationError);
  assert.throws(() => new Queues({ apiKey: "k\n", baseUrl: "http://gateway" }), ConfigurationError);
  env["PROTOQUEUE_GATEWAY_URL"] = "http://gateway";
  env["PROTOQUEUE_API_KEY"] = "k";
  new Queues();
  delete env["PROTOQUEUE_GATEWAY_URL"];
  delete env["PROTOQUEUE_API_KEY"];
});
