export { Consumer } from "./consumer.js";
export type { ConsumeOptions } from "./consumer.js";
export {
  ApiError,
  ConfigurationError,
  Conflict,
  ConnectionFailed,
  Forbidden,
  InvalidRequest,
  LeaseLost,
  MalformedAnswer,
  NotFound,
  QueueFull,
  QueuesError,
  RateLimited,
  Reject,
  Retry,
  Throttle,
  Unauthorized,
  Unavailable,
} from "./errors.js";
export type { FieldError, Problem } from "./errors.js";
export type {
  CreateParams,
  DeadLetter,
  Duration,
  EnqueueBatchParams,
  EnqueueParams,
  Enqueued,
  Message,
  NewMessage,
  QueueConfig,
  QueueInfo,
  QueueStats,
  ReceiveParams,
  Retries,
} from "./model.js";
export { Queues } from "./queues.js";
export type { QueuesOptions } from "./transport.js";
