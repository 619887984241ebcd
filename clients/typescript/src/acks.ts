// Acks that come while a request is on its way go together in the next one.

import type { Api } from "./api.js";
import type { Message } from "./model.js";

const TOGETHER = 100;

interface Waiting {
  message: Message;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class Acks {
  readonly #api: Api;
  #waiting: Waiting[] = [];
  #sending = false;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Resolves once the gateway has confirmed it; rejects with what `Queues.ack` throws. */
  ack(message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ message, resolve, reject });
      if (!this.#sending) void this.#send();
    });
  }

  async #send(): Promise<void> {
    this.#sending = true;
    await Promise.resolve(); // handlers that end in the same turn share a request
    while (this.#waiting.length > 0) {
      const now = this.#waiting.splice(0, TOGETHER);
      try {
        const errors = await this.#api.ackTogether(now.map(({ message }) => message));
        now.forEach(({ resolve, reject }, index) => (errors[index] ? reject(errors[index]) : resolve()));
      } catch (error) {
        for (const { reject } of now) reject(error);
      }
    }
    this.#sending = false;
  }
}
