import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SendQueue } from '../../../stream/send-queue.js';
import { Memory, ScatterList } from '../../../util/memory.js';
import { type FpduOptions, MAX_ULPDU, mulpduFor } from './fpdu.js';
import { FpduWriter } from './fpdu-writer.js';
import { encodeStream, patterned } from './testing/fpdus.js';

interface Message {
  name: string;
}

/** RFC 5044 figures 5 and 6: a Send of 24 zero bytes to queue 0. */
function sendOfZeroes(sequence: number): Buffer {
  const ulpdu = Buffer.alloc(42);
  ulpdu.writeUInt16BE(0x4143);
  ulpdu[13] = sequence;
  return ulpdu;
}

/** Bytes of `ulpdu` in two parts of larger memories. */
function scattered(bytes: Buffer): ScatterList {
  const list = new ScatterList();
  const half = bytes.length >>> 1;
  for (const part of [bytes.subarray(0, half), bytes.subarray(half)]) {
    const memory = Memory.allocate(part.length + 10);
    part.copy(memory.bytes, 5);
    list.add(memory, 5, part.length);
  }
  return list;
}

function write(
  writer: FpduWriter<Message>,
  ulpdu: Buffer,
  headerLength = ulpdu.length,
  owner: Message | null = null,
): void {
  writer.begin(headerLength);
  ulpdu.copy(writer.region.bytes, writer.offset, 0, headerLength);
  const payload = headerLength < ulpdu.length ? scattered(ulpdu) : null;
  writer.finish(payload, headerLength, ulpdu.length - headerLength, owner);
}

function written(ulpdus: readonly Buffer[], options: FpduOptions, headerLength = Infinity): Buffer {
  const queue = new SendQueue<Message>();
  const writer = new FpduWriter(queue, options);
  for (const ulpdu of ulpdus) write(writer, ulpdu, Math.min(headerLength, ulpdu.length));
  const all = Buffer.concat(queue.views(0));
  assert.equal(queue.bytes, all.length);
  return all;
}

describe('FpduWriter', () => {
  it('writes the FPDU of RFC 5044 figure 5', () => {
    const stream = written([sendOfZeroes(1)], { crc: true, markers: true });
    const expected = `00000000002a4143${'00'.repeat(8)}00000001${'00'.repeat(28)}52239983`;
    assert.equal(stream.toString('hex'), expected);
  });

  it('writes the FPDU with a marker of RFC 5044 figure 6', () => {
    // The FPDU before it ends at byte 492.
    const before = patterned(482);
    const stream = written([before, sendOfZeroes(2)], { crc: true, markers: true });
    const fpdu = stream.subarray(492).toString('hex');
    const beforeMarker = `002a4143${'00'.repeat(8)}0000000200000000`;
    assert.equal(fpdu, `${beforeMarker}00000014${'00'.repeat(24)}84925898`);
  });

  /** Where a marker may fall: a first FPDU brings the second to byte `at` of the stream. */
  const places: [what: string, at: number, ulpdu: number, marker: string, markerAt: number][] = [
    ['between FPDUs, where it belongs to the second', 512, 10, '00000000', 512],
    ['behind the first word', 508, 10, '00000004', 512],
    ['between ULPDU and CRC', 496, 14, '00000010', 512],
    ['between padding and CRC', 496, 11, '00000010', 512],
    ['in front of the CRC of an empty ULPDU', 508, 0, '00000004', 512],
    ['in the ULPDU for a second time', 508, 600, '00000204', 1024],
  ];
  for (const [what, at, length, marker, markerAt] of places) {
    it(`puts a marker ${what}`, () => {
      const ulpdus = [patterned(at - 4 - 6), patterned(length, 1)];
      const options = { crc: true, markers: true };
      const stream = written(ulpdus, options);
      assert.equal(stream.subarray(markerAt, markerAt + 4).toString('hex'), marker);
      assert.deepEqual(stream, encodeStream(ulpdus, options));
    });
  }

  it('leaves the CRC field zero without CRCs', () => {
    const stream = written([Buffer.from('abc'), Buffer.alloc(0)], { crc: false, markers: false });
    assert.equal(stream.toString('hex'), '000361626300000000000000' + '0000000000000000');
  });

  it('writes any ULPDUs as the RFC has it, header and payload cut anywhere', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(1200), fc.nat(8), fc.nat(MAX_ULPDU)), { minLength: 1, maxLength: 8 }),
        fc.nat(700),
        fc.boolean(),
        fc.boolean(),
        (lengths, headerLength, crc, markers) => {
          const ulpdus = lengths.map((length, i) => patterned(length, i));
          const options = { crc, markers };
          assert.ok(
            written(ulpdus, options, headerLength).equals(encodeStream(ulpdus, options)),
            'another stream',
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  for (const markers of [false, true]) {
    it(`releases the owner with the last byte ${markers ? 'with' : 'without'} markers`, () => {
      const queue = new SendQueue<Message>();
      const writer = new FpduWriter(queue, { crc: true, markers });
      const owner = { name: 'first' };
      const payload = scattered(patterned(2000));
      writer.begin(14);
      writer.finish(payload, 0, 2000, owner);
      const length = queue.bytes;
      writer.begin(14);
      writer.finish(null, 0, 0, null);
      const released: Message[] = [];
      queue.consume(length - 1, (message) => released.push(message));
      assert.equal(released.length, 0);
      queue.consume(1, (message) => released.push(message));
      assert.deepEqual(released, [owner]);
    });

    it(`does not copy the payload ${markers ? 'with' : 'without'} markers`, () => {
      const queue = new SendQueue<Message>();
      const writer = new FpduWriter(queue, { crc: false, markers });
      const payload = new ScatterList();
      const memory = Memory.allocate(3000);
      payload.add(memory, 0, 3000);
      writer.begin(14);
      writer.finish(payload, 0, 3000, null);
      const views = queue.views(0).filter((view) => view.buffer === memory.bytes.buffer);
      assert.equal(
        views.reduce((sum, view) => sum + view.length, 0),
        3000,
      );
    });
  }

  it('refuses a ULPDU that RFC 5044 3 forbids', () => {
    const writer = new FpduWriter(new SendQueue<Message>(), { crc: true, markers: false });
    const payload = new ScatterList();
    payload.add(Memory.allocate(MAX_ULPDU), 0, MAX_ULPDU);
    writer.begin(1);
    assert.throws(() => writer.finish(payload, 0, MAX_ULPDU, null), { code: 'MPA_MISUSE' });
  });
});

describe('mulpduFor', () => {
  it('follows the formulas of RFC 5044 4.5', () => {
    assert.equal(mulpduFor(1460, false), 1454);
    assert.equal(mulpduFor(1460, true), 1442);
    assert.equal(mulpduFor(1463, false), 1454);
    assert.equal(mulpduFor(8948, true), 8870);
  });

  it('keeps to the limits of RFC 5044 3', () => {
    assert.equal(mulpduFor(100, true), 128);
    assert.equal(mulpduFor(65483, false), 64768);
  });

  it('gives ULPDUs whose FPDUs fit the segment wherever markers fall', () => {
    fc.assert(
      fc.property(fc.integer({ min: 160, max: 9000 }), fc.nat(600), (emss, before) => {
        const options = { crc: false, markers: true };
        const first = encodeStream([Buffer.alloc(before)], options).length;
        const both = encodeStream([Buffer.alloc(before), Buffer.alloc(mulpduFor(emss, true))], options);
        assert.ok(both.length - first <= emss, `${both.length - first} bytes`);
      }),
      { numRuns: 50 },
    );
  });
});
