import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  buildText,
  PAIR_LIMIT,
  parseText,
  quote,
  TEXT_LIMIT,
  TextAssembler,
  type TextPair,
  TextSplitter,
} from './text.js';

const LABEL = Array.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-+@_');
const key = fc
  .tuple(
    fc.constantFrom(...LABEL.slice(0, 26)),
    fc.string({ unit: fc.constantFrom(...LABEL), maxLength: 62 }),
  )
  .map(([first, rest]) => first + rest);
const value = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => text.replaceAll('\0', ''));
const pairs = fc.array(fc.record({ key, value }, { noNullPrototype: true }), { maxLength: 20 });

function pairsOf(text: string | Uint8Array): readonly TextPair[] {
  const parsed = parseText(typeof text === 'string' ? Buffer.from(text) : text);
  assert.ok('pairs' in parsed, 'error' in parsed ? parsed.error : '');
  return parsed.pairs;
}

function errorOf(text: string | Uint8Array): string {
  const parsed = parseText(typeof text === 'string' ? Buffer.from(text) : text);
  assert.ok('error' in parsed, 'no error found');
  return parsed.error;
}

test('pairs keep their order, and a value is whatever follows the first =', () => {
  assert.deepEqual(pairsOf('B=1\0A=x=y=\0C=\0'), [
    { key: 'B', value: '1' },
    { key: 'A', value: 'x=y=' },
    { key: 'C', value: '' },
  ]);
});

test('no text has no pairs', () => {
  assert.deepEqual(pairsOf(''), []);
});

test('extra null bytes are skipped, a missing last one is an error', () => {
  assert.deepEqual(pairsOf('\0A=1\0\0\0B=2\0\0'), [
    { key: 'A', value: '1' },
    { key: 'B', value: '2' },
  ]);
  assert.match(errorOf('A=1\0B=2'), /not terminated/);
});

test('what is no pair is an error that quotes it', () => {
  assert.match(errorOf('NoEquals\0'), /"NoEquals" has no "="/);
  assert.match(errorOf('=value\0'), /"" is no key name/);
  assert.match(errorOf('Key name=1\0'), /"Key name" is no key name/);
  assert.match(errorOf('9Key=1\0'), /no key name/);
  assert.match(errorOf(`K${'x'.repeat(63)}=1\0`), /no key name/);
  assert.equal(pairsOf(`K${'x'.repeat(62)}=1\0`).length, 1);
});

test('keys outside the standard-label that are registered all the same', () => {
  assert.deepEqual(
    pairsOf('X#NodeArchitecture=a\0iSCSIProtocolLevel=1\0iSERHelloRequired=No\0').map((pair) => pair.key),
    ['X#NodeArchitecture', 'iSCSIProtocolLevel', 'iSERHelloRequired'],
  );
});

test('text is UTF-8', () => {
  assert.deepEqual(pairsOf('TargetAlias=Plattenregal für Łódź\0'), [
    { key: 'TargetAlias', value: 'Plattenregal für Łódź' },
  ]);
  assert.match(errorOf(Buffer.from([0x41, 0x3d, 0xc3, 0x28, 0])), /UTF-8/);
});

test('limits hold', () => {
  assert.match(errorOf(Buffer.alloc(TEXT_LIMIT + 1)), /exceeds/);
  assert.deepEqual(pairsOf(Buffer.alloc(TEXT_LIMIT)), []);
  assert.equal(pairsOf('A=\0'.repeat(PAIR_LIMIT)).length, PAIR_LIMIT);
  assert.match(errorOf('A=\0'.repeat(PAIR_LIMIT + 1)), /more than/);
});

test('what is built is parsed to the same', () => {
  fc.assert(fc.property(pairs, (list) => assert.deepEqual(pairsOf(buildText(list)), list)));
});

test('arbitrary bytes never throw, and what is accepted obeys the limits', () => {
  const texts = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc
      .string({ unit: fc.constantFrom('A', 'b', '=', '\0', ',', '1', 'é'), maxLength: 200 })
      .map((s) => Buffer.from(s)),
  );
  fc.assert(
    fc.property(texts, (bytes) => {
      const parsed = parseText(bytes);
      if ('error' in parsed) return;
      assert.ok(parsed.pairs.length <= PAIR_LIMIT);
      for (const pair of parsed.pairs) {
        assert.ok(pair.key.length >= 1 && pair.key.length <= 63);
        assert.ok(!pair.key.includes('=') && !pair.value.includes('\0'));
      }
      assert.deepEqual(pairsOf(buildText(parsed.pairs)), parsed.pairs);
    }),
    { numRuns: 500 },
  );
});

test('a text cut anywhere into parts is put together again', () => {
  fc.assert(
    fc.property(pairs, fc.integer({ min: 1, max: 64 }), (list, limit) => {
      const text = buildText(list);
      const splitter = new TextSplitter();
      const assembler = new TextAssembler();
      splitter.start(text);
      while (splitter.pending) {
        const part = splitter.next(limit);
        assert.ok(part.length > 0 && part.length <= limit);
        assert.ok(assembler.append(part));
      }
      assert.equal(splitter.next(limit).length, 0);
      assert.deepEqual(assembler.take(), text);
      assert.equal(assembler.take().length, 0);
    }),
  );
});

test('an assembler refuses what would exceed the limit and keeps what it had', () => {
  const assembler = new TextAssembler();
  assert.ok(assembler.append(Buffer.alloc(TEXT_LIMIT - 1)));
  assert.equal(assembler.append(Buffer.alloc(2)), false);
  assert.ok(assembler.append(Buffer.alloc(1)));
  assert.equal(assembler.take().length, TEXT_LIMIT);
});

test('an assembler copies: the receive buffer is reused', () => {
  const assembler = new TextAssembler();
  const receiveBuffer = Buffer.from('A=1\0');
  assembler.append(receiveBuffer);
  receiveBuffer.fill(0x7a);
  assert.equal(assembler.take().toString(), 'A=1\0');
});

test('a quotation is short and on one line', () => {
  assert.equal(quote('a\nb'), '"a\\nb"');
  assert.ok(quote('x'.repeat(1000)).length < 80);
});
