// Which messages this client holds: `ack(message.id)` needs the queue and the receipt.

import { ConfigurationError } from "./errors.js";
import type { Message } from "./model.js";

/** More are forgotten, oldest first: their leases have long run out. */
const MOST = 100_000;

export interface Lease {
  readonly message: Message;
  readonly controller: AbortController;
}

export class Leases {
  readonly #byId = new Map<string, Lease[]>();

  add(lease: Lease): void {
    const { id, queue, group } = lease.message;
    // A message that comes again has a new receipt; the earlier one is void.
    const others = (this.#byId.get(id) ?? []).filter(
      ({ message }) => message.queue !== queue || message.group !== group,
    );
    this.#byId.delete(id);
    this.#byId.set(id, [...others, lease]);
    if (this.#byId.size > MOST) {
      const oldest = this.#byId.keys().next();
      if (!oldest.done) this.#byId.delete(oldest.value);
    }
  }

  /** The message itself, or the held one of this id; throws ConfigurationError where there is none, or are several. */
  find(message: Message | string): Message {
    if (typeof message !== "string") return message;
    const held = this.#byId.get(message) ?? [];
    if (held.length > 1) {
      throw new ConfigurationError(`messages ${message} of several queues are held: pass the message, not its id`);
    }
    const [lease] = held;
    if (lease === undefined) {
      throw new ConfigurationError(`this client holds no message ${message}: it was settled, or never received here`);
    }
    return lease.message;
  }

  holds(message: Message): boolean {
    return this.#byId.get(message.id)?.some((lease) => lease.message.receipt === message.receipt) ?? false;
  }

  forget(message: Message): void {
    const left = (this.#byId.get(message.id) ?? []).filter((lease) => lease.message.receipt !== message.receipt);
    if (left.length > 0) this.#byId.set(message.id, left);
    else this.#byId.delete(message.id);
  }
}
