// What goes in and what comes out. Durations are seconds.

export type Duration = number | string;

/** How a queue behaves; what is left out takes the gateway's defaults. */
export interface QueueConfig {
  /** Attempts after the first. */
  maxRetries?: number;
  /** How long a received message is leased. */
  visibilityTimeout?: Duration;
  /** The queue that gets messages whose attempts are used up; it is created if missing. */
  deadLetterQueue?: string;
  rateLimit?: { requests: number; per: "second" | "minute" | "hour" | Duration };
}

export interface CreateParams {
  /** `name` in the gateway's default namespace, or `namespace/name`. */
  name: string;
  config?: QueueConfig;
  /** A Queue's whole spec, in place of `config`. */
  spec?: Record<string, unknown>;
  /** How long the gateway waits until the queue is ready; its own default is 10 s. */
  wait?: Duration;
}

/** A queue as the gateway describes it; fields that this client does not know are kept. */
export interface QueueInfo {
  name: string;
  namespace?: string;
  [field: string]: unknown;
}

/** How often and when a message is tried; what is left out its queue and group say. */
export interface Retries {
  /** The first included. */
  maxAttempts?: number;
  initialDelay?: Duration;
  multiplier?: number;
  maxDelay?: Duration;
  /** Share of a delay, 0 to 1, that is spread to both sides. */
  jitter?: number;
}

export interface NewMessage {
  /** Anything that JSON can say, or bytes. */
  payload: unknown;
  /** The content type of a payload of bytes. */
  contentType?: string;
  /** 1 to 10; higher is more urgent. */
  priority?: number;
  delay?: Duration;
  at?: Date | string;
  expires?: Duration | Date;
  /** A message of the same id within the queue's window is stored once. Made by the client when left out. */
  dedupId?: string;
  orderingKey?: string;
  fairnessKey?: string;
  /** At most one message of this key waits, is scheduled or runs; a second one is not stored. */
  unique?: string;
  /** Until when it keeps its key from others; "end" when left out. */
  uniqueUntil?: "end" | "start";
  /** It takes the place of the message of this key that is not yet due, which never runs. */
  replace?: string;
  type?: string;
  metadata?: Record<string, unknown>;
  retry?: Retries;
}

export interface EnqueueParams extends NewMessage {
  queue: string;
}

export interface EnqueueBatchParams {
  queue: string;
  messages: readonly NewMessage[];
}

/** A stored message. `duplicate`: one of the same `dedupId` or `unique` was there, and nothing was stored. */
export interface Enqueued {
  id: string;
  duplicate: boolean;
  /** The id of the message in whose place this one was stored; absent where there was none. */
  replaced?: string;
}

export interface ReceiveParams {
  queue: string;
  /** May be left out where the queue has one group. */
  group?: string;
  maxMessages?: number;
  /** How long to wait for a first message; 0 returns at once. */
  wait?: number;
  signal?: AbortSignal;
}

/** Why a message of a dead letter queue was given up, and by which queue and group. */
export interface DeadLetter {
  reason?: string;
  error?: string;
  errorType?: string;
  traceback?: string;
  attempts?: number;
  failedAt?: string | null;
  worker?: string;
  /** `namespace/name`. */
  queue?: string;
  group?: string;
  [field: string]: unknown;
}

/** A message leased to this client: settle it within `leaseSeconds`, or extend the lease. */
export interface Message<P = unknown> {
  readonly id: string;
  readonly receipt: string;
  readonly queue: string;
  readonly group: string | undefined;
  /** Bytes where the producer sent other than JSON. */
  readonly payload: P;
  readonly contentType: string | undefined;
  readonly type: string;
  /** Counts from 1. */
  readonly attempt: number;
  /** How many attempts there may be. */
  readonly maxAttempts: number | undefined;
  readonly priority: number | undefined;
  readonly enqueuedAt: Date | undefined;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly orderingKey: string | undefined;
  readonly deadLetter: DeadLetter | undefined;
  readonly leaseSeconds: number;
  /** Aborted when the lease is lost, and when a stopping consumer gives up waiting for the handler. */
  readonly signal: AbortSignal;
}

/** Counts of a queue; fields that this client does not know are kept. */
export interface QueueStats {
  waiting: number;
  inFlight: number;
  scheduled: number;
  dead: number;
  [field: string]: unknown;
}
