import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Memory, ScatterList } from '../../../util/memory.js';
import { MpaErrorCode } from './errors.js';
import type { FpduOptions } from './fpdu.js';
import { FpduReader, PLACEMENT_PREFIX } from './fpdu-reader.js';
import { ChunkSource, cut, cuts } from './testing/chunks.js';
import { Collector, drain, encodeStream, patterned } from './testing/fpdus.js';

const PLAIN: FpduOptions = { crc: false, markers: false };

function readerOf(chunks: Iterable<Buffer>, options: FpduOptions, collector: Collector) {
  const source = new ChunkSource(chunks);
  return { source, reader: new FpduReader(source, options, collector) };
}

/** What comes of `stream`, cut at `lengths`. */
function collect(stream: Buffer, options: FpduOptions, lengths: readonly number[]): Collector {
  const collector = new Collector();
  const { source, reader } = readerOf(cut(stream, lengths), options, collector);
  drainUntilViolation(reader, source, collector);
  return collector;
}

function drainUntilViolation(reader: FpduReader, source: ChunkSource, collector: Collector): void {
  for (let i = 0; i < 10_000 && !source.isEmpty && collector.error === null; i++) reader.readable();
}

function assertSame(actual: readonly Buffer[], expected: readonly Buffer[]): void {
  assert.deepEqual(
    actual.map((ulpdu) => ulpdu.length),
    expected.map((ulpdu) => ulpdu.length),
  );
  for (const [i, ulpdu] of actual.entries()) assert.ok(ulpdu.equals(expected[i]!), `ULPDU ${i} is another`);
}

const ulpduLengths = fc.array(
  fc.oneof(fc.nat(8), fc.nat(1200), fc.integer({ min: 4000, max: 5000 }), fc.nat(65_000)),
  { minLength: 1, maxLength: 10 },
);

describe('FpduReader', () => {
  for (const crc of [false, true]) {
    for (const markers of [false, true]) {
      const name = `${crc ? 'with' : 'without'} CRC and ${markers ? 'with' : 'without'} markers`;
      it(`gives the ULPDUs on, however the stream is cut, ${name}`, () => {
        fc.assert(
          fc.property(ulpduLengths, cuts, (lengths, pieces) => {
            const ulpdus = lengths.map((length, i) => patterned(length, i));
            const stream = encodeStream(ulpdus, { crc, markers });
            const { ulpdus: got, error } = collect(stream, { crc, markers }, pieces);
            assert.equal(error, null);
            assertSame(got, ulpdus);
          }),
          { numRuns: 60 },
        );
      });
    }
  }

  it('takes any length that the field can say', () => {
    for (const markers of [false, true]) {
      const ulpdus = [patterned(65_535), patterned(1, 1), patterned(65_535, 2)];
      const options = { crc: true, markers };
      assertSame(collect(encodeStream(ulpdus, options), options, [9000]).ulpdus, ulpdus);
    }
  });

  it('does not check the CRC field without CRCs', () => {
    const stream = encodeStream([patterned(20)], PLAIN);
    stream.fill(0xff, stream.length - 4);
    assertSame(collect(stream, PLAIN, [1000]).ulpdus, [patterned(20)]);
  });

  it('handles many FPDUs in one event, and no more reads than are fair', () => {
    const ulpdus = Array.from({ length: 500 }, (_, i) => patterned(100, i));
    const collector = new Collector();
    const { source, reader } = readerOf([encodeStream(ulpdus, PLAIN)], PLAIN, collector);
    reader.readable();
    reader.readable();
    assertSame(collector.ulpdus, ulpdus);

    let reads = 0;
    const endless = {
      read: (region: Memory, offset: number, length: number) => {
        reads++;
        region.bytes.fill(0, offset, offset + length);
        return length;
      },
      readList: () => assert.fail('nothing is long here'),
    };
    new FpduReader(endless, PLAIN, new Collector()).readable();
    assert.ok(reads > 1 && reads < 100);
    assert.ok(source.isEmpty);
  });

  it('copies little of messages that are cut into a longest FPDU and a short one, and reads many short ones at once', () => {
    const messages = Array.from({ length: 200 }, (_, i) => [patterned(64_768, i), patterned(796, i)]).flat();
    const shorts = Array.from({ length: 2000 }, (_, i) => patterned(100, i));
    const collector = new Collector(14);
    const stream = encodeStream([...messages, ...shorts], PLAIN);
    const source = new ChunkSource([stream]);
    let collected = 0;
    let reads = 0;
    const counting = {
      read: (region: Memory, offset: number, length: number) => {
        const n = source.read(region, offset, length);
        collected += n;
        reads++;
        return n;
      },
      readList: (list: ScatterList) => source.readList(list),
    };
    const reader = new FpduReader(counting, PLAIN, collector);
    drain(reader, source);
    assertSame(collector.ulpdus, [...messages, ...shorts]);
    const ofShorts = 2000 * 108;
    assert.ok(
      collected - ofShorts < 200 * 8192,
      `${collected} bytes were collected, ${stream.length} received`,
    );
    assert.ok(reads < 230, `${reads} reads`);
  });

  it('gives nothing on, and reads nothing, after stop', () => {
    const ulpdus = [1, 2, 3, 4].map((seed) => patterned(10, seed));
    const collector = new Collector();
    const stream = encodeStream(ulpdus, PLAIN);
    const { source, reader } = readerOf([stream, stream], PLAIN, collector);
    collector.onUlpdu = (count) => {
      if (count === 2) reader.stop();
    };
    for (let i = 0; i < 5; i++) reader.readable();
    assertSame(collector.ulpdus, ulpdus.slice(0, 2));
    assert.ok(!source.isEmpty);
  });
});

describe('FpduReader: placement', () => {
  it('brings all ULPDUs, long ones to their place, however the stream is cut', () => {
    let placements = 0;
    fc.assert(
      fc.property(ulpduLengths, cuts, fc.nat(PLACEMENT_PREFIX), (lengths, pieces, header) => {
        const ulpdus = lengths.map((length, i) => patterned(length, i));
        const stream = encodeStream(ulpdus, PLAIN);
        const collector = new Collector(header);
        const { source, reader } = readerOf(cut(stream, pieces), PLAIN, collector);
        drain(reader, source);
        assert.equal(collector.error, null);
        assertSame(collector.ulpdus, ulpdus);
        placements += collector.placements;
      }),
      { numRuns: 150 },
    );
    assert.ok(placements > 50, `only ${placements} placements`);
  });

  it('places one after the other without a copy but for their beginnings', () => {
    const ulpdus = [0, 1, 2, 3, 4].map((seed) => patterned(60_000, seed));
    const collector = new Collector(14);
    const stream = encodeStream(ulpdus, PLAIN);
    const { source, reader } = readerOf([stream.subarray(0, 100), stream.subarray(100)], PLAIN, collector);
    drain(reader, source);
    assertSame(collector.ulpdus, ulpdus);
    assert.equal(collector.placements, 5);
  });

  for (const options of [
    { crc: true, markers: false },
    { crc: false, markers: true },
  ]) {
    it(`never happens with ${options.crc ? 'CRCs' : 'markers'}`, () => {
      const ulpdus = [patterned(60_000), patterned(60_000, 1)];
      const collector = new Collector(14);
      const { source, reader } = readerOf(cut(encodeStream(ulpdus, options), [5000]), options, collector);
      drain(reader, source);
      assertSame(collector.ulpdus, ulpdus);
      assert.equal(collector.placements, 0);
    });
  }

  it('asks once for each ULPDU', () => {
    const collector = new Collector();
    let asked = 0;
    collector.beginPlacement = () => {
      asked++;
      return null;
    };
    const ulpdus = [patterned(60_000), patterned(60_000, 1)];
    const { source, reader } = readerOf(cut(encodeStream(ulpdus, PLAIN), [1000]), PLAIN, collector);
    drain(reader, source);
    assertSame(collector.ulpdus, ulpdus);
    assert.equal(asked, 2);
  });

  it('writes nothing more once the placement was dropped, and goes on behind it', () => {
    const collector = new Collector(0);
    const ulpdus = [patterned(60_000, 1), patterned(5, 2)];
    const pieces = [...cut(encodeStream(ulpdus, PLAIN), [10_002])];
    const { source, reader } = readerOf(pieces, PLAIN, collector);
    for (let i = 0; i < 4; i++) reader.readable();
    assert.deepEqual([collector.placements, collector.ulpdus.length], [1, 0]);
    reader.dropPlacement();
    drain(reader, source);
    const [placed, next] = collector.ulpdus;
    const untouched = placed!.indexOf(Buffer.alloc(1000));
    assert.ok(untouched > 0);
    assert.ok(placed!.subarray(0, untouched).equals(ulpdus[0]!.subarray(0, untouched)));
    assert.ok(placed!.subarray(untouched).every((byte) => byte === 0));
    assert.ok(next!.equals(ulpdus[1]!));
  });

  it('writes nothing more after stop', () => {
    const collector = new Collector(0);
    const pieces = [...cut(encodeStream([patterned(60_000, 1)], PLAIN), [10_002])];
    const { source, reader } = readerOf(pieces, PLAIN, collector);
    for (let i = 0; i < 4; i++) reader.readable();
    reader.stop();
    for (let i = 0; i < 10; i++) reader.readable();
    assert.deepEqual([collector.placements, collector.ulpdus.length], [1, 0]);
    assert.ok(!source.isEmpty);
  });
});

describe('FpduReader: violations', () => {
  /** Longer than any FPDU, so that a wrong length is found out. */
  const TAIL = [patterned(40_000), patterned(40_000, 1)];

  for (const markers of [false, true]) {
    it(`notices every byte changed of an FPDU with CRC, ${markers ? 'with' : 'without'} markers`, () => {
      const options = { crc: true, markers };
      const first = patterned(30, 9);
      const before = encodeStream([first], options).length;
      const flipped = encodeStream([first, patterned(523)], options).length;
      const stream = encodeStream([first, patterned(523), ...TAIL], options);
      for (let at = before; at < flipped; at++) {
        for (const mask of at < before + 12 ? [1, 2, 4, 8, 16, 32, 64, 128] : [1 << (at % 8)]) {
          stream[at]! ^= mask;
          const { ulpdus, error } = collect(stream, options, [20_000]);
          assert.equal(error?.code, 'MPA_CRC', `byte ${at}, bits ${mask}`);
          assert.equal(error.mpaCode, MpaErrorCode.CRC);
          assert.equal(error.costs, 'connection');
          assertSame(ulpdus, [first]);
          stream[at]! ^= mask;
        }
      }
    });
  }

  it('notices markers that do not point to their FPDU', () => {
    const options = { crc: false, markers: true };
    const ulpdu = patterned(1200);
    const stream = encodeStream([ulpdu], options);
    for (const at of [0, 512, 1024]) {
      const wrong = Buffer.from(stream);
      wrong[at + 3]! ^= 4;
      const { ulpdus, error } = collect(wrong, options, [100]);
      assert.deepEqual([error?.code, error?.mpaCode], ['MPA_MARKER', MpaErrorCode.MARKER]);
      assert.deepEqual(ulpdus, []);

      // Reserved bits are ignored, the lowest two of FPDUPTR count as zero (RFC 5044 4.2).
      const reserved = Buffer.from(stream);
      reserved[at] = 0xff;
      reserved[at + 3]! |= 3;
      assertSame(collect(reserved, options, [100]).ulpdus, [ulpdu]);
    }
  });

  it('takes any bytes without harm', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 2000 }), { maxLength: 20 }),
        fc.boolean(),
        fc.boolean(),
        (chunks, crc, markers) => {
          const collector = new Collector(10);
          const { source, reader } = readerOf(
            chunks.map((chunk) => Buffer.from(chunk)),
            { crc, markers },
            collector,
          );
          drainUntilViolation(reader, source, collector);
          assert.ok(source.isEmpty || collector.error !== null, 'it does not read');
        },
      ),
      { numRuns: 100 },
    );
  });
});
