/** The wire format of iSNS: round trips, the RFC's own numbers, and bytes that are none of it. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';

import { RiserError } from '../../util/errors.js';
import { formatAddress, parseAddress } from './addresses.js';
import {
  type Attribute,
  attribute,
  type AttributeType,
  blank,
  decodeAttributes,
  EID,
  encodeAttributes,
  find,
  ISCSI_NAME,
  ISCSI_NODE_TYPE,
  PORTAL_ADDRESS,
  PORTAL_PORT,
  TIMESTAMP,
} from './attributes.js';
import { Flag, FunctionId, statusName } from './codes.js';
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse, type Message } from './message.js';
import { encodeMessage, MAX_PDU_PAYLOAD, MessageReader } from './pdu.js';
import { objectsIn } from './objects.js';

const LIMIT = 1 << 20;
const TYPES: AttributeType<unknown>[] = [EID, PORTAL_ADDRESS, PORTAL_PORT, ISCSI_NAME];
const NAME = 'iqn.2026-11.com.example:disk';

const anAttribute: fc.Arbitrary<Attribute> = fc.record({
  tag: fc.integer({ min: 1, max: 0xffff_ffff }),
  value: fc.uint8Array({ maxLength: 40 }).map((bytes) => bytes.slice(0, bytes.length & ~3)),
});
const attributes = fc.array(anAttribute, { maxLength: 8 });
const plain = (some: readonly Attribute[]) =>
  some.map(({ tag, value }) => [tag, Buffer.from(value).toString('hex')]);

/** The bytes in pieces whose sizes are `cuts`, over and over. */
function* pieces(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = cuts[i % cuts.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const message = (payload: Uint8Array, others: Partial<Message> = {}): Message => ({
  functionId: FunctionId.DEV_ATTR_QRY,
  flags: Flag.CLIENT,
  transactionId: 1,
  payload,
  ...others,
});
const malformed = (problem: RegExp) => ({ code: 'ISNS_MALFORMED', message: problem });

describe('attributes', () => {
  test('survive a round trip', () => {
    fc.assert(
      fc.property(attributes, (some) => {
        assert.deepEqual(plain(decodeAttributes(encodeAttributes(some))), plain(some));
      }),
    );
  });

  test('text ends in NUL and is padded to 4 bytes; numbers are big-endian', () => {
    const hex = (some: Attribute[]): string => Buffer.from(encodeAttributes(some)).toString('hex');
    assert.equal(hex([attribute(EID, 'abc')]), '0000000100000004' + '61626300');
    assert.equal(hex([attribute(EID, 'abcd')]), '0000000100000008' + '6162636400000000');
    assert.equal(
      hex([attribute(PORTAL_PORT, 3260), blank(ISCSI_NAME)]),
      '000000110000000400000cbc' + '0000002000000000',
    );
    assert.equal(hex([attribute(TIMESTAMP, 0x1_0000_0002)]), '0000000400000008' + '0000000100000002');
    const ip = '00000000000000000000ffff' + 'c0000201';
    assert.equal(hex([attribute(PORTAL_ADDRESS, '192.0.2.1')]), '0000001000000010' + ip);
  });

  test('any text that fits comes back, and longer text is not sent', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((each) => !/[\0\ufffd]/.test(each));
    fc.assert(fc.property(text, (each) => find([attribute(EID, each)], EID) === each));
    assert.equal(attribute(ISCSI_NAME, 'x'.repeat(223)).value.length, 224);
    assert.throws(() => attribute(ISCSI_NAME, 'x'.repeat(224)), RangeError);
  });

  test('values that are none of their type', () => {
    const raw = (tag: number, hex: string): Attribute[] => [{ tag, value: Buffer.from(hex, 'hex') }];
    assert.throws(
      () => find(raw(17, '00000cbc00000000'), PORTAL_PORT),
      malformed(/8 bytes of Portal TCP\/UDP Port/),
    );
    assert.throws(() => find(raw(16, '7f000001'), PORTAL_ADDRESS), malformed(/4 bytes of Portal IP Address/));
    assert.throws(() => find(raw(32, '61626364'), ISCSI_NAME), malformed(/no end in its iSCSI Name/));
    assert.throws(() => find(raw(32, 'ff620000'), ISCSI_NAME), malformed(/no UTF-8/));
    assert.throws(
      () => find(raw(32, '61'.repeat(224) + '00000000'), ISCSI_NAME),
      malformed(/228 bytes of iSCSI Name/),
    );
    assert.equal(find(raw(33, ''), ISCSI_NODE_TYPE), null, 'without a value there is none');
  });

  test('objects begin with their keys', () => {
    const node = attribute(ISCSI_NAME, NAME);
    const type = attribute(ISCSI_NODE_TYPE, 1);
    const portal = attribute(PORTAL_ADDRESS, '192.0.2.1');
    const found = objectsIn([attribute(EID, 'e'), type, node, type, portal, node], ISCSI_NAME);
    assert.deepEqual(found, [[node, type], [node]]);
  });
});

describe('addresses', () => {
  test('are 16 bytes, IPv4 mapped, and come back', () => {
    const same = [
      '192.0.2.1',
      '::1',
      '::',
      '2001:db8::1',
      'fe80::1:0:0:1',
      '1:2:3:4:5:6:7:8',
      '1::',
      '1:0:2::3',
    ];
    for (const text of same) assert.equal(formatAddress(parseAddress(text)!), text);
    assert.equal(formatAddress(parseAddress('2001:DB8:0:0:0:0:0:1')!), '2001:db8::1');
    assert.equal(formatAddress(parseAddress('::ffff:192.0.2.1')!), '192.0.2.1');
    assert.equal(formatAddress(parseAddress('::192.0.2.1')!), '192.0.2.1', 'as isnsadm registers it');
  });

  test('any 16 bytes have a text that is an address again', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const text = formatAddress(bytes);
        assert.equal(formatAddress(parseAddress(text)!), text);
      }),
    );
  });

  test('other text is none', () => {
    for (const text of [
      '',
      'host',
      '1.2.3',
      '1.2.3.256',
      '1::2::3',
      '1:2:3',
      '1:2:3:4:5:6:7:8:9',
      '::12345',
      'fe80::1%eth0',
      '1:2:3:4:5:6:7::8',
      ':1',
    ]) {
      assert.equal(parseAddress(text), null, text);
    }
  });
});

describe('messages', () => {
  test('requests and responses survive a round trip', () => {
    const some = attributes.map((list) => list.filter(({ tag }) => tag !== 0));
    fc.assert(
      fc.property(anAttribute, some, some, fc.nat(23), (source, key, operating, status) => {
        const request = decodeRequest(encodeRequest({ source, key, operating }));
        assert.deepEqual(
          [plain([request.source]), plain(request.key), plain(request.operating)],
          [plain([source]), plain(key), plain(operating)],
        );
        const response = decodeResponse(encodeResponse({ status, key, operating }));
        assert.deepEqual(
          [response.status, plain(response.key), plain(response.operating)],
          [status, plain(key), plain(operating)],
        );
      }),
    );
  });

  test('come out of a stream as they went in, however it is cut', () => {
    const many = fc.array(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => bytes.slice(0, bytes.length & ~3)),
    );
    const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 });
    fc.assert(
      fc.property(many, cuts, (payloads, sizes) => {
        const sent = payloads.map((payload, i) => message(payload, { transactionId: i }));
        const reader = new MessageReader(LIMIT);
        const received: Message[] = [];
        for (const piece of pieces(Buffer.concat(sent.map(encodeMessage)), sizes))
          received.push(...reader.push(piece));
        assert.deepEqual(
          received.map(({ payload }) => Buffer.from(payload).toString('hex')),
          sent.map(({ payload }) => Buffer.from(payload).toString('hex')),
        );
        assert.deepEqual(
          received.map(({ transactionId }) => transactionId),
          sent.map(({ transactionId }) => transactionId),
        );
      }),
    );
  });

  test('one PDU is the first and the last', () => {
    const bytes = encodeMessage(
      message(Buffer.from('01020304', 'hex'), { flags: Flag.CLIENT | Flag.REPLACE, transactionId: 0xabcd }),
    );
    assert.equal(Buffer.from(bytes).toString('hex'), '00010002' + '00049c00' + 'abcd0000' + '01020304');
  });

  test('a long one takes several PDUs, numbered from 0', () => {
    const payload = Buffer.alloc(2 * MAX_PDU_PAYLOAD + 4, 'wire');
    const bytes = Buffer.from(encodeMessage(message(payload)));
    const starts = [0, 1, 2].map((i) => i * (MAX_PDU_PAYLOAD + 12));
    assert.deepEqual(
      starts.map((at) => [
        bytes.readUInt16BE(at + 4),
        bytes.readUInt16BE(at + 6),
        bytes.readUInt16BE(at + 10),
      ]),
      [
        [MAX_PDU_PAYLOAD, Flag.CLIENT | Flag.FIRST, 0],
        [MAX_PDU_PAYLOAD, Flag.CLIENT, 1],
        [4, Flag.CLIENT | Flag.LAST, 2],
      ],
    );
    const [received, ...others] = new MessageReader(LIMIT).push(bytes);
    assert.deepEqual(
      [Buffer.from(received!.payload).equals(payload), received!.flags, others],
      [true, Flag.CLIENT, []],
    );
  });

  test('statuses have the names of the RFC', () => {
    assert.deepEqual([0, 9, 21, 24].map(statusName), [
      'Successful',
      'No Such Entry',
      'ESI Not Available',
      'RESERVED',
    ]);
  });
});

describe('malformed', () => {
  const pdu = (
    flags: number,
    sequence: number,
    payload = '00000000',
    patch: (bytes: Buffer) => void = () => undefined,
  ): Buffer => {
    const bytes = Buffer.from(encodeMessage(message(Buffer.from(payload, 'hex'))));
    bytes.writeUInt16BE(flags, 6);
    bytes.writeUInt16BE(sequence, 10);
    patch(bytes);
    return bytes;
  };
  const BOTH = Flag.FIRST | Flag.LAST;
  const cases: [RegExp, Buffer[]][] = [
    [/version 2/, [pdu(BOTH, 0, '', (bytes) => bytes.writeUInt16BE(2, 0))]],
    [/PDU of 3 bytes/, [pdu(BOTH, 0, '', (bytes) => bytes.writeUInt16BE(3, 4))]],
    [/longer than 64 bytes/, [pdu(BOTH, 0, '', (bytes) => bytes.writeUInt16BE(68, 4))]],
    [/longer than 64 bytes/, [pdu(Flag.FIRST, 0, '00'.repeat(40)), pdu(Flag.LAST, 1, '00'.repeat(40))]],
    [/authentication block/, [pdu(BOTH | Flag.AUTHENTICATION, 0)]],
    [/no first PDU/, [pdu(Flag.LAST, 0)]],
    [/begins before/, [pdu(Flag.FIRST, 0), pdu(BOTH, 0)]],
    [/out of sequence/, [pdu(BOTH, 1)]],
    [/out of sequence/, [pdu(Flag.FIRST, 0), pdu(Flag.LAST, 2)]],
    [/PDU of nothing/, [pdu(Flag.FIRST, 0, '')]],
    [/mixed/, [pdu(Flag.FIRST, 0), pdu(Flag.LAST, 1, '00000000', (bytes) => bytes.writeUInt16BE(9, 8))]],
    [/mixed/, [pdu(Flag.FIRST, 0), pdu(Flag.LAST, 1, '00000000', (bytes) => bytes.writeUInt16BE(9, 2))]],
  ];
  for (const [problem, pdus] of cases) {
    test(`PDUs: ${problem.source}`, () => {
      assert.throws(() => new MessageReader(64).push(Buffer.concat(pdus)), malformed(problem));
    });
  }

  test('payloads', () => {
    const bytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex');
    assert.throws(() => decodeResponse(bytes('0000')), malformed(/no status code/));
    assert.throws(() => decodeRequest(bytes('')), malformed(/no Source Attribute/));
    assert.throws(() => decodeRequest(bytes('0000000000000000')), malformed(/no Source Attribute/));
    assert.throws(() => decodeAttributes(bytes('00000001')), malformed(/within the header/));
    assert.throws(
      () => decodeAttributes(bytes('0000000100000008' + '61626300')),
      malformed(/longer than it/),
    );
    assert.throws(() => decodeAttributes(bytes('00000001ffffffff')), malformed(/longer than it/));
    assert.throws(() => decodeAttributes(bytes('0000000100000003' + '616200')), malformed(/not padded/));
  });

  test('no bytes do more than throw that, and what is kept stays bounded', () => {
    const head = fc.constantFrom('', '0001', '000180020004ac00', '00010002000804000001' + '0000');
    fc.assert(
      fc.property(
        head,
        fc.uint8Array({ maxLength: 400 }),
        fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 1 }),
        (start, random, cuts) => {
          const reader = new MessageReader(256);
          try {
            for (const piece of pieces(Buffer.concat([Buffer.from(start, 'hex'), random]), cuts)) {
              for (const { payload } of reader.push(piece)) {
                assert.ok(payload.length <= 256);
                const { operating } = decodeResponse(payload);
                for (const type of TYPES) find(operating, type);
              }
            }
          } catch (error) {
            if (!(error instanceof RiserError)) throw error;
            assert.equal(error.code, 'ISNS_MALFORMED');
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('a good message with some bytes changed', () => {
    const payload = encodeResponse({
      status: 0,
      key: [attribute(ISCSI_NAME, NAME)],
      operating: [
        attribute(PORTAL_ADDRESS, '192.0.2.1'),
        attribute(PORTAL_PORT, 3260),
        attribute(EID, 'entity'),
      ],
    });
    const good = encodeMessage(message(payload));
    const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(changes, (all) => {
        const bytes = new Uint8Array(good);
        for (const [at, value] of all) bytes[at] = value;
        try {
          for (const each of new MessageReader(1024).push(bytes)) {
            const { key, operating } = decodeResponse(each.payload);
            for (const type of TYPES) find([...key, ...operating], type);
          }
        } catch (error) {
          if (!(error instanceof RiserError)) throw error;
          assert.equal(error.code, 'ISNS_MALFORMED');
        }
      }),
      { numRuns: 2000 },
    );
  });
});
