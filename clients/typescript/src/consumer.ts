import { Acks } from "./acks.js";
import { throttleBody } from "./api.js";
import type { Api } from "./api.js";
import { ApiError, ConfigurationError, LeaseLost, RateLimited, Reject, Retry, Throttle, Unavailable } from "./errors.js";
import type { Lease } from "./leases.js";
import type { Message } from "./model.js";
import { backoff, sleep } from "./timing.js";

export interface ConsumeOptions<P = unknown> {
  queue: string;
  /** May be left out where the queue has one group. */
  group?: string;
  /** Messages worked on at a time; 10 when left out. */
  concurrency?: number;
  handler: (message: Message<P>) => unknown;
  /** Told what a handler threw, with its message, and what went wrong between this client and the gateway. */
  onError?: (error: Error, message?: Message<P>) => unknown;
  /** Stops the consumer as `stop()` does. */
  signal?: AbortSignal;
  /** Seconds that a stop gives to running handlers before their `message.signal` is aborted; 30 when left out. */
  gracePeriod?: number;
  /** Seconds of one long poll; 20 when left out. */
  wait?: number;
}

const MAX_MESSAGES = 100;
/** What a handler gets to end after its signal was aborted; then its lease runs out by itself. */
const ABORTED_GRACE_S = 5;

/** A running consumer: `stop()` it, and await `finished`. */
export class Consumer<P = unknown> {
  /** Resolves when the consumer has stopped and its handlers have ended; rejects when the gateway refuses for good. */
  readonly finished: Promise<void>;

  readonly #api: Api;
  readonly #acks: Acks;
  readonly #options: ConsumeOptions<P> & { concurrency: number };
  readonly #stopping = new AbortController();
  readonly #running = new Map<Lease, Promise<void>>();
  #slotFreed = () => {};

  constructor(api: Api, options: ConsumeOptions<P> & { concurrency: number }) {
    this.#api = api;
    this.#acks = new Acks(api);
    this.#options = options;
    const { signal } = options;
    const stop = () => this.#stopping.abort();
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    this.finished = this.#run().finally(() => signal?.removeEventListener("abort", stop));
  }

  /** Take no more messages; resolves as `finished` does. */
  stop(): Promise<void> {
    this.#stopping.abort();
    return this.finished;
  }

  async #run(): Promise<void> {
    try {
      await this.#receive();
    } finally {
      this.#stopping.abort();
      await this.#drain();
    }
  }

  async #receive(): Promise<void> {
    const { queue, group, concurrency, wait = 20 } = this.#options;
    const { signal } = this.#stopping;
    const poll = { queue, wait, signal, ...(group !== undefined && { group }) };
    let failures = 0;
    while (!signal.aborted) {
      const free = concurrency - this.#running.size;
      if (free < 1) {
        await new Promise<void>((resolve) => (this.#slotFreed = resolve));
        continue;
      }
      try {
        const leases = await this.#api.receive({ ...poll, maxMessages: Math.min(free, MAX_MESSAGES) }, { retries: 0 });
        failures = 0;
        for (const lease of leases) this.#start(lease);
      } catch (error) {
        if (signal.aborted) return;
        if (isFinal(error)) throw error;
        await this.#report(error);
        const asked = error instanceof ApiError ? (error.retryAfter ?? 0) : 0;
        await sleep(Math.max(asked, backoff(failures++)), signal);
      }
    }
  }

  #start(lease: Lease): void {
    const work = this.#work(lease).finally(() => {
      this.#running.delete(lease);
      this.#slotFreed();
    });
    this.#running.set(lease, work);
  }

  async #work(lease: Lease): Promise<void> {
    const message = lease.message as Message<P>;
    const ended = new AbortController();
    void this.#keep(lease, ended.signal);
    try {
      const failure = await this.#handle(message);
      if (failure !== undefined && !(failure instanceof LeaseLost && message.signal.aborted)) {
        await this.#report(failure, message);
      }
      // The handler may have settled the message itself, or may have lost it.
      if (this.#api.leases.holds(message)) await this.#settle(message, failure);
    } catch (error) {
      await this.#report(error, message);
    } finally {
      ended.abort();
      this.#api.leases.forget(message);
    }
  }

  async #handle(message: Message<P>): Promise<unknown> {
    try {
      await this.#options.handler(message);
      return undefined;
    } catch (error) {
      return error ?? new Error(`the handler threw ${error}`);
    }
  }

  async #settle(message: Message<P>, failure: unknown): Promise<void> {
    if (failure === undefined) await this.#acks.ack(message);
    else if (failure instanceof Reject) await this.#api.settle(message, "reject", { reason: failure.message });
    else if (failure instanceof Throttle) await this.#api.settle(message, "throttle", throttleBody(failure));
    else if (failure instanceof Retry) await this.#api.settle(message, "nack", { delay: failure.delay });
    else await this.#api.settle(message, "nack", message.signal.aborted ? { delay: 0 } : {});
  }

  /** Extend the lease until the handler has ended; a lost lease aborts the message's signal. */
  async #keep(lease: Lease, ended: AbortSignal): Promise<void> {
    const { message, controller } = lease;
    const third = message.leaseSeconds / 3;
    let until = now() + message.leaseSeconds;
    let pause = third;
    for (;;) {
      await sleep(pause, ended);
      if (ended.aborted) return;
      try {
        const asked = now();
        await this.#api.extend(message, undefined, { retries: 0, timeout: third, signal: ended });
        until = asked + message.leaseSeconds;
        pause = third;
      } catch (error) {
        if (ended.aborted) return;
        if (error instanceof LeaseLost || now() >= until) {
          const lost = error instanceof LeaseLost ? error : new Error("the lease could not be extended in time");
          this.#api.leases.forget(message);
          controller.abort(lost);
          await this.#report(lost, message as Message<P>);
          return;
        }
        pause = Math.min(1, third / 3);
      }
    }
  }

  async #drain(): Promise<void> {
    const all = () => Promise.all(this.#running.values());
    const over = new AbortController();
    await Promise.race([all(), sleep(this.#options.gracePeriod ?? 30, over.signal)]);
    for (const { controller } of this.#running.keys()) controller.abort(new Error("the consumer stops"));
    if (this.#running.size > 0) await Promise.race([all(), sleep(ABORTED_GRACE_S, over.signal)]);
    over.abort();
  }

  async #report(error: unknown, message?: Message<P>): Promise<void> {
    const seen = error instanceof Error ? error : new Error(String(error));
    const { onError } = this.#options;
    try {
      if (onError) await onError(seen, message);
      else console.error(`protoqueue: ${message ? `message ${message.id} of ` : ""}${this.#options.queue}:`, seen);
    } catch (failure) {
      console.error("protoqueue: onError failed:", failure);
    }
  }
}

/** Whether asking again would get the same answer. */
function isFinal(error: unknown): boolean {
  if (error instanceof ConfigurationError) return true;
  return error instanceof ApiError && !(error instanceof RateLimited || error instanceof Unavailable) && error.status !== 408;
}

function now(): number {
  return performance.now() / 1000;
}
