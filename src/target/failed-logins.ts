/** Failed authentications by address: whoever guesses secrets is refused for a while. The time is an argument. */

/** When an address is refused, and for how long. */
export interface FailedLoginLimits {
  /** Failures within `failedLoginWindowMs` after which an address is refused; at least 1. */
  failedLogins: number;
  /** Milliseconds from the first of them. */
  failedLoginWindowMs: number;
  /** How long the address is refused then, milliseconds. */
  failedLoginPauseMs: number;
}

/** Addresses that are remembered; beyond that, the one that has not failed for longest is forgotten. */
const ADDRESSES = 4096;

interface Failures {
  count: number;
  /** When the window ends, and when an address that is refused is heard again. */
  until: number;
}

export class FailedLogins {
  limits: FailedLoginLimits;
  /** Who failed last is last. */
  readonly #failures = new Map<string, Failures>();

  constructor(limits: FailedLoginLimits) {
    this.limits = limits;
  }

  /** Whether a login from `address` is refused now. */
  isRefused(address: string, now: number): boolean {
    const failures = this.#current(address, now);
    return failures !== undefined && failures.count >= this.limits.failedLogins;
  }

  /** An authentication failed. True if the address is refused from now on, and was not before. */
  failed(address: string, now: number): boolean {
    const { failedLogins, failedLoginWindowMs, failedLoginPauseMs } = this.limits;
    const failures = this.#current(address, now) ?? { count: 0, until: now + failedLoginWindowMs };
    failures.count++;
    this.#failures.delete(address);
    this.#failures.set(address, failures);
    if (this.#failures.size > ADDRESSES) {
      const [oldest] = this.#failures.keys();
      this.#failures.delete(oldest!);
    }
    if (failures.count !== failedLogins) return false;
    failures.until = now + failedLoginPauseMs;
    return true;
  }

  /** An authentication succeeded: the address starts anew. */
  succeeded(address: string): void {
    this.#failures.delete(address);
  }

  #current(address: string, now: number): Failures | undefined {
    const failures = this.#failures.get(address);
    if (failures === undefined || now < failures.until) return failures;
    this.#failures.delete(address);
    return undefined;
  }
}
