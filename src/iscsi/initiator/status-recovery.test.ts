import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Memory } from '../../util/memory.js';
import { Bhs, Reject, ScsiCommand, ScsiResponse, SnackRequest } from '../wire/headers.js';
import { FINAL, Opcode, RejectReason, RESERVED_TAG, SnackType } from '../wire/opcodes.js';
import { StatusRecovery } from './status-recovery.js';
import { FullFeatureUnderTest } from './testing/fake-datamover.js';

describe('the numbers of responses', () => {
  const begin = (expStatSN: number): { recovery: StatusRecovery; asked: [number, number][] } => {
    const asked: [number, number][] = [];
    return { recovery: new StatusRecovery(expStatSN, (first, length) => asked.push([first, length])), asked };
  };

  test('in order nothing is asked for', () => {
    const { recovery, asked } = begin(0xffff_fffe);
    for (const statSN of [0xffff_fffe, 0xffff_ffff, 0, 1]) {
      assert.equal(recovery.isRepetition(statSN), false);
      recovery.take(statSN);
    }
    assert.equal(recovery.expStatSN, 2);
    assert.deepEqual(asked, []);
  });

  test('what is missing is asked for once, and acknowledged when it is here', () => {
    const { recovery, asked } = begin(10);
    recovery.take(12);
    recovery.take(13);
    assert.deepEqual(asked, [[10, 2]]);
    assert.equal(recovery.expStatSN, 10);
    recovery.take(11);
    assert.equal(recovery.expStatSN, 10);
    recovery.take(10);
    assert.equal(recovery.expStatSN, 14);
    assert.deepEqual(asked, [[10, 2]]);
    for (const statSN of [9, 10, 13]) assert.equal(recovery.isRepetition(statSN), true);
    assert.equal(recovery.isRepetition(14), false);
  });

  test('what is damaged is asked for each time; what comes by itself is not', () => {
    const { recovery, asked } = begin(1);
    recovery.miss(1);
    recovery.miss(1);
    recovery.hearOf(2);
    recovery.take(3);
    assert.deepEqual(asked, [
      [1, 1],
      [1, 1],
    ]);
    recovery.take(1);
    recovery.take(2);
    assert.equal(recovery.expStatSN, 4);
  });

  test('a ping shows what was lost at the end', () => {
    const { recovery, asked } = begin(5);
    recovery.reveal(5);
    recovery.reveal(7);
    recovery.reveal(7);
    assert.deepEqual(asked, [[5, 2]]);
  });

  test('a number far ahead is not believed', () => {
    const { recovery } = begin(0xffff_fff0);
    assert.equal(recovery.isPlausible(8000), true);
    assert.equal(recovery.isPlausible(9000), false);
  });
});

describe('recovery of responses', () => {
  const session = (): FullFeatureUnderTest =>
    new FullFeatureUnderTest({ parameters: { errorRecoveryLevel: 1 } });
  const snacks = (test: FullFeatureUnderTest): number[][] =>
    test.datamover.sent
      .filter(({ opcode }) => opcode === Opcode.SNACK_REQUEST)
      .map(({ header }) => [
        header[1]! & 0x0f,
        SnackRequest.begRun.get(header),
        SnackRequest.runLength.get(header),
        SnackRequest.expStatSN.get(header),
      ]);

  test('a response behind a missing one counts, the missing one too when it comes', () => {
    const test = session();
    const [first, second] = test.submit(2);
    const lost = test.statSN++;
    test.respond(second!);
    assert.equal(second!.ends, 1);
    assert.deepEqual(snacks(test), [[SnackType.STATUS, lost, 1, lost]]);
    assert.equal(test.phase.expectedStatSN(), lost);
    const next = test.statSN;
    test.statSN = lost;
    test.respond(first!);
    test.statSN = lost;
    // It may come twice.
    test.respond(first!);
    test.statSN = next;
    assert.equal(first!.ends, 1);
    assert.equal(test.phase.expectedStatSN(), next);
    assert.equal(test.datamover.ended, null);
  });

  test('a response before all of the data waits for it', () => {
    const test = session();
    const [task] = test.submit(1);
    task!.isRead = true;
    task!.buffer.add(Memory.allocate(512), 0, 512);
    const { statSN } = test;
    const respond = (): void => {
      test.statSN = statSN;
      test.respond(task!, (header) => ScsiResponse.expDataSN.set(header, 2));
    };
    respond();
    assert.equal(task!.ends, 0);
    assert.deepEqual(test.datamover.missing, [task]);
    assert.deepEqual(snacks(test), [[SnackType.STATUS, statSN, 1, statSN]]);
    task!.dataSN = 2;
    respond();
    assert.equal(task!.ends, 1);
  });

  test('a command whose data was damaged is sent again with its numbers', () => {
    const test = session();
    const [task] = test.submit(1);
    const [command] = test.datamover.sent;
    const rejected = Buffer.from(command!.header);
    test.receive(Opcode.REJECT, RESERVED_TAG, {
      data: rejected,
      set: (header) => Reject.reason.set(header, RejectReason.DATA_DIGEST_ERROR),
    });
    const again = test.datamover.sent.at(-1)!;
    assert.equal(again.opcode, Opcode.SCSI_COMMAND);
    for (const field of ['cmdSN', 'initiatorTaskTag'] as const)
      assert.equal(ScsiCommand[field].get(again.header), ScsiCommand[field].get(command!.header));
    test.respond(task!);
    assert.equal(task!.ends, 1);
  });

  test('so is a ping', () => {
    const test = session();
    const answers: unknown[] = [];
    test.phase.control.ping(Buffer.from('hello'), (answer) => answers.push(answer));
    const [ping] = test.datamover.sent;
    test.receive(Opcode.REJECT, RESERVED_TAG, {
      data: Buffer.from(ping!.header),
      set: (header) => Reject.reason.set(header, RejectReason.DATA_DIGEST_ERROR),
    });
    const again = test.datamover.sent.at(-1)!;
    assert.equal(String(again.data), 'hello');
    assert.deepEqual(answers, []);
    test.receive(Opcode.NOP_IN, Bhs.initiatorTaskTag.get(again.header), { data: again.data });
    assert.deepEqual(answers.map(String), ['hello']);
  });

  test('a SNACK that is refused ends the connection', () => {
    const test = session();
    const [, second] = test.submit(2);
    test.statSN++;
    test.respond(second!);
    const snack = test.datamover.sent.at(-1)!;
    assert.equal(snack.header[1], FINAL | SnackType.STATUS);
    test.receive(Opcode.REJECT, RESERVED_TAG, {
      data: Buffer.from(snack.header),
      set: (header) => Reject.reason.set(header, RejectReason.SNACK_REJECT),
    });
    assert.match(String(test.datamover.ended), /rejected/);
  });
});
