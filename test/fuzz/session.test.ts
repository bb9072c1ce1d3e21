/**
 * Generated PDU streams against a live server: whatever comes, the server stays up, and a session beside
 * it works on and keeps its data. The streams are mostly right, so that they get past the first checks.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';

import { MemoryDevice } from '../../src/block/index.js';
import { Bhs, BHS_LENGTH, CDB_OFFSET, HEADERS, ScsiCommand } from '../../src/iscsi/wire/headers.js';
import {
  FINAL,
  IMMEDIATE,
  Opcode,
  RESERVED_TAG,
  TaskManagementFunction,
} from '../../src/iscsi/wire/opcodes.js';
import { Bystander } from '../support/bystander.js';
import type { Initiator } from '../support/initiator.js';
import { DEFAULT_KEYS, encodeKeys, loginHeader, Stage } from '../support/login.js';
import { PduSocket } from '../support/pdu-socket.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

/** The last blocks of the disk are the bystander's; fuzzed commands name blocks below. */
const SIZE = 16 << 20;
const BYSTANDER_LBA = SIZE / 512 - 64;
const RUNS = 150;

/** One PDU to send: a header with fields of a known kind set to anything, and a data segment. */
interface FuzzedPdu {
  opcode: number;
  immediate: boolean;
  flags: number;
  /** Set over the sequence numbers that would be right. */
  fields: [name: string, value: number][];
  cdb: Uint8Array;
  data: Uint8Array;
  /** Data segment length to claim; null: the truth. */
  claim: number | null;
}

const interesting = fc.oneof(
  fc.constantFrom(0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, RESERVED_TAG),
  fc.integer({ min: 0, max: 64 }),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);

/** Opcodes of commands that neither write far off nor change what others see of the medium. */
const CDB_OPCODES = [
  0x00, 0x03, 0x08, 0x12, 0x1a, 0x25, 0x28, 0x2f, 0x34, 0x5a, 0x88, 0x8f, 0x90, 0x9e, 0xa0, 0xa3,
];

const cdb = fc
  .tuple(fc.constantFrom(...CDB_OPCODES), fc.uint8Array({ minLength: 15, maxLength: 15 }))
  .map(([opcode, rest]) => Uint8Array.of(opcode, ...rest));

const fieldNames = [
  ...new Set(Object.values(HEADERS).flatMap((header) => Object.keys(header.fields))),
].filter((name) => !['opcode', 'flags', 'dataSegmentLength', 'totalAHSLength'].includes(name));

const fuzzedPdu: fc.Arbitrary<FuzzedPdu> = fc.record({
  opcode: fc.oneof(
    {
      weight: 4,
      arbitrary: fc.constantFrom(Opcode.SCSI_COMMAND, Opcode.NOP_OUT, Opcode.DATA_OUT, Opcode.TEXT_REQUEST),
    },
    { weight: 1, arbitrary: fc.constantFrom(Opcode.TASK_MANAGEMENT_REQUEST, Opcode.SNACK_REQUEST) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 0x3f }) },
  ),
  immediate: fc.boolean(),
  flags: fc.integer({ min: 0, max: 255 }),
  fields: fc.array(fc.tuple(fc.constantFrom(...fieldNames), interesting), { maxLength: 4 }),
  cdb,
  data: fc.oneof(
    { weight: 3, arbitrary: fc.constant(new Uint8Array(0)) },
    { weight: 2, arbitrary: fc.uint8Array({ maxLength: 600 }) },
  ),
  claim: fc.oneof(
    { weight: 20, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xff_ffff }) },
  ),
});

describe('fuzz', () => {
  let target: TestTarget;
  let bystander: Bystander;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: SIZE }) }], {
      recovery: { errorRecoveryLevel: 1, maxConnections: 2 },
    });
    bystander = await Bystander.arrive(target, BYSTANDER_LBA);
  });
  after(async () => {
    await bystander.leave();
    await target.close();
  });

  test('PDU streams in the full feature phase', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fuzzedPdu, { minLength: 1, maxLength: 30 }),
        fc.boolean(),
        async (pdus, abrupt) => {
          const initiator = await target.login();
          for (const pdu of pdus) sendFuzzed(initiator, pdu);
          await leave(initiator.pdus, abrupt);
          await bystander.assertUndisturbed();
        },
      ),
      { numRuns: RUNS },
    );
  });

  test('PDU streams with recovery, over two connections of a session', async () => {
    const snack = fuzzedPdu.map((pdu) => ({ ...pdu, opcode: Opcode.SNACK_REQUEST, claim: null }));
    const step = fc.record({ pdu: fc.oneof(fuzzedPdu, snack), isSecond: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 30 }),
        fc.boolean(),
        async (steps, abrupt) => {
          const keys = { ErrorRecoveryLevel: '1', MaxConnections: '2', MaxRecvDataSegmentLength: '512' };
          const first = await target.login({ keys });
          const { isid, tsih } = first;
          const second = await target.login({ isid, joins: { tsih, cid: 1 } });
          // Something that a SNACK may be for.
          await Promise.all([first.read(0, 0, 16), first.nop(Buffer.from('hello'), true)]);
          for (const { pdu, isSecond } of steps) {
            const [sender, other] = isSecond ? [second, first] : [first, second];
            sendFuzzed(sender, pdu);
            other.cmdSN = sender.cmdSN;
          }
          await Promise.all([leave(first.pdus, abrupt), leave(second.pdus, abrupt)]);
          await bystander.assertUndisturbed();
        },
      ),
      { numRuns: RUNS },
    );
  });

  test('PDU streams in the login phase', async () => {
    const keys = encodeKeys({
      InitiatorName: 'iqn.2026-01.example.test:fuzz',
      TargetName: TARGET_NAME,
      ...DEFAULT_KEYS,
    });
    const text = fc.oneof(
      fc.constant(keys),
      fc
        .array(fc.tuple(fc.constantFrom(...Object.keys(DEFAULT_KEYS), 'AuthMethod', 'x'), fc.string()), {})
        .map((pairs) => Buffer.from(pairs.map(([key, value]) => `${key}=${value}\0`).join(''))),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc.integer({ min: 0, max: 400 }).map((cut) => keys.subarray(0, cut)),
    );
    const login = fc.record({
      flags: fc.oneof(fc.constantFrom(0x87, 0x81, 0x44, 0x04, 0x00), fc.integer({ min: 0, max: 255 })),
      tsih: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })),
      cmdSN: interesting,
      text,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(login, { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async (requests, abrupt) => {
          const socket = await PduSocket.connect(target.port);
          for (const { flags, tsih, cmdSN, text: data } of requests) {
            const header = loginHeader({
              isid: Buffer.alloc(6, 0x80),
              currentStage: Stage.OPERATIONAL,
              tsih,
              cmdSN,
            });
            Bhs.flags.set(header, flags);
            socket.send(header, data);
          }
          await leave(socket, abrupt);
          await bystander.assertUndisturbed();
        },
      ),
      { numRuns: RUNS },
    );
  });

  test('plain bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 2000 }), async (bytes) => {
        const socket = await PduSocket.connect(target.port);
        socket.sendBytes(bytes);
        await leave(socket, true);
        await bystander.assertUndisturbed();
      }),
      { numRuns: RUNS },
    );
  });

  test('afterwards nothing is left over: a new session works as the first', async () => {
    const initiator = await target.login();
    const results = await Promise.all(Array.from({ length: 64 }, (_, i) => initiator.read(0, i * 8, 8)));
    assert.ok(results.every(({ status, data }) => status === 0 && data.length === 4096));
    await initiator.logout();
  });
});

/** Task management functions that others notice by right: tasks of theirs end, or they are told of a reset. */
const FELT_BY_OTHERS: readonly number[] = [
  TaskManagementFunction.CLEAR_TASK_SET,
  TaskManagementFunction.LOGICAL_UNIT_RESET,
  TaskManagementFunction.TARGET_WARM_RESET,
  TaskManagementFunction.TARGET_COLD_RESET,
];

function sendFuzzed(initiator: Initiator, pdu: FuzzedPdu): void {
  const isFelt = pdu.opcode === Opcode.TASK_MANAGEMENT_REQUEST && FELT_BY_OTHERS.includes(pdu.flags & 0x7f);
  const header = initiator.header(pdu.opcode | (pdu.immediate ? IMMEDIATE : 0), isFelt ? FINAL : pdu.flags);
  ScsiCommand.cmdSN.set(header, initiator.cmdSN);
  ScsiCommand.expStatSN.set(header, initiator.expStatSN);
  if (pdu.opcode === Opcode.SCSI_COMMAND) header.set(pdu.cdb, CDB_OFFSET);
  const known = HEADERS[pdu.opcode]?.fields ?? ScsiCommand;
  for (const [name, value] of pdu.fields) {
    const field = (known as Record<string, { set(bytes: Uint8Array, value: number): void } | undefined>)[
      name
    ];
    field?.set(header, value);
  }
  if (!pdu.immediate) initiator.cmdSN = (initiator.cmdSN + 1) >>> 0;
  initiator.pdus.send(header, Buffer.from(pdu.data));
  if (pdu.claim !== null) {
    const lie = Buffer.from(header.subarray(0, BHS_LENGTH));
    Bhs.dataSegmentLength.set(lie, pdu.claim);
    initiator.pdus.sendBytes(lie);
  }
}

/** Go, at once or after everything has arrived, and wait until the connection is gone. */
async function leave(socket: PduSocket, abrupt: boolean): Promise<void> {
  if (abrupt) socket.destroy();
  else socket.socket.end();
  await socket.closed;
}
