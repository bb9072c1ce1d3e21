import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RiserError } from '../../util/errors.js';
import { Bhs, NopIn } from '../wire/headers.js';
import { FINAL, Opcode, RESERVED_TAG } from '../wire/opcodes.js';
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
});
