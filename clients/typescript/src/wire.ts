// Between what users hold and what goes over HTTP.

import { ConfigurationError, MalformedAnswer } from "./errors.js";
import type { Enqueued, Message, NewMessage, QueueInfo, QueueStats } from "./model.js";

const DNS_NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
const DEFAULT_LEASE_S = 30;

/** The path of `name` or `namespace/name`; throws ConfigurationError for what can be neither. */
export function queuePath(queue: string): string {
  const parts = typeof queue === "string" ? queue.split("/") : [];
  if (parts.length < 1 || parts.length > 2 || !parts.every((part) => DNS_NAME.test(part))) {
    throw new ConfigurationError(`${JSON.stringify(queue)} is not a queue name (name or namespace/name)`);
  }
  const [namespace, name] = parts;
  return name === undefined ? `/v1/queues/${namespace}` : `/v1/namespaces/${namespace}/queues/${name}`;
}

/** Where a queue is created, and by which name. */
export function creationPath(queue: string): { path: string; name: string } {
  const path = queuePath(queue);
  const cut = path.lastIndexOf("/");
  return { path: path.slice(0, cut), name: path.slice(cut + 1) };
}

/** The body of one message. An id for deduplication is made here, so that a repeated request stores it once. */
export function encodeMessage(message: NewMessage): Record<string, unknown> & { dedupId: string } {
  const { payload, contentType, at, expires, dedupId, ...rest } = message;
  const body: Record<string, unknown> & { dedupId: string } = { ...rest, dedupId: dedupId ?? `c-${uuid()}` };
  if (payload instanceof Uint8Array) {
    body["payloadBase64"] = toBase64(payload);
    body["contentType"] = contentType ?? "application/octet-stream";
  } else if (payload === undefined) {
    throw new ConfigurationError("payload is undefined, which JSON cannot say; null is a payload");
  } else {
    body["payload"] = payload;
    if (contentType !== undefined) body["contentType"] = contentType;
  }
  if (at !== undefined) body["at"] = at instanceof Date ? at.toISOString() : at;
  if (expires !== undefined) body["expires"] = expires instanceof Date ? expires.toISOString() : expires;
  return body;
}

/** What was stored. A duplicate of an id that the client made is the client's own repeated request. */
export function decodeEnqueued(value: unknown, madeHere: boolean): Enqueued {
  const item = object(value, "a stored message");
  const id = text(item["id"], "id");
  const duplicate = item["duplicate"] === true && (!madeHere || item["matched"] === "unique");
  return typeof item["replaced"] === "string" ? { id, duplicate, replaced: item["replaced"] } : { id, duplicate };
}

export function decodeQueue(value: unknown): QueueInfo {
  const queue = object(value, "a queue");
  return { ...queue, name: text(queue["name"], "name") };
}

export function decodeStats(value: unknown): QueueStats {
  const stats = object(value, "stats");
  const { waiting, inFlight, scheduled, dead } = stats;
  return {
    ...stats,
    waiting: count(waiting, "waiting"),
    inFlight: count(inFlight, "inFlight"),
    scheduled: count(scheduled, "scheduled"),
    dead: count(dead, "dead"),
  };
}

/** A message of an answer that the gateway gave at `answeredAt`, by its own clock. */
export function decodeMessage(
  value: unknown,
  queue: string,
  group: string | undefined,
  answeredAt: number,
  signal: AbortSignal,
): Message {
  const item = object(value, "a message");
  const base64 = item["payloadBase64"];
  const enqueuedAt = typeof item["enqueuedAt"] === "string" ? new Date(item["enqueuedAt"]) : undefined;
  return {
    id: text(item["id"], "id"),
    receipt: text(item["receipt"], "receipt"),
    queue,
    group: optionalText(item["group"]) ?? group,
    payload: typeof base64 === "string" ? fromBase64(base64) : item["payload"],
    contentType: optionalText(item["contentType"]),
    type: optionalText(item["type"]) ?? "",
    attempt: typeof item["attempt"] === "number" ? item["attempt"] : 1,
    maxAttempts: typeof item["maxAttempts"] === "number" ? item["maxAttempts"] : undefined,
    priority: typeof item["priority"] === "number" ? item["priority"] : undefined,
    enqueuedAt,
    metadata: isObject(item["metadata"]) ? item["metadata"] : {},
    orderingKey: optionalText(item["orderingKey"]),
    deadLetter: isObject(item["deadLetter"]) ? item["deadLetter"] : undefined,
    leaseSeconds: leaseSeconds(item, answeredAt),
    signal,
  };
}

/** How long the lease lasts from now on. The clocks of client and gateway need not agree. */
function leaseSeconds(item: Record<string, unknown>, answeredAt: number): number {
  const { leaseSeconds: stated, leasedUntil } = item;
  if (typeof stated === "number" && stated > 0) return stated;
  const until = typeof leasedUntil === "string" ? Date.parse(leasedUntil) : Number.NaN;
  return Number.isNaN(until) ? DEFAULT_LEASE_S : Math.max(1, (until - answeredAt) / 1000);
}

export function list(value: unknown, field: string): unknown[] {
  const items = object(value, "an object")[field];
  if (!Array.isArray(items)) throw new MalformedAnswer(`the answer has no list ${JSON.stringify(field)}`);
  return items;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (!isObject(value)) throw new MalformedAnswer(`the answer is not ${what}`);
  return value;
}

function text(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "") {
    throw new MalformedAnswer(`the answer has no text ${JSON.stringify(field)}`);
  }
  return value;
}

function count(value: unknown, field: string): number {
  if (typeof value !== "number") throw new MalformedAnswer(`the answer has no number ${JSON.stringify(field)}`);
  return value;
}

function optionalText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function uuid(): string {
  // Browsers have crypto.randomUUID on secure origins only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function fromBase64(encoded: string): Uint8Array {
  try {
    return Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  } catch {
    throw new MalformedAnswer("payloadBase64 is not base64");
  }
}
