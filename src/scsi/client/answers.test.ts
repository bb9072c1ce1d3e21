import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  parseBlockLimits,
  parseCapacity10,
  parseCapacity16,
  parseDesignators,
  parseLbaStatus,
  parseProvisioning,
  parseReportLuns,
  parseSense,
  parseStandardInquiry,
  vpdBody,
} from './answers.js';

const PARSERS: Record<string, (data: Buffer) => unknown> = {
  parseBlockLimits,
  parseCapacity10,
  parseCapacity16,
  parseDesignators,
  parseLbaStatus,
  parseProvisioning,
  parseReportLuns,
  parseSense,
  parseStandardInquiry,
  'vpdBody of 83h': (data) => vpdBody(data, 0x83),
};

/** Bytes that begin like answers do. */
const answer = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc
    .tuple(fc.constantFrom([0x70], [0x72, 3], [0, 0x83], [0, 0, 0, 40]), fc.uint8Array({ maxLength: 100 }))
    .map(([head, rest]) => Uint8Array.from([...head, ...rest])),
);

describe('any bytes', () => {
  for (const [name, parse] of Object.entries(PARSERS)) {
    it(`${name} never throws, and does not look at what is behind them`, () => {
      fc.assert(
        fc.property(answer, fc.nat(255), (bytes, filler) => {
          const room = Buffer.alloc(bytes.length + 64, 0x55);
          const other = Buffer.alloc(bytes.length + 64, filler);
          room.set(bytes);
          other.set(bytes);
          const one = parse(room.subarray(0, bytes.length));
          const two = parse(other.subarray(0, bytes.length));
          assert.deepEqual(one, two);
          assert.ok(!JSON.stringify(one ?? null).includes('NaN'));
        }),
        { numRuns: 500 },
      );
    });
  }
});

describe('parseSense', () => {
  it('reads both formats', () => {
    const fixed = Buffer.from('f00003000012340a00000000110000000000', 'hex');
    assert.deepEqual(
      { ...parseSense(fixed), text: '' },
      { key: 3, asc: 0x11, ascq: 0, information: 0x1234, text: '' },
    );
    const descriptor = Buffer.from('7203110000000 00c000a80000000000000001234'.replace(' ', ''), 'hex');
    assert.deepEqual(
      { ...parseSense(descriptor), text: '' },
      { key: 3, asc: 0x11, ascq: 0, information: 0x1234, text: '' },
    );
  });

  it('has no information where it is not valid, and none of what is no sense data', () => {
    assert.equal(parseSense(Buffer.from('700003000012340a00000000110000000000', 'hex'))?.information, null);
    for (const hex of ['', '00', '7f00000000000000', '70000300', '720311'])
      assert.equal(parseSense(Buffer.from(hex, 'hex')), null);
  });
});

it('parseLbaStatus takes only DEALLOCATED and ANCHORED for holes', () => {
  const data = Buffer.alloc(8 + 16 * 6);
  data.writeUInt32BE(data.length - 4);
  for (let i = 0; i < 6; i++) {
    data.writeBigUInt64BE(BigInt(i * 8), 8 + 16 * i);
    data.writeUInt32BE(8, 16 + 16 * i);
    data[20 + 16 * i] = i;
  }
  assert.deepEqual(
    parseLbaStatus(data).map(({ isMapped }) => isMapped),
    [true, false, false, true, true, true],
  );
});

it('texts are safe to print', () => {
  const inquiry = Buffer.alloc(36, 0x20);
  inquiry.write('\x1b[2JEVIL', 8, 'latin1');
  assert.doesNotMatch(parseStandardInquiry(inquiry)!.vendor, /\p{C}/u);
  const designator = Buffer.from([2, 1, 0, 5, 0x1b, 0x5b, 0x32, 0x4a, 0]);
  assert.equal(parseDesignators(designator)[0]?.value, ' [2J');
});

it('capacities reach to the last block', () => {
  const data = Buffer.alloc(32, 0);
  data.writeUInt32BE(0xffff_ffff, 0);
  data.writeUInt32BE(512, 4);
  assert.deepEqual([parseCapacity10(data)?.blocks, parseCapacity10(data)?.blockSize], [2 ** 32, 512]);
});
