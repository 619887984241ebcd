// Waiting, and for how long.

const FIRST_S = 0.1;
const MOST_S = 20;

/** Seconds before the next try after `failures` failures; random, so that many clients do not come back together. */
export function backoff(failures: number): number {
  return Math.min(MOST_S, FIRST_S * 2 ** failures) * (0.5 + Math.random() / 2);
}

/** Resolves after so many seconds, or at once when the signal is aborted. */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Seconds of a Retry-After header: a number, or a date. */
export function retryAfterSeconds(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  if (/^\d+(\.\d+)?$/.test(header.trim())) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000);
}
