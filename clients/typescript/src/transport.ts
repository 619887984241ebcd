// One request to the gateway, repeated where that is safe.

import { ApiError, ConfigurationError, ConnectionFailed, MalformedAnswer, apiError } from "./errors.js";
import type { Problem } from "./errors.js";
import { backoff, retryAfterSeconds, sleep } from "./timing.js";
import { isObject } from "./wire.js";

export interface QueuesOptions {
  /** `pq_<id>_<secret>`; `PROTOQUEUE_API_KEY` when left out. */
  apiKey?: string;
  /** The gateway's address; `PROTOQUEUE_GATEWAY_URL` when left out. */
  baseUrl?: string;
  /** How often a request is repeated after 429, 502, 503, 504 and a dropped connection. */
  retries?: number;
  /** Seconds that a request may take; a long poll gets its own wait on top. */
  timeout?: number;
  /** In place of the global `fetch`. */
  fetch?: typeof fetch;
}

export interface Request {
  method: "GET" | "POST";
  path: string;
  query?: Record<string, string | number | undefined>;
  body?: unknown;
  signal?: AbortSignal;
  /** Seconds, added to the client's timeout. */
  wait?: number;
  /** In place of the client's. */
  retries?: number;
  timeout?: number;
}

export interface Answer {
  value: unknown;
  /** Milliseconds since 1970 by the gateway's clock, or by ours where it does not say. */
  at: number;
}

const RETRIED = new Set([429, 502, 503, 504]);
/** A longer Retry-After is the caller's to decide about. */
const LONGEST_WAIT_S = 30;
/** What a proxy or a stranger answers in place of JSON is quoted up to here. */
const QUOTED = 200;

export class Transport {
  readonly #baseUrl: string;
  readonly #apiKey: string;
  readonly #retries: number;
  readonly #timeout: number;
  readonly #fetch: typeof fetch;

  constructor(options: QueuesOptions) {
    const baseUrl = options.baseUrl ?? environment("PROTOQUEUE_GATEWAY_URL");
    const apiKey = options.apiKey ?? environment("PROTOQUEUE_API_KEY");
    if (!baseUrl) throw new ConfigurationError("no baseUrl is given, and PROTOQUEUE_GATEWAY_URL is not set");
    if (!apiKey) throw new ConfigurationError("no apiKey is given, and PROTOQUEUE_API_KEY is not set");
    if (!/^[\x21-\x7e]+$/.test(apiKey)) throw new ConfigurationError("apiKey has characters that no key has");
    this.#baseUrl = checkedUrl(baseUrl);
    this.#apiKey = apiKey;
    this.#retries = options.retries ?? 5;
    this.#timeout = options.timeout ?? 30;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /** The answer's JSON, undefined where it has no body. Throws what `errors.ts` lists, and the signal's reason. */
  async send(request: Request): Promise<unknown> {
    return (await this.exchange(request)).value;
  }

  async exchange(request: Request): Promise<Answer> {
    const retries = request.retries ?? this.#retries;
    for (let failures = 0; ; failures++) {
      try {
        return await this.#once(request);
      } catch (error) {
        if (failures >= retries || !isRetried(error)) throw error;
        const asked = error instanceof ApiError ? error.retryAfter : undefined;
        if (asked !== undefined && asked > LONGEST_WAIT_S) throw error;
        await sleep(Math.max(asked ?? 0, backoff(failures)), request.signal);
        request.signal?.throwIfAborted();
      }
    }
  }

  async #once(request: Request): Promise<Answer> {
    request.signal?.throwIfAborted();
    const limit = (request.timeout ?? this.#timeout) + (request.wait ?? 0);
    // Not AbortSignal.any: it keeps what it made for as long as a consumer's signal lives.
    const controller = new AbortController();
    const left = () => controller.abort(request.signal?.reason);
    request.signal?.addEventListener("abort", left, { once: true });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      controller.abort();
    }, limit * 1000);
    const headers: Record<string, string> = { accept: "application/json", authorization: `Bearer ${this.#apiKey}` };
    const init: RequestInit = { method: request.method, headers, redirect: "manual" };
    init.signal = controller.signal;
    if (request.body !== undefined) {
      headers["content-type"] = "application/json";
      init.body = encode(request.body);
    }
    try {
      const response = await this.#fetch(this.#url(request), init);
      const value = decode(response, await response.text());
      const date = Date.parse(response.headers.get("date") ?? "");
      return { value, at: Number.isNaN(date) ? Date.now() : date };
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason;
      if (error instanceof ApiError || error instanceof MalformedAnswer) throw error;
      const why = late ? `no answer within ${limit} s` : reason(error);
      throw new ConnectionFailed(`${request.method} ${this.#baseUrl}${request.path}: ${why}`, { cause: error });
    } finally {
      clearTimeout(timer);
      request.signal?.removeEventListener("abort", left);
    }
  }

  #url(request: Request): string {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    const search = query.toString();
    return `${this.#baseUrl}${request.path}${search && `?${search}`}`;
  }
}

function isRetried(error: unknown): boolean {
  return error instanceof ConnectionFailed || (error instanceof ApiError && RETRIED.has(error.status));
}

function encode(body: unknown): string {
  try {
    return JSON.stringify(body);
  } catch (error) {
    throw new ConfigurationError(`the request cannot be said in JSON: ${reason(error)}`, { cause: error });
  }
}

function decode(response: Response, text: string): unknown {
  let value: unknown;
  try {
    value = text === "" ? undefined : JSON.parse(text);
  } catch {
    value = text;
  }
  if (response.ok) {
    if (typeof value !== "string") return value;
    throw new MalformedAnswer(`HTTP ${response.status} without JSON; does baseUrl name a gateway? ${quoted(text)}`);
  }
  const problem: Problem = { ...(isObject(value) && value) };
  if (typeof problem.detail !== "string" && typeof problem.title !== "string") problem.detail = refusal(response, text);
  const requestId = response.headers.get("x-request-id") ?? undefined;
  const retryAfter = retryAfterSeconds(response.headers.get("retry-after"), Date.now());
  throw apiError(response.status, problem, requestId, retryAfter);
}

function refusal(response: Response, text: string): string {
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
    return "the address redirects, and a key is sent to no other address than baseUrl";
  }
  return text === "" ? response.statusText || "no explanation" : quoted(text);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > QUOTED ? `${text.slice(0, QUOTED)}…` : text);
}

/** What `fetch` hides in the cause: "fetch failed" alone helps nobody. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error ? `${error.message}: ${cause.message || cause.name}` : error.message;
}

function checkedUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new ConfigurationError(`baseUrl ${JSON.stringify(text)} is not a URL`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ConfigurationError(`baseUrl has to begin with http:// or https://, not ${url.protocol}`);
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new ConfigurationError("baseUrl has a user, a query or a fragment; it takes a scheme, a host and a path");
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name];
}
