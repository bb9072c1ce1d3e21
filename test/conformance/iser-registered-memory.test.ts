/** What a target over RDMA keeps registered of its disks' memory: what they have now, and nothing that they had. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { BlockOp, BlockStatus, MemoryDevice } from '../../src/block/index.js';
import { type Target, TargetServer } from '../../src/target/index.js';
import { operation } from '../contract/block-io.js';
import { pattern } from '../support/pattern.js';
import { IserInitiator, readBlocks, writeBlocks } from '../support/raw-iser-initiator.js';
import { census, registeredBytes } from '../support/rdma-census.js';
import { TARGET_NAME } from '../support/target.js';
import { until } from '../support/verbs-pair.js';

const MIB = 1 << 20;
/** Of the disk. */
const SIZE = 8 * MIB;

describe("a disk's memory that was read over RDMA", { timeout: 60_000 }, () => {
  let server: TargetServer;
  let target: Target;
  let device: MemoryDevice;
  let initiator: IserInitiator;
  /** Registered for commands and what they write. */
  let buffers: number;

  beforeEach(async () => {
    server = new TargetServer();
    target = server.addTarget({ name: TARGET_NAME });
    addDisk();
    const { port } = await server.listen({ address: '127.0.0.1', port: 0 });
    initiator = await IserInitiator.login(port);
    await write();
    buffers = registeredBytes();
  });
  afterEach(async () => {
    initiator.channel.close();
    await server.close({ graceMs: 0 });
    await device.close();
    assert.equal(registeredBytes(), 0);
  });

  function addDisk(): void {
    device = new MemoryDevice({ size: SIZE });
    target.addLun(0, { device });
  }

  /** A block in each MiB. */
  async function write(): Promise<void> {
    for (let at = 0; at < SIZE; at += MIB) await writeBlocks(initiator, at / 512, pattern(512, at / MIB));
    await allReleased();
  }
  async function read(): Promise<void> {
    for (let at = 0; at < SIZE; at += MIB)
      assert.ok((await readBlocks(initiator, at / 512, 1)).equals(pattern(512, at / MIB)));
    await allReleased();
  }

  const allReleased = (): Promise<void> => until(() => census().held === 0, 'no memory is in use any more');

  it('stays registered as long as the disk has it', async () => {
    for (let round = 0; round < 2; round++) {
      await read();
      assert.equal(registeredBytes(), buffers + SIZE);
    }
  });

  it('does not, once the disk is replaced by another', async () => {
    for (let round = 0; round < 3; round++) {
      await read();
      target.removeLun(0);
      await device.close();
      assert.equal(registeredBytes(), buffers);
      addDisk();
      await write();
    }
  });

  it('does not, once it is unmapped', async () => {
    for (let round = 0; round < 3; round++) {
      await read();
      assert.equal(await operation(BlockOp.UNMAP, MIB, SIZE - MIB).on(device), BlockStatus.GOOD);
      assert.equal(registeredBytes(), buffers + MIB);
      await write();
    }
  });
});
