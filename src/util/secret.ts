/** A secret that does not show itself: printed, inspected or turned into JSON, it is `[secret]`. */

import { timingSafeEqual } from 'node:crypto';

const HIDDEN = '[secret]';

/**
 * @example
 * const secret = new Secret('correct horse battery');
 * console.log(secret, `${secret}`, JSON.stringify({ secret })); // [secret] [secret] {"secret":"[secret]"}
 */
export class Secret {
  readonly #bytes: Buffer;

  /** Text counts as UTF-8; bytes are copied. */
  constructor(secret: string | Uint8Array) {
    this.#bytes = Buffer.from(secret);
  }

  /** Bytes. */
  get length(): number {
    return this.#bytes.length;
  }

  /** The secret itself, for whoever computes with it: not to be changed, kept or printed. */
  reveal(): Buffer {
    return this.#bytes;
  }

  /** Whether both are the same; takes the same time wherever they differ. */
  equals(other: Secret): boolean {
    return this.length === other.length && timingSafeEqual(this.#bytes, other.#bytes);
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return HIDDEN;
  }
}
