import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RiserError } from '../../util/errors.js';
import { Bhs, NopIn, ScsiCommand } from '../wire/headers.js';
import { FINAL, IMMEDIATE, Opcode, RESERVED_TAG } from '../wire/opcodes.js';
import { FullFeatureUnderTest } from './testing/fake-datamover.js';

describe('control requests', () => {
  it('end when the connection does, each once', () => {
    const test = new FullFeatureUnderTest();
    const answers: unknown[] = [];
    test.phase.control.ping(Buffer.alloc(0), (answer) => answers.push(answer));
    test.phase.control.text([], (answer) => answers.push(answer));
    test.phase.control.logout((answer) => answers.push(answer));
    test.phase.terminated(new Error('gone'));
    assert.deepEqual(
      answers.map((answer) => (answer as RiserError).code),
      Array(3).fill('CONNECTION_LOST'),
    );
  });

  it('cost the connection when they are not answered in time', () => {
    const test = new FullFeatureUnderTest();
    test.phase.control.ping(Buffer.alloc(0), () => undefined);
    test.phase.control.tick(1000, 100);
    test.phase.control.tick(1099, 100);
    assert.ok(!test.datamover.hasEnded);
    test.phase.control.tick(1100, 100);
    assert.match(String(test.datamover.ended?.message), /no answer within 0.1 s/);
  });

  /** Answer the last text request with one part. */
  function part(test: FullFeatureUnderTest, text: string, isFinal: boolean, transferTag = 5): void {
    const request = test.datamover.take().at(-1)!;
    test.receive(Opcode.TEXT_RESPONSE, Bhs.initiatorTaskTag.get(request.header), {
      data: Buffer.from(text),
      set: (header) => {
        header[1] = isFinal ? FINAL : 0;
        NopIn.targetTransferTag.set(header, isFinal ? RESERVED_TAG : transferTag);
      },
    });
  }

  it('put a text together that comes in parts, a thousand targets if need be', () => {
    const test = new FullFeatureUnderTest();
    const answers: unknown[] = [];
    test.phase.control.text([{ key: 'SendTargets', value: 'All' }], (answer) => answers.push(answer));
    for (let i = 0; i < 1000; i++) part(test, `TargetName=iqn.2026-11.com.example:disk-${i}\0`, i === 999);
    assert.equal((answers[0] as unknown[]).length, 1000);
  });

  it('send one text at a time, all of it under one tag (RFC 7143 6.2, 6.4)', () => {
    const test = new FullFeatureUnderTest();
    const answers: unknown[] = [];
    const ask = () => {
      test.phase.control.text([{ key: 'SendTargets', value: 'All' }], (answer) => answers.push(answer));
    };
    const LUN = 0x12_0000;
    /** Answers what was sent, the tag of which it gives. */
    const answerWith = (isFinal: boolean, sentLun = 0): number => {
      const sent = test.datamover.take();
      assert.deepEqual(
        sent.map(({ opcode }) => opcode),
        [Opcode.TEXT_REQUEST],
      );
      const tag = Bhs.initiatorTaskTag.get(sent[0]!.header);
      assert.equal(Bhs.lunHigh.get(sent[0]!.header), sentLun);
      test.receive(Opcode.TEXT_RESPONSE, tag, {
        data: Buffer.from(isFinal ? '' : 'TargetName=iqn.2026-11.com.example:disk\0'),
        set: (header) => {
          header[1] = isFinal ? FINAL : 0;
          Bhs.lunHigh.set(header, LUN);
          NopIn.targetTransferTag.set(header, isFinal ? RESERVED_TAG : 5);
        },
      });
      return tag;
    };
    ask();
    ask();
    const first = answerWith(false);
    assert.equal(answerWith(false, LUN), first);
    assert.equal(answers.length, 0);
    assert.equal(answerWith(true, LUN), first);
    assert.equal(answers.length, 1);
    assert.notEqual(answerWith(true), first);
    assert.equal(answers.length, 2);
    ask();
    ask();
    test.phase.terminated(new Error('gone'));
    assert.deepEqual(
      answers.slice(2).map((answer) => (answer as RiserError).code),
      ['CONNECTION_LOST', 'CONNECTION_LOST'],
    );
  });

  it('give an endless text up by its size, and one in small parts by its time', () => {
    const large = new FullFeatureUnderTest();
    const answers: unknown[] = [];
    large.phase.control.text([], (answer) => answers.push(answer));
    for (let i = 0; i < 9 && !large.datamover.hasEnded; i++) part(large, 'x'.repeat(8192), false);
    assert.match(String(large.datamover.ended?.message), /too long/);
    assert.deepEqual([answers.length, (answers[0] as RiserError).code], [1, 'TEXT']);

    const slow = new FullFeatureUnderTest();
    slow.phase.control.text([], (answer) => answers.push(answer));
    for (let now = 0; now < 1000; now += 90) {
      slow.phase.control.tick(now, 1000);
      part(slow, 'x', false);
    }
    assert.ok(!slow.datamover.hasEnded);
    slow.phase.control.tick(1000, 1000);
    assert.match(String(slow.datamover.ended?.message), /no answer within 1 s/);
    assert.equal(answers.length, 2);
  });

  for (const [what, text, isFinal, tag] of [
    ['neither ends nor goes on', 'a=b\0', false, RESERVED_TAG],
    ['goes on with nothing', '', false, 5],
    ['is no text', 'without an equals sign\0', true, 5],
    ['has no null at its end', 'a=b', true, 5],
  ] as const) {
    it(`cost the connection when the answer ${what}`, () => {
      const test = new FullFeatureUnderTest();
      const answers: unknown[] = [];
      test.phase.control.text([], (answer) => answers.push(answer));
      part(test, text, isFinal, tag);
      assert.deepEqual([answers.length, (answers[0] as RiserError).code], [1, 'TEXT']);
      assert.ok(test.datamover.ended instanceof RiserError);
    });
  }

  describe('for a target over RDMA that has room for two which it does not expect (RFC 7145 8.1.1.3)', () => {
    /** Whether each that was sent since the last call is immediate, and its CmdSN. */
    function sent(test: FullFeatureUnderTest): [boolean, number][] {
      return test.datamover
        .take()
        .map(({ header }) => [(header[0]! & IMMEDIATE) !== 0, ScsiCommand.cmdSN.get(header)]);
    }

    /** The target tells its numbers. */
    function tell(test: FullFeatureUnderTest): void {
      test.receive(Opcode.NOP_IN, RESERVED_TAG, {
        takesStatSN: false,
        set: (header) => {
          NopIn.targetTransferTag.set(header, RESERVED_TAG);
        },
      });
    }

    function start(window: number): { test: FullFeatureUnderTest; ping: () => void } {
      const test = new FullFeatureUnderTest({
        window,
        parameters: { targetMaxOutstandingUnexpectedPDUs: 2 },
      });
      const ping = (): void => {
        test.phase.control.ping(Buffer.from('ping'), () => undefined);
      };
      return { test, ping };
    }

    it('take their turn with the commands behind those', () => {
      const { test, ping } = start(8);
      for (let i = 0; i < 4; i++) ping();
      assert.deepEqual(sent(test), [
        [true, 1],
        [true, 1],
        [false, 1],
        [false, 2],
      ]);
      // One command behind them was taken: both are.
      test.expCmdSN = 2;
      tell(test);
      for (let i = 0; i < 3; i++) ping();
      assert.deepEqual(sent(test), [
        [true, 3],
        [true, 3],
        [false, 3],
      ]);
    });

    it('wait where the window is closed, in order, and go before commands', () => {
      const { test, ping } = start(1);
      test.submit(2);
      assert.deepEqual(sent(test), [[false, 1]]);
      for (let i = 0; i < 5; i++) ping();
      assert.deepEqual(sent(test), [
        [true, 2],
        [true, 2],
      ]);
      test.expCmdSN = 2;
      test.maxCmdSN = 3;
      tell(test);
      assert.deepEqual(sent(test), [
        [false, 2],
        [false, 3],
      ]);
      test.expCmdSN = 4;
      test.maxCmdSN = 4;
      tell(test);
      assert.deepEqual(sent(test), [
        [true, 4],
        [false, 4],
      ]);
    });

    it('end with the connection while they wait', () => {
      const { test } = start(0);
      const answers: unknown[] = [];
      for (let i = 0; i < 4; i++) test.phase.control.ping(Buffer.alloc(0), (answer) => answers.push(answer));
      test.phase.terminated(null);
      assert.equal(answers.length, 4);
    });
  });
});
