import { Api, throttleBody } from "./api.js";
import { Consumer } from "./consumer.js";
import type { ConsumeOptions } from "./consumer.js";
import { ConfigurationError } from "./errors.js";
import type {
  CreateParams,
  EnqueueBatchParams,
  EnqueueParams,
  Enqueued,
  Message,
  QueueInfo,
  QueueStats,
  ReceiveParams,
} from "./model.js";
import { Transport } from "./transport.js";
import type { QueuesOptions } from "./transport.js";
import { creationPath, decodeEnqueued, decodeQueue, decodeStats, encodeMessage, list, queuePath } from "./wire.js";

const READY_WAIT_S = 10;

/**
 * A client of ProtoQueue's gateway.
 *
 * A queue is named `name` (in the gateway's default namespace) or `namespace/name`; durations are seconds. What a
 * request may be repeated for (429, 502, 503, 504, a dropped connection) it is repeated for: an id for deduplication,
 * made here unless given, keeps a message from being stored twice. What remains is thrown, see `errors.ts`.
 */
export class Queues {
  readonly #api: Api;

  constructor(options: QueuesOptions = {}) {
    this.#api = new Api(new Transport(options));
  }

  /** Create a queue and wait until it is ready. One that exists just so is returned; else throws Conflict. */
  async create(params: CreateParams): Promise<QueueInfo> {
    const { path, name } = creationPath(params.name);
    const { config, spec, wait } = params;
    const body = { name, ...(config && { config }), ...(spec && { spec }) };
    const seconds = typeof wait === "number" ? wait : READY_WAIT_S;
    const answer = await this.#api.transport.send({ method: "POST", path, body, query: { wait }, wait: seconds });
    return decodeQueue(answer);
  }

  /** Store a message. Throws QueueFull when the queue's limits are reached and stay so. */
  async enqueue(params: EnqueueParams): Promise<Enqueued> {
    const { queue, ...message } = params;
    const path = `${queuePath(queue)}/messages`;
    const answer = await this.#api.transport.send({ method: "POST", path, body: encodeMessage(message) });
    return decodeEnqueued(answer, message.dedupId === undefined);
  }

  /** Store messages, all or none. The gateway bounds how many (`MAX_BATCH_SIZE`, 100 by default). */
  async enqueueBatch(params: EnqueueBatchParams): Promise<Enqueued[]> {
    const { queue, messages } = params;
    const path = `${queuePath(queue)}/messages/batch`;
    const body = { messages: messages.map(encodeMessage) };
    const stored = list(await this.#api.transport.send({ method: "POST", path, body }), "messages");
    return messages.map((message, index) => decodeEnqueued(stored[index], message.dedupId === undefined));
  }

  /** Lease up to `maxMessages` (10), waiting up to `wait` (20 s) for the first; an empty list when none came. */
  async receive<P = unknown>(params: ReceiveParams): Promise<Message<P>[]> {
    const leases = await this.#api.receive(params);
    return leases.map((lease) => lease.message as Message<P>);
  }

  /** The message is done. Throws LeaseLost when its lease is over: the message is, or will be, another's. */
  async ack(message: Message | string): Promise<void> {
    await this.#api.settle(this.#api.leases.find(message), "ack");
  }

  /** The attempt failed: again after `delay` seconds, else after the queue's back-off. Throws LeaseLost. */
  async nack(message: Message | string, options: { delay?: number } = {}): Promise<void> {
    const { delay } = options;
    await this.#api.settle(this.#api.leases.find(message), "nack", delay === undefined ? {} : { delay });
  }

  /** To the dead letters, now. Throws LeaseLost. */
  async reject(message: Message | string, reason?: string): Promise<void> {
    await this.#api.settle(this.#api.leases.find(message), "reject", reason === undefined ? {} : { reason });
  }

  /**
   * What the message calls is busy: the same attempt again after `delay` seconds, and no message of the group for
   * anybody before then. `reason` is shown to whoever looks at the group. Throws LeaseLost.
   */
  async throttle(message: Message | string, delay: number, reason = ""): Promise<void> {
    await this.#api.settle(this.#api.leases.find(message), "throttle", throttleBody({ delay, reason }));
  }

  /** Hold the message for `seconds` more, or for its queue's whole visibility timeout. Throws LeaseLost. */
  async extend(message: Message | string, seconds?: number): Promise<void> {
    await this.#api.extend(this.#api.leases.find(message), seconds);
  }

  async stats(queue: string | { queue: string }): Promise<QueueStats> {
    const path = `${queuePath(typeof queue === "string" ? queue : queue.queue)}/stats`;
    return decodeStats(await this.#api.transport.send({ method: "GET", path }));
  }

  /**
   * Run `handler` for each message, up to `concurrency` (10) at a time, until `stop()` or the signal.
   *
   * A message is acked when the handler returns, and returned for another attempt when it throws; `Reject`, `Retry`
   * and `Throttle` say otherwise. Leases are extended while a handler runs. Failures to reach the gateway go to `onError` and are
   * retried with back-off; a refusal for good (the key, the queue, the request) ends `finished` with that error.
   */
  consume<P = unknown>(options: ConsumeOptions<P>): Consumer<P> {
    const { concurrency = 10 } = options;
    queuePath(options.queue);
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw new ConfigurationError(`concurrency has to be a whole number from 1, not ${concurrency}`);
    }
    return new Consumer(this.#api, { ...options, concurrency });
  }
}
