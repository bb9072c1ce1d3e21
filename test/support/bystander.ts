/** A well-behaved session beside one that misbehaves: nothing that the other does may reach it. */

import assert from 'node:assert/strict';

import { dumpHeader } from '../../src/iscsi/wire/headers.js';
import type { Initiator } from './initiator.js';
import { pattern } from './pattern.js';
import type { TestTarget } from './target.js';

const BLOCKS = 64;
export const BYSTANDER_NAME = 'iqn.2026-01.example.test:bystander';

export class Bystander {
  readonly #initiator: Initiator;
  readonly #lba: number;
  #seed = 1;
  #data: Buffer;

  private constructor(initiator: Initiator, lba: number, data: Buffer) {
    this.#initiator = initiator;
    this.#lba = lba;
    this.#data = data;
  }

  /** Log in and write 64 blocks at `lba` of LUN 0, which must be nobody else's. */
  static async arrive(target: TestTarget, lba: number): Promise<Bystander> {
    const initiator = await target.login({ initiatorName: BYSTANDER_NAME });
    const data = pattern(BLOCKS * 512, 0);
    assert.equal((await initiator.write(0, lba, data)).status, 0);
    return new Bystander(initiator, lba, data);
  }

  /** Its data is as it wrote it, and it can read and write as before. */
  async assertUndisturbed(): Promise<void> {
    if (this.#initiator.unsolicited.length > 0) {
      const { header } = await this.#initiator.unsolicited.next();
      assert.fail(`the bystander was sent ${dumpHeader(header)}`);
    }
    const { status, data } = await this.#initiator.read(0, this.#lba, BLOCKS);
    assert.equal(status, 0);
    assert.ok(data.equals(this.#data), "the bystander's data changed");
    this.#data = pattern(BLOCKS * 512, this.#seed++);
    assert.equal((await this.#initiator.write(0, this.#lba, this.#data)).status, 0);
  }

  async leave(): Promise<void> {
    await this.#initiator.logout();
    this.#initiator.destroy();
  }
}
