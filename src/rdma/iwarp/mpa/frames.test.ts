import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  encodeFrame,
  type EnhancedData,
  FrameReader,
  NOT_NEGOTIATED,
  RTR_KINDS,
  type StartupFrame,
} from './frames.js';
import { cut, cuts } from './testing/chunks.js';

const PLAIN: StartupFrame = {
  revision: 1,
  markers: false,
  crc: false,
  isRejected: false,
  enhanced: null,
  privateData: Buffer.alloc(0),
};

/** What the Linux kernel's siw sends for an iSER initiator. */
const SIW_REQUEST = Buffer.from(
  `${Buffer.from('MPA ID Req Frame').toString('hex')}100200080080008080000000`,
  'hex',
);

const frames = fc
  .record({
    isEnhanced: fc.boolean(),
    markers: fc.boolean(),
    crc: fc.boolean(),
    isRejected: fc.boolean(),
    ird: fc.nat(NOT_NEGOTIATED),
    ord: fc.nat(NOT_NEGOTIATED),
    peerToPeer: fc.option(fc.subarray([...RTR_KINDS])),
    privateData: fc.uint8Array({ maxLength: 508 }),
  })
  .map(
    ({
      isEnhanced,
      ird,
      ord,
      peerToPeer,
      privateData,
      ...flags
    }): StartupFrame & { privateData: Buffer } => ({
      ...flags,
      revision: isEnhanced ? 2 : 1,
      enhanced: isEnhanced ? { ird, ord, peerToPeer } : null,
      privateData: Buffer.from(privateData),
    }),
  );

describe('startup frames', () => {
  it('have the bits of RFC 5044 7.1.1', () => {
    const privateData = Buffer.from('ab');
    const request = encodeFrame('request', { ...PLAIN, crc: true, privateData });
    assert.equal(request.toString('latin1'), 'MPA ID Req Frame\x40\x01\x00\x02ab');
    const reply = encodeFrame('reply', { ...PLAIN, markers: true, isRejected: true });
    assert.equal(reply.toString('latin1'), 'MPA ID Rep Frame\xa0\x01\x00\x00');
  });

  it('have the enhanced data of RFC 6581 9', () => {
    const encode = (enhanced: EnhancedData): string =>
      encodeFrame('request', { ...PLAIN, revision: 2, enhanced })
        .subarray(16)
        .toString('hex');
    assert.equal(encode({ ird: 1, ord: 2, peerToPeer: null }), '1002000400010002');
    assert.equal(encode({ ird: 1, ord: 2, peerToPeer: ['fpdu'] }), '10020004c0010002');
    assert.equal(encode({ ird: 1, ord: 2, peerToPeer: ['write'] }), '1002000480018002');
    assert.equal(encode({ ird: 1, ord: 2, peerToPeer: ['read'] }), '1002000480014002');
    assert.equal(encode({ ird: 0x3fff, ord: 0x3fff, peerToPeer: [...RTR_KINDS] }), '10020004ffffffff');
  });

  it('are read as the kernel sends them', () => {
    const reader = new FrameReader('request');
    assert.equal(reader.handleBytes(SIW_REQUEST), 28);
    assert.deepEqual(reader.frame, {
      ...PLAIN,
      revision: 2,
      enhanced: { ird: 128, ord: 128, peerToPeer: null },
      privateData: Buffer.from('80000000', 'hex'),
    });
  });

  it('are read however they are cut, and nothing that follows is taken', () => {
    fc.assert(
      fc.property(frames, cuts, fc.uint8Array({ maxLength: 40 }), (frame, lengths, behind) => {
        const bytes = encodeFrame('reply', frame);
        const reader = new FrameReader('reply');
        let taken = 0;
        for (const piece of cut(Buffer.concat([bytes, behind]), lengths)) {
          assert.equal(reader.frame !== null, taken === bytes.length);
          taken += reader.handleBytes(piece);
        }
        assert.equal(taken, bytes.length);
        assert.equal(reader.error, null);
        assert.deepEqual(reader.frame, frame);
      }),
    );
  });

  it('are refused where they do not fit', () => {
    const privateData = Buffer.alloc(513);
    const misused = { code: 'MPA_MISUSE' };
    assert.throws(() => encodeFrame('request', { ...PLAIN, privateData }), misused);
    const enhanced = { ird: 1, ord: 1, peerToPeer: null };
    const longest = privateData.subarray(0, 508);
    assert.equal(
      encodeFrame('request', { ...PLAIN, revision: 2, enhanced, privateData: longest }).length,
      532,
    );
    const tooLong = { ...PLAIN, revision: 2, enhanced, privateData: privateData.subarray(0, 509) } as const;
    assert.throws(() => encodeFrame('request', tooLong), misused);
    for (const ird of [-1, 0x4000, 1.5, NaN]) {
      assert.throws(() => encodeFrame('reply', { ...PLAIN, enhanced: { ...enhanced, ird } }), misused);
    }
  });

  const wrong: [what: string, bytes: string, code: string][] = [
    ['another protocol, by its first byte', 'GET / HTTP/1.0', 'MPA_KEY'],
    ['a key that ends otherwise', 'MPA ID Rep Framf', 'MPA_KEY'],
    ['a request', 'MPA ID Req Frame\x00\x01\x00\x00', 'MPA_BOTH_INITIATORS'],
    ['revision 0', 'MPA ID Rep Frame\x00\x00\x00\x00', 'MPA_REVISION'],
    ['revision 3', 'MPA ID Rep Frame\x00\x03\x00\x00', 'MPA_REVISION'],
    ['513 bytes of private data', 'MPA ID Rep Frame\x00\x01\x02\x01', 'MPA_PRIVATE_DATA'],
    ['too little for enhanced data', 'MPA ID Rep Frame\x10\x02\x00\x03', 'MPA_PRIVATE_DATA'],
  ];
  for (const [what, bytes, code] of wrong) {
    it(`are violated by ${what}`, () => {
      const reader = new FrameReader('reply');
      reader.handleBytes(Buffer.from(bytes, 'latin1'));
      assert.deepEqual(
        [reader.error?.code, reader.error?.by, reader.error?.costs],
        [code, 'peer', 'connection'],
      );
      assert.equal(reader.error?.mpaCode, 4);
      assert.equal(reader.handleBytes(Buffer.alloc(100)), 0);
      assert.equal(reader.frame, null);
    });
  }

  it('where one side takes the role of the other, the error says so', () => {
    const reader = new FrameReader('request');
    reader.handleBytes(Buffer.from('MPA ID Rep'));
    assert.equal(reader.error?.code, 'MPA_BOTH_RESPONDERS');
  });

  it('with any bit changed are refused, incomplete, or another frame', () => {
    const enhanced = { ird: 4, ord: 8, peerToPeer: ['write' as const] };
    const frame = { ...PLAIN, revision: 2 as const, enhanced, privateData: Buffer.from('0123456789') };
    const original = encodeFrame('request', frame);
    for (let bit = 0; bit < original.length * 8; bit++) {
      const bytes = Buffer.from(original);
      bytes[bit >>> 3]! ^= 0x80 >>> (bit % 8);
      const reader = new FrameReader('request');
      const taken = reader.handleBytes(bytes);
      assert.ok(taken <= bytes.length);
      const isReserved = bit >= 132 && bit < 136;
      const isUnchecked = bit === 130;
      if (bit < 128) assert.match(reader.error!.code, /^MPA_(KEY|BOTH_RESPONDERS)$/);
      else if (isReserved || isUnchecked) assert.deepEqual(reader.frame, frame);
      else if (reader.error === null) assert.notDeepEqual(reader.frame, frame);
      assert.ok(reader.error === null || reader.frame === null);
    }
  });

  it('take any bytes without harm', () => {
    const prefixes = fc.constantFrom(
      '',
      'MPA ID Req Frame',
      'MPA ID Req Frame\x00\x01',
      'MPA ID Req Frame\xff\x02',
    );
    fc.assert(
      fc.property(prefixes, fc.uint8Array({ maxLength: 700 }), cuts, (prefix, rest, lengths) => {
        const reader = new FrameReader('request');
        let taken = 0;
        for (const piece of cut(Buffer.concat([Buffer.from(prefix, 'latin1'), rest]), lengths)) {
          taken += reader.handleBytes(piece);
        }
        assert.ok(taken <= 532, `${taken} bytes taken`);
        assert.ok((reader.frame?.privateData.length ?? 0) <= 512, 'too much private data');
      }),
    );
  });
});
