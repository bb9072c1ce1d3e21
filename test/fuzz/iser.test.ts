/**
 * Right messages over RDMA with wrong bytes: iSER headers, basic header segments, lengths and data that a random number has
 * changed, also in the midst of commands. A target ends the connection, or answers; nothing is left behind, and a session beside it
 * notices nothing.
 */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import { Bhs, CDB_OFFSET, ScsiCommand } from '../../src/iscsi/wire/headers.js';
import { CommandFlag, FINAL, IMMEDIATE, Opcode, RESERVED_TAG } from '../../src/iscsi/wire/opcodes.js';
import { Memory } from '../../src/util/memory.js';
import { readWriteCdb } from '../support/cdb.js';
import { fuzzLater } from '../support/fuzz-runs.js';
import { GuardedTarget } from '../support/guarded-target.js';
import { pattern } from '../support/pattern.js';
import { controlHeader, hello } from '../support/raw-iser.js';
import { IserInitiator } from '../support/raw-iser-initiator.js';

const SECONDS = 4;
const LENGTH = 16_384;
/** What a mutated command may reach; its functions may be felt by others (resets), so the opcodes below leave them out. */
const OPCODES = [
  Opcode.NOP_OUT,
  Opcode.TEXT_REQUEST,
  Opcode.DATA_OUT,
  Opcode.SNACK_REQUEST,
  Opcode.LOGIN_REQUEST,
  0x1e,
];

type Random = () => number;
const below = (random: Random, end: number): number => Math.floor(random() * end);

/** A message that is right. */
function message(initiator: IserInitiator, random: Random): Buffer {
  const { channel } = initiator;
  if (random() < 0.05) return hello(0x20, 10, 10, below(random, 65_536));
  if (random() < 0.4) {
    const header = initiator.header(OPCODES[below(random, OPCODES.length)]! | IMMEDIATE);
    header.writeUInt32BE(RESERVED_TAG, 20);
    const data = pattern(below(random, 200), 1);
    Bhs.dataSegmentLength.set(header, data.length);
    return Buffer.concat([controlHeader(), header, data]);
  }
  const isRead = random() < 0.5;
  const header = initiator.header(
    Opcode.SCSI_COMMAND,
    FINAL | (isRead ? CommandFlag.READ : CommandFlag.WRITE) | 1,
  );
  ScsiCommand.expectedDataTransferLength.set(header, LENGTH);
  header.set(readWriteCdb(isRead ? 0x88 : 0x8a, below(random, 64), LENGTH / 512, false), CDB_OFFSET);
  const advertised = channel.grant(Memory.allocate(LENGTH), isRead ? 'write' : 'read');
  return Buffer.concat([controlHeader(isRead ? { read: advertised } : { write: advertised }), header]);
}

/** With some bytes changed, cut, or lengthened. The LUN and the CDB stay, so that the bystander's blocks do. */
function mutate(bytes: Buffer, random: Random): Buffer {
  let result = Buffer.from(bytes);
  for (let i = below(random, 4); i > 0; i--) {
    const at = random() < 0.5 ? below(random, 28) : 28 + below(random, 32);
    if (at >= result.length || at === 28 || (at >= 36 && at < 44)) continue;
    result[at] = random() < 0.5 ? result[at]! ^ (1 << below(random, 8)) : below(random, 256);
  }
  if (random() < 0.15) result = result.subarray(0, below(random, result.length + 1));
  if (random() < 0.15) result = Buffer.concat([result, Buffer.alloc(below(random, 40))]);
  return result;
}

describe('a target over RDMA that is sent wrong bytes', () => {
  let target: GuardedTarget;

  before(async () => {
    target = await GuardedTarget.start(new MemoryDevice({ size: 8 << 20 }));
  });
  after(() => target.close());

  it('ends the connection or answers, and nothing else is harmed', { timeout: 3_700_000 }, async () => {
    const cases = await fuzzLater(SECONDS, async (random) => {
      const initiator = await IserInitiator.connect(target.port);
      const { channel } = initiator;
      const isGreeting = random() < 0.2;
      if (random() < 0.9) await initiator.logIn(isGreeting ? { iSERHelloRequired: 'Yes' } : {});
      if (isGreeting && random() < 0.8) channel.send(hello(0x20, 10, 10, 4));
      for (let i = 1 + below(random, 12); i > 0 && channel.ended === undefined; i--) {
        const right = message(initiator, random);
        channel.send(random() < 0.5 ? mutate(right, random) : right);
        if (random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
      }
      if (random() < 0.3) channel.revokeAll();
      // Whoever is not thrown out leaves.
      for (let turns = below(random, 5); turns > 0; turns--)
        await new Promise((resolve) => setImmediate(resolve));
      channel.close();
      await target.assertUnharmed();
    });
    assert.ok(cases > 0);
  });
});
