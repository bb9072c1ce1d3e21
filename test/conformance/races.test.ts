/** Initiators that use one logical unit at the same time: what is atomic is so, a fence holds, and news comes to each once. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { type BlockDevice, createImage, FileDevice, MemoryDevice } from '../../src/block/index.js';
import { TaskManagementFunction } from '../../src/iscsi/wire/opcodes.js';
import { reserveOutCdb, reserveOutList, ServiceAction } from '../../src/scsi/testing/persistent-reserve.js';
import { readWriteCdb, TEST_UNIT_READY } from '../support/cdb.js';
import type { CommandResult, Initiator } from '../support/initiator.js';
import { TestTarget } from '../support/target.js';
import { temporaryFolder } from '../support/temporary.js';

const SIZE = 4 << 20;
const GOOD = 0;
const CHECK_CONDITION = 2;
const RESERVATION_CONFLICT = 0x18;
const MISCOMPARE = 0x0e;
const INITIATORS = 4;

/** COMPARE AND WRITE of one block. */
function compareAndWrite(
  initiator: Initiator,
  lba: number,
  old: Buffer,
  wanted: Buffer,
): Promise<CommandResult> {
  const cdb = Buffer.alloc(16);
  cdb[0] = 0x89;
  cdb.writeBigUInt64BE(BigInt(lba), 2);
  cdb[13] = 1;
  return initiator.command(0, cdb, { dataOut: Buffer.concat([old, wanted]) });
}

/** WRITE ATOMIC(16) of whole blocks. */
function writeAtomic(initiator: Initiator, lba: number, data: Buffer): Promise<CommandResult> {
  const cdb = Buffer.alloc(16);
  cdb[0] = 0x9c;
  cdb.writeBigUInt64BE(BigInt(lba), 2);
  cdb.writeUInt16BE(data.length / 512, 12);
  return initiator.command(0, cdb, { dataOut: data });
}

function reserveOut(
  initiator: Initiator,
  action: number,
  key: number,
  newKey: number,
): Promise<CommandResult> {
  const list = reserveOutList({ key, newKey });
  const writeExclusiveRegistrantsOnly = 5;
  const cdb = Buffer.from(reserveOutCdb(action, writeExclusiveRegistrantsOnly, list.length));
  return initiator.command(0, cdb, { dataOut: list });
}

const senseKey = ({ sense }: CommandResult): number => sense[2]! & 0x0f;

const isUniform = (data: Buffer): boolean => data.length > 0 && data.every((byte) => byte === data[0]);

const DEVICES: Record<string, (folder: string) => Promise<BlockDevice>> = {
  memory: () => Promise.resolve(new MemoryDevice({ size: SIZE })),
  'an image': async (folder) => {
    const path = join(folder, 'raced.img');
    await createImage(path, SIZE);
    return FileDevice.open(path);
  },
};

for (const [name, open] of Object.entries(DEVICES)) {
  describe(`initiators that race on ${name}`, { timeout: 120_000 }, () => {
    const folder = temporaryFolder();
    let target: TestTarget;
    let initiators: Initiator[];

    before(async () => {
      target = await TestTarget.start([{ device: await open(folder) }]);
      const logins = Array.from({ length: INITIATORS }, (_, i) =>
        target.login({ initiatorName: `iqn.2026-01.example.test:racer-${i}` }),
      );
      initiators = await Promise.all(logins);
    });
    after(async () => {
      for (const initiator of initiators) initiator.destroy();
      await target.close();
    });

    test('COMPARE AND WRITE counts without losing one', async () => {
      const increments = 150;
      let misses = 0;
      const count = async (initiator: Initiator): Promise<void> => {
        for (let done = 0; done < increments;) {
          const { data } = await initiator.read(0, 7, 1);
          const next = Buffer.alloc(512, data);
          next.writeUInt32BE(data.readUInt32BE(0) + 1, 0);
          const result = await compareAndWrite(initiator, 7, data, next);
          if (result.status === GOOD) done++;
          else {
            assert.equal(senseKey(result), MISCOMPARE);
            misses++;
          }
        }
      };
      await Promise.all(initiators.map(count));
      const { data } = await initiators[0]!.read(0, 7, 1);
      assert.equal(data.readUInt32BE(0), INITIATORS * increments);
      assert.ok(misses > 0, 'they met');
    });

    test('after PREEMPT AND ABORT nothing of the preempted lands any more', async () => {
      const [fenced, fencing] = initiators as [Initiator, Initiator];
      for (let round = 0; round < 40; round++) {
        assert.equal((await reserveOut(fencing, ServiceAction.REGISTER_AND_IGNORE, 0, 2)).status, GOOD);
        assert.equal((await reserveOut(fenced, ServiceAction.REGISTER_AND_IGNORE, 0, 1)).status, GOOD);
        assert.equal((await reserveOut(fenced, ServiceAction.RESERVE, 1, 0)).status, GOOD);
        const stale = Buffer.alloc(4096, round);
        for (let i = 0; i < 24; i++) {
          fenced.open(fenced.commandHeader(0, readWriteCdb(0x8a, 64, 8, false), { dataOut: stale }), stale);
        }
        assert.equal((await reserveOut(fencing, ServiceAction.PREEMPT_AND_ABORT, 2, 1)).status, GOOD);
        const marker = Buffer.alloc(4096, 0x80 | round);
        assert.equal((await fencing.write(0, 64, marker)).status, GOOD);
        // Whatever the fenced one still had under way is over now; it hears of it, and is kept out.
        await fenced.nop();
        const news = await fenced.command(0, TEST_UNIT_READY);
        assert.equal(news.status, CHECK_CONDITION);
        while ((await fenced.command(0, TEST_UNIT_READY)).status === CHECK_CONDITION);
        assert.equal((await fenced.write(0, 64, stale)).status, RESERVATION_CONFLICT);
        assert.ok((await fencing.read(0, 64, 8)).data.equals(marker), `round ${round}`);
        assert.equal((await reserveOut(fencing, ServiceAction.CLEAR, 2, 0)).status, GOOD);
      }
    });

    test('each hears of a reset by another exactly once', async () => {
      const [resetting, ...others] = initiators as [Initiator, ...Initiator[]];
      for (const each of initiators)
        while ((await each.command(0, TEST_UNIT_READY)).status === CHECK_CONDITION);
      for (let round = 0; round < 20; round++) {
        const reads = others.map((other) =>
          other.open(other.commandHeader(0, readWriteCdb(0x88, 0, 8, false), { dataIn: 4096 })),
        );
        assert.equal(await resetting.manageTask(TaskManagementFunction.LOGICAL_UNIT_RESET), 0);
        assert.equal(reads.length, others.length);
        for (const other of others) {
          const outcomes = [await other.command(0, TEST_UNIT_READY), await other.command(0, TEST_UNIT_READY)];
          // A READ that came behind the reset has taken the news.
          const told = outcomes.filter(({ status }) => status === CHECK_CONDITION).length;
          assert.ok(told <= 1 && outcomes[1]!.status === GOOD, `told ${told} times`);
        }
      }
    });
  });
}

describe('WRITE ATOMIC beside READs', { timeout: 120_000 }, () => {
  const BLOCKS = 128;
  let target: TestTarget;
  let writers: Initiator[];
  let reader: Initiator;

  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: SIZE }) }]);
    writers = await Promise.all([target.login(), target.login()]);
    reader = await target.login();
    assert.equal((await writeAtomic(reader, 0, Buffer.alloc(BLOCKS * 512, 1))).status, GOOD);
  });
  after(async () => {
    for (const initiator of [...writers, reader]) initiator.destroy();
    await target.close();
  });

  test('no READ sees a part of one', async () => {
    let isOver = false;
    let seed = 2;
    const write = async (writer: Initiator): Promise<void> => {
      while (!isOver) {
        assert.equal((await writeAtomic(writer, 0, Buffer.alloc(BLOCKS * 512, seed++ & 0xff))).status, GOOD);
      }
    };
    const writing = writers.map(write);
    const seen = new Set<number>();
    for (let round = 0; round < 150; round++) {
      const reads = await Promise.all(Array.from({ length: 4 }, () => reader.read(0, 0, BLOCKS)));
      for (const { data } of reads) {
        assert.ok(isUniform(data), `a READ of round ${round} is torn`);
        seen.add(data[0]!);
      }
    }
    isOver = true;
    await Promise.all(writing);
    assert.ok(seen.size > 1, 'they met');
  });

  test('nor does one whose answer has to wait for a slow initiator', async () => {
    for (let round = 0; round < 10; round++) {
      reader.pdus.socket.pause();
      const reads = Array.from({ length: 120 }, () => reader.read(0, 0, BLOCKS));
      for (let i = 0; i < 5; i++)
        assert.equal(
          (await writeAtomic(writers[0]!, 0, Buffer.alloc(BLOCKS * 512, 16 * round + i))).status,
          GOOD,
        );
      reader.pdus.socket.resume();
      for (const { data } of await Promise.all(reads))
        assert.ok(isUniform(data), `a READ of round ${round} is torn`);
    }
  });
});
