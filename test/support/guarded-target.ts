/** A target that is attacked over RDMA, and a bystander on it: who attacks leaves nothing behind, and the bystander notices nothing. */

import type { BlockDevice } from '../../src/block/index.js';
import { Bystander } from './bystander.js';
import { assertCensus, census, type Census } from './rdma-census.js';
import { TestTarget, type TestTargetOptions } from './target.js';
import { until } from './verbs-pair.js';

/** Where the bystander's blocks begin. */
const BYSTANDER_LBA = 8192;

export class GuardedTarget {
  readonly port: number;
  readonly bystander: Bystander;
  /** What is in use while nobody but the bystander is there. */
  readonly idle: Census = census();
  readonly #target: TestTarget;

  private constructor(target: TestTarget, bystander: Bystander) {
    this.#target = target;
    this.port = target.port;
    this.bystander = bystander;
  }

  /** `device`, LUN 0: 8 MiB in blocks of 512 bytes. What is behind its first 4 MiB is the bystander's. */
  static async start(device: BlockDevice, options: TestTargetOptions = {}): Promise<GuardedTarget> {
    const target = await TestTarget.start([{ device }], options);
    return new GuardedTarget(target, await Bystander.arrive(target, BYSTANDER_LBA));
  }

  /** All sessions end but the bystander's. */
  async allLeave(): Promise<void> {
    await until(() => this.#target.server.sessions().length === 1, 'the end of the sessions');
  }

  /** All have left, nothing of them is in use any more, and the bystander is undisturbed. */
  async assertUnharmed(): Promise<void> {
    await this.allLeave();
    await assertCensus(this.idle);
    await this.bystander.assertUndisturbed();
  }

  async close(): Promise<void> {
    await this.bystander.leave();
    await this.#target.close();
  }
}
