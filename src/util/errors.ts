/** The one error class of Riser: what went wrong, who broke the rule, and what it costs. */

/** Who broke the rule. */
export type Culprit = 'local' | 'peer' | 'device';

/** What is lost by it. */
export type Cost = 'task' | 'connection' | 'session' | 'process';

export interface RiserErrorOptions {
  by: Culprit;
  costs: Cost;
  /** What the user can do about it, one sentence. */
  remedy?: string;
  cause?: unknown;
}

/**
 * An error with a stable code such as `LOGIN_TIMEOUT`.
 *
 * @example
 * throw new RiserError('IMAGE_LOCKED', `${path} is served by another process`, {
 *   by: 'local', costs: 'process', remedy: 'Stop that process, or serve the image with --read-only.',
 * });
 */
export class RiserError extends Error {
  readonly code: string;
  readonly by: Culprit;
  readonly costs: Cost;
  readonly remedy: string | undefined;

  constructor(code: string, message: string, options: RiserErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RiserError';
    this.code = code;
    this.by = options.by;
    this.costs = options.costs;
    this.remedy = options.remedy;
  }
}

/** `ENOENT` and the like, or undefined. */
export function systemCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null | undefined)?.code;
}
