/**
 * ErrorRecoveryLevel 1 (RFC 7143 7.1.4.1, 7.1.4.2) between Riser's two roles: each byte of a stream of PDUs with digests is damaged in
 * turn. That is always noticed. Damaged data is sent again within the connection; behind a damaged header nothing can be
 * found any more, and the connection ends (7.8).
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readWriteCdb } from '../support/cdb.js';
import { MemorySession, type MemoryTask } from '../support/memory-session.js';
import { randomFrom } from '../support/random.js';

type End = 'initiator' | 'target';

const SEGMENT = 512;
const DIGESTS = { headerDigest: ['CRC32C'], dataDigest: ['CRC32C'] } as const;
/** What is written goes with the command, behind it unasked, and in two PDUs for an R2T; what is read comes in two bursts. */
const OFFER = {
  ...DIGESTS,
  initiatorMaxRecvDataSegmentLength: SEGMENT,
  maxBurstLength: 2 * SEGMENT,
  firstBurstLength: 2 * SEGMENT,
};
const TARGET_OFFER = { targetMaxRecvDataSegmentLength: SEGMENT };
const BLOCKS = 4;

interface Outcome {
  readonly write: MemoryTask;
  readonly read: MemoryTask;
  readonly refused: MemoryTask;
  readonly written: Buffer;
  readonly back: Buffer;
  readonly echo: Buffer | null;
}

/** The same work each time: a write, a read of that, a command that ends with sense data, and a ping. */
function work(session: MemorySession): Outcome {
  const random = randomFrom(7);
  const written = Buffer.from(Array.from({ length: BLOCKS * 512 }, () => Math.floor(random() * 256)));
  const back = Buffer.alloc(written.length);
  const write = session.execute(readWriteCdb(0x8a, 0, BLOCKS, false), Buffer.from(written), true);
  const read = session.execute(readWriteCdb(0x88, 0, BLOCKS, false), back, false);
  const refused = session.execute(readWriteCdb(0x88, 1 << 20, 1, false), Buffer.alloc(512), false);
  let echo: Buffer | null = null;
  session.phase.control.ping(Buffer.from('a ping of 21 bytes...'), (answer) => {
    if (Buffer.isBuffer(answer)) echo = answer;
  });
  session.run();
  // Whoever waits for bytes that a damaged length has announced gets them, or gives up.
  session.pass(30);
  return { write, read, refused, written, back, echo };
}

/** Which bytes an end sends in headers, by a run without damage. */
function headerBytes(errorRecoveryLevel: 0 | 1): Record<End, boolean[]> {
  const bytes: Record<End, Buffer[]> = { initiator: [], target: [] };
  const session = new MemorySession(
    { ...OFFER, errorRecoveryLevel },
    { ...TARGET_OFFER, errorRecoveryLevel },
  );
  session.tamper = (from, sent) => {
    bytes[from].push(Buffer.from(sent));
  };
  let count = { initiator: 0, target: 0 };
  const { phase } = session;
  assert.equal(phase.parameters.errorRecoveryLevel, errorRecoveryLevel);
  // The pings at the end say nothing new.
  const pass = session.pass.bind(session);
  session.pass = (): void => {
    count = { initiator: session.sent('initiator'), target: session.sent('target') };
  };
  assertDone(work(session));
  session.pass = pass;
  const classify = (end: End): boolean[] => {
    const stream = Buffer.concat(bytes[end]).subarray(0, count[end]);
    const isHeader: boolean[] = [];
    while (isHeader.length < stream.length) {
      const dataLength = stream.readUIntBE(isHeader.length + 5, 3);
      for (let i = 0; i < 52; i++) isHeader.push(true);
      if (dataLength > 0) for (let i = 0; i < ((dataLength + 3) & ~3) + 4; i++) isHeader.push(false);
    }
    return isHeader;
  };
  return { initiator: classify('initiator'), target: classify('target') };
}

function assertDone({ write, read, refused, written, back, echo }: Outcome): void {
  for (const task of [write, read, refused]) {
    assert.equal(task.isDone, true, 'a task has not ended');
    assert.equal(task.error, null);
  }
  assert.deepEqual([write.status, read.status, refused.status], [0, 0, 2]);
  assert.equal(refused.sense[2]! & 0x0f, 5, 'ILLEGAL REQUEST');
  assert.ok(back.equals(written), 'what was read is not what was written');
  assert.equal(String(echo), 'a ping of 21 bytes...');
}

function assertNoLie({ write, read, written, back }: Outcome): void {
  for (const task of [write, read]) assert.equal(task.isDone, true, 'a task has not ended');
  if (read.error === null && write.error === null)
    assert.ok(back.equals(written), 'damaged data was taken for good');
}

function damage(session: MemorySession, end: End, at: number): void {
  session.tamper = (from, bytes, position) => {
    if (from === end && at >= position && at < position + bytes.length) bytes[at - position]! ^= 0x5a;
  };
}

describe('damaged PDUs', () => {
  for (const end of ['initiator', 'target'] as const) {
    test(`level 1: each byte from the ${end}`, () => {
      const isHeader = headerBytes(1)[end];
      assert.ok(isHeader.length > 2500, `only ${isHeader.length} bytes are tried`);
      isHeader.forEach((inHeader, at) => {
        const session = new MemorySession(
          { ...OFFER, errorRecoveryLevel: 1 },
          { ...TARGET_OFFER, errorRecoveryLevel: 1 },
        );
        damage(session, end, at);
        const outcome = work(session);
        try {
          if (inHeader) {
            const ended = end === 'initiator' ? session.targetEnd : session.initiatorEnd;
            assert.notEqual(ended ?? session.initiatorEnd, undefined, 'the connection has not ended');
            assertNoLie(outcome);
          } else {
            assert.equal(session.initiatorEnd, undefined, 'the connection has ended');
            assertDone(outcome);
          }
        } catch (error) {
          throw new Error(`byte ${at}: ${(error as Error).message}`, { cause: error });
        }
      });
    });

    test(`level 0: each byte from the ${end} is noticed`, () => {
      headerBytes(0)[end].forEach((_inHeader, at) => {
        const session = new MemorySession({ ...OFFER, errorRecoveryLevel: 0 }, TARGET_OFFER);
        damage(session, end, at);
        const outcome = work(session);
        try {
          assertNoLie(outcome);
          const isNoticed =
            session.initiatorEnd !== undefined || outcome.write.status !== 0 || outcome.echo === null;
          assert.ok(isNoticed, 'nobody has noticed');
        } catch (error) {
          throw new Error(`byte ${at}: ${(error as Error).message}`, { cause: error });
        }
      });
    });
  }
});
