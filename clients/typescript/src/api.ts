// The gateway's calls that both `Queues` and a consumer make.

import { LeaseLost, MalformedAnswer, apiError } from "./errors.js";
import { Leases } from "./leases.js";
import type { Lease } from "./leases.js";
import type { Message, ReceiveParams } from "./model.js";
import type { Request, Transport } from "./transport.js";
import { decodeMessage, isObject, list, queuePath } from "./wire.js";

const MAX_MESSAGES = 10;
const DEFAULT_WAIT_S = 20;

export class Api {
  readonly transport: Transport;
  readonly leases = new Leases();

  constructor(transport: Transport) {
    this.transport = transport;
  }

  async receive(params: ReceiveParams, options: Pick<Request, "retries"> = {}): Promise<Lease[]> {
    const { queue, group, maxMessages = MAX_MESSAGES, wait = DEFAULT_WAIT_S, signal } = params;
    const request: Request = {
      method: "GET",
      path: `${queuePath(queue)}/messages`,
      query: { maxMessages, wait, group },
      wait,
      ...options,
    };
    if (signal) request.signal = signal;
    const { value, at } = await this.transport.exchange(request);
    const leases = list(value, "messages").map((item) => {
      const controller = new AbortController();
      return { message: decodeMessage(item, queue, group, at, controller.signal), controller };
    });
    for (const lease of leases) this.leases.add(lease);
    return leases;
  }

  /** `ack`, `nack`, `reject`, `throttle`: afterwards the message is no longer held. */
  async settle(message: Message, verb: string, body: Record<string, unknown> = {}): Promise<void> {
    try {
      await this.transport.send({ method: "POST", path: receiptPath(message, verb), body });
    } catch (error) {
      if (error instanceof LeaseLost) this.leases.forget(message);
      throw error;
    }
    this.leases.forget(message);
  }

  async extend(message: Message, seconds: number | undefined, options: Partial<Request> = {}): Promise<void> {
    const body = seconds === undefined ? {} : { seconds };
    try {
      await this.transport.send({ method: "POST", path: receiptPath(message, "extend"), body, ...options });
    } catch (error) {
      if (error instanceof LeaseLost) this.leases.forget(message);
      throw error;
    }
  }

  /** Ack messages of one queue in one request: an error for each that could not be, undefined for the others. */
  async ackTogether(messages: readonly Message[]): Promise<(Error | undefined)[]> {
    const [first] = messages;
    if (first === undefined) return [];
    const path = `${queuePath(first.queue)}/messages/ack`;
    const receipts = messages.map((message) => message.receipt);
    const results = list(await this.transport.send({ method: "POST", path, body: { receipts } }), "results");
    return messages.map((message, index) => {
      this.leases.forget(message);
      return ackError(results[index]);
    });
  }
}

export function throttleBody({ delay, reason }: { delay: number; reason: string }): Record<string, unknown> {
  return reason === "" ? { delay } : { delay, reason };
}

function ackError(result: unknown): Error | undefined {
  if (!isObject(result)) return new MalformedAnswer("a receipt has no result");
  if (result["ok"] === true) return undefined;
  return apiError(typeof result["status"] === "number" ? result["status"] : 409, result);
}

function receiptPath(message: Message, verb: string): string {
  return `${queuePath(message.queue)}/messages/${encodeURIComponent(message.receipt)}/${verb}`;
}
