// What can go wrong, as one tree:
//
// QueuesError
// ├── ConfigurationError   the client is set up wrongly; nothing was sent
// ├── ConnectionFailed     no answer, retries included: whether the request took effect is unknown
// ├── MalformedAnswer      what answered does not speak the gateway's protocol
// └── ApiError             the gateway refused
//     ├── InvalidRequest   400, 413, 415, 422: `errors` points at the fields
//     ├── Unauthorized     401
//     ├── Forbidden        403
//     ├── NotFound         404
//     ├── Conflict         409
//     │   └── LeaseLost    the message is no longer this client's to settle
//     ├── RateLimited      429
//     │   └── QueueFull    the queue has reached its limits; nothing was stored
//     └── Unavailable      5xx: the gateway, NATS or Kubernetes is away

/** What the gateway refused: `pointer` is a JSON pointer into the request's body, `parameter` one of its query. */
export interface FieldError {
  pointer?: string;
  parameter?: string;
  detail: string;
}

/** An `application/problem+json` document as the gateway sends it. */
export interface Problem {
  type?: string;
  /** The word to switch on: `QueueFull`, `LeaseLost`, `QueueNotFound`, … */
  code?: string;
  title?: string;
  status?: number;
  detail?: string;
  instance?: string;
  errors?: FieldError[];
}

export class QueuesError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

export class ConfigurationError extends QueuesError {}

export class ConnectionFailed extends QueuesError {}

export class MalformedAnswer extends QueuesError {}

export class ApiError extends QueuesError {
  readonly status: number;
  readonly problem: Problem;
  readonly errors: readonly FieldError[];
  /** What the gateway's log has for this request. */
  readonly requestId: string | undefined;
  /** Seconds after which the gateway asks to be tried again. */
  readonly retryAfter: number | undefined;

  constructor(status: number, problem: Problem, requestId?: string, retryAfter?: number) {
    super(describe(status, problem, requestId));
    this.status = status;
    this.problem = problem;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

export class InvalidRequest extends ApiError {}
export class Unauthorized extends ApiError {}
export class Forbidden extends ApiError {}
export class NotFound extends ApiError {}
export class Conflict extends ApiError {}
export class LeaseLost extends Conflict {}
export class RateLimited extends ApiError {}
export class QueueFull extends RateLimited {}
export class Unavailable extends ApiError {}

/** Thrown by a handler: the task goes to the dead letters now, without further attempts. */
export class Reject extends Error {}

/** Thrown by a handler: the attempt failed, and the next one comes after `delay` seconds instead of the back-off. */
export class Retry extends Error {
  readonly delay: number;

  constructor(delay: number, message = `again in ${delay} s`) {
    super(message);
    this.delay = delay;
  }
}

/**
 * Thrown by a handler: what it calls is busy. The message comes again after `delay` seconds, as the same attempt, and
 * until then nobody gets a message of the group.
 */
export class Throttle extends Error {
  readonly delay: number;
  /** Shown to whoever looks at the group. */
  readonly reason: string;

  constructor(delay: number, reason = "") {
    super(reason || `throttled for ${delay} s`);
    this.delay = delay;
    this.reason = reason;
  }
}

type ApiErrorClass = new (status: number, problem: Problem, requestId?: string, retryAfter?: number) => ApiError;

const BY_STATUS: Record<number, ApiErrorClass> = {
  400: InvalidRequest,
  401: Unauthorized,
  403: Forbidden,
  404: NotFound,
  409: Conflict,
  413: InvalidRequest,
  415: InvalidRequest,
  422: InvalidRequest,
  429: RateLimited,
};

const BY_TYPE: Record<string, ApiErrorClass> = { leaselost: LeaseLost, queuefull: QueueFull };

/** The error of a refusal: by the problem's type where that says more than the status. */
export function apiError(status: number, problem: Problem, requestId?: string, retryAfter?: number): ApiError {
  const named = BY_TYPE[typeName(problem.code)] ?? BY_TYPE[typeName(problem.type)];
  const Kind = named ?? BY_STATUS[status] ?? (status >= 500 ? Unavailable : ApiError);
  return new Kind(status, problem, requestId, retryAfter);
}

/** `LeaseLost` and `https://…/LeaseLost` are one name. */
function typeName(text: unknown): string {
  if (typeof text !== "string") return "";
  const last = text.split(/[/#:]/).at(-1) ?? "";
  return last.replace(/[^A-Za-z]/g, "").toLowerCase();
}

function describe(status: number, problem: Problem, requestId: string | undefined): string {
  const parts = [problem.detail ?? problem.title ?? "the gateway refused the request"];
  for (const error of Array.isArray(problem.errors) ? problem.errors : []) {
    parts.push(`${error.pointer ?? error.parameter}: ${error.detail}`);
  }
  return `${parts.join("; ")} (HTTP ${status}${requestId ? `, request ${requestId}` : ""})`;
}
