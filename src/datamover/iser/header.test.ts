import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RemoteBuffers } from '../datamover.js';
import { Memory } from '../../util/memory.js';
import {
  getControlHeader,
  helloMessage,
  helloReplyMessage,
  isHelloAccepted,
  ISER_HEADER_LENGTH,
  IserOpcode,
  iserOpcode,
  putControlHeader,
  readHello,
} from './header.js';

/** Spaces separate the fields of RFC 7145's figures. */
function bytes(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(' ', ''), 'hex');
}

const WRITE = { writeKey: 0x8000_0001, writeHigh: 0xffff_ffff, writeLow: 0xffff_f000 };
const READ = { readKey: 0xcafe_0100, readHigh: 0x0000_7f12, readLow: 0x3456_789a };

/** RFC 7145 9.2, Figure 3. */
const CONTROL: [string, Partial<RemoteBuffers>, Buffer][] = [
  ['nothing', {}, bytes('10 000000 00000000 0000000000000000 00000000 0000000000000000')],
  ['a read buffer', READ, bytes('14 000000 00000000 0000000000000000 cafe0100 00007f123456789a')],
  ['a write buffer', WRITE, bytes('18 000000 80000001 fffffffffffff000 00000000 0000000000000000')],
  ['both', { ...READ, ...WRITE }, bytes('1c 000000 80000001 fffffffffffff000 cafe0100 00007f123456789a')],
];

function remote(fields: Partial<RemoteBuffers>): RemoteBuffers {
  return Object.assign(new RemoteBuffers(), fields);
}

describe('the iSER header of a control-type PDU', () => {
  for (const [what, fields, expected] of CONTROL) {
    it(`advertises ${what}`, () => {
      const message = Buffer.alloc(40, 0xee);
      putControlHeader(new Memory(message), 5, remote(fields));
      assert.deepEqual(message.subarray(5, 33), expected);
      assert.ok(message.subarray(0, 5).every((byte) => byte === 0xee));
      assert.ok(message.subarray(33).every((byte) => byte === 0xee));
      const read = remote({ ...READ, ...WRITE });
      assert.equal(iserOpcode(message, 5), IserOpcode.CONTROL);
      assert.equal(getControlHeader(new Memory(message), 5, read), true);
      assert.deepEqual(read, remote(fields));
    });
  }

  it('is as Linux sends it with a Login Request', () => {
    const message = Buffer.alloc(ISER_HEADER_LENGTH, 0xee);
    putControlHeader(new Memory(message), 0, null);
    assert.deepEqual(message, Buffer.concat([Buffer.of(0x10), Buffer.alloc(27)]));
  });

  it('has fields that are ignored where no flag says that they are valid, and reserved ones (RFC 7145 9.2)', () => {
    const message = bytes('13 ffffff 80000001 fffffffffffff000 cafe0100 00007f123456789a');
    const read = remote({ ...READ, ...WRITE });
    assert.equal(getControlHeader(new Memory(message), 0, read), true);
    assert.deepEqual(read, remote({}));
  });

  it('contradicts itself with a flag for a key of 0', () => {
    const read = new RemoteBuffers();
    for (const hex of [
      '14 000000 00000000 0000000000000000 00000000 00007f123456789a',
      '18 000000 00000000 fffffffffffff000 00000000 0000000000000000',
      '1c 000000 80000001 0000000000000000 00000000 0000000000000000',
      '1c 000000 00000000 0000000000000000 cafe0100 0000000000000000',
    ])
      assert.equal(getControlHeader(new Memory(bytes(hex)), 0, read), false, hex);
  });

  it('is read as it was written, whatever the keys and addresses are', () => {
    const word = fc.integer({ min: 0, max: 0xffff_ffff });
    const key = fc.integer({ min: 1, max: 0xffff_ffff });
    fc.assert(
      fc.property(
        fc.option(fc.record({ readKey: key, readHigh: word, readLow: word })),
        fc.option(fc.record({ writeKey: key, writeHigh: word, writeLow: word })),
        (readFields, writeFields) => {
          const message = Buffer.alloc(ISER_HEADER_LENGTH);
          putControlHeader(new Memory(message), 0, remote({ ...readFields, ...writeFields }));
          const read = remote({ ...READ, ...WRITE });
          assert.equal(getControlHeader(new Memory(message), 0, read), true);
          assert.deepEqual(read, remote({ ...readFields, ...writeFields }));
        },
      ),
    );
  });
});

/** 24 reserved bytes. */
const REST = '00'.repeat(24);

describe('Hello and HelloReply Messages', () => {
  it('are 28 bytes with version 10 and the depth (RFC 7145 9.3, 9.4)', () => {
    assert.deepEqual(helloMessage(0x1234), bytes(`20 aa 1234 ${REST}`));
    assert.deepEqual(helloReplyMessage(4, false), bytes(`30 aa 0004 ${REST}`));
    assert.deepEqual(helloReplyMessage(0, true), bytes(`31 aa 0000 ${REST}`));
    assert.equal(iserOpcode(helloMessage(1), 0), IserOpcode.HELLO);
    assert.equal(iserOpcode(helloReplyMessage(1, true), 0), IserOpcode.HELLO_REPLY);
  });

  it('a Hello tells its depth if version 10 is among its versions', () => {
    const depths: [string, number | null][] = [
      ['aa', 0x0180],
      ['fa', 0x0180],
      ['a0', 0x0180],
      ['f0', 0x0180],
      ['9a', null],
      ['99', null],
      ['bb', null],
      ['ab', null],
      ['00', null],
    ];
    for (const [versions, depth] of depths)
      assert.equal(readHello(bytes(`20 ${versions} 0180 ${REST}`)), depth, versions);
    // What is reserved is ignored.
    assert.equal(readHello(bytes(`2f aa 0180 ${'ff'.repeat(24)}`)), 0x0180);
  });

  it('a HelloReply accepts without REJ and with version 10', () => {
    assert.equal(isHelloAccepted(bytes(`30 aa 0004 ${REST}`)), true);
    assert.equal(isHelloAccepted(bytes(`3e aa 0004 ${'ff'.repeat(24)}`)), true);
    assert.equal(isHelloAccepted(bytes(`31 aa 0004 ${REST}`)), false);
    assert.equal(isHelloAccepted(bytes(`30 ab 0004 ${REST}`)), false);
    assert.equal(isHelloAccepted(bytes(`30 a9 0004 ${REST}`)), false);
  });
});
