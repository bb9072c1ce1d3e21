/**
 * Messages over RDMA that break the rules of RFC 7145: the connection ends, or the PDU is refused as RFC 7143 has it; nothing is
 * left behind, and a session beside it notices nothing.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import { Reject } from '../../src/iscsi/wire/headers.js';
import {
  CommandFlag,
  FINAL,
  IMMEDIATE,
  Opcode,
  RejectReason,
  RESERVED_TAG,
} from '../../src/iscsi/wire/opcodes.js';
import type { ConnectionParameters } from '../../src/rdma/verbs.js';
import { Memory } from '../../src/util/memory.js';
import { readWriteCdb } from '../support/cdb.js';
import { GuardedTarget } from '../support/guarded-target.js';
import { encodeKeys, type Keys, LoginRefused, loginHeader, Stage } from '../support/login.js';
import { adapter, FakeProvider, WIRE } from '../support/fake-provider.js';
import { NARROW } from '../support/narrow-device.js';
import { pattern } from '../support/pattern.js';
import {
  type Advertised,
  controlHeader,
  First,
  hello,
  MAY_INVALIDATE,
  type RawIserOptions,
} from '../support/raw-iser.js';
import { IserInitiator, readBlocks, writeBlocks } from '../support/raw-iser-initiator.js';
import { until } from '../support/verbs-pair.js';

const LBA = 64;
const BLOCKS = 16;
const LENGTH = BLOCKS * 512;
const READ = readWriteCdb(0x88, LBA, BLOCKS, false);
const WRITE = readWriteCdb(0x8a, LBA, BLOCKS, false);
const CHECK_CONDITION = 2;

type Act = (initiator: IserInitiator) => void | Promise<void>;

for (const [device, host, adapters] of [
  ['software iWARP', '127.0.0.1', []],
  [
    'an adapter that can little',
    WIRE,
    [new FakeProvider('fake', adapter('narrow', { narrow: { ...NARROW, hasSendWithInvalidate: true } }))],
  ],
] as const) {
  describe(`a target over RDMA, by ${device}`, { timeout: 120_000 }, () => {
    let target: GuardedTarget;
    const original = pattern(3 * LENGTH, 5);
    const open: IserInitiator[] = [];

    before(async () => {
      target = await GuardedTarget.start(new MemoryDevice({ size: 8 << 20 }), { adapters });
      const initiator = await login();
      await writeBlocks(initiator, LBA - BLOCKS, original);
      assert.ok((await readBlocks(initiator, LBA - BLOCKS, 3 * BLOCKS)).equals(original));
      leave();
    });
    afterEach(async () => {
      leave();
      await target.assertUnharmed();
      const reader = await login();
      assert.ok((await readBlocks(reader, LBA - BLOCKS, 3 * BLOCKS)).equals(original), 'the medium changed');
      leave();
    });
    after(() => target.close());

    async function connect(
      parameters: ConnectionParameters = {},
      options: RawIserOptions = {},
    ): Promise<IserInitiator> {
      const initiator = await IserInitiator.connect(target.port, parameters, options, host);
      open.push(initiator);
      return initiator;
    }
    async function login(keys: Keys = {}): Promise<IserInitiator> {
      const initiator = await connect();
      await initiator.logIn(keys);
      return initiator;
    }
    function leave(): void {
      for (const { channel } of open.splice(0)) channel.close();
    }

    /** The connection ends without an answer to anything. */
    async function assertEnds({ channel }: IserInitiator): Promise<void> {
      await channel.disconnected();
      assert.deepEqual(
        channel.messages.map(({ header }) => header[0]),
        [],
      );
    }

    /** The next PDU is a Reject, or the connection ends. */
    async function assertRefuses({ channel }: IserInitiator): Promise<void> {
      await until(() => channel.messages.length > 0 || channel.ended !== undefined, 'a Reject or the end');
      const [first] = channel.messages;
      if (first === undefined) return;
      assert.equal(first.header[0], Opcode.REJECT);
      assert.notEqual(Reject.reason.get(first.header), 0);
    }

    const grant = (initiator: IserInitiator, access: 'read' | 'write'): Advertised =>
      initiator.channel.grant(Memory.allocate(LENGTH), access);

    describe('ends the connection upon', () => {
      const nop = (initiator: IserInitiator): Buffer => {
        const header = initiator.header(Opcode.NOP_OUT | IMMEDIATE);
        header.writeUInt32BE(RESERVED_TAG, 20);
        return header;
      };
      const cases: [string, Act][] = [];
      for (const opcode of [0, 4, 5, 8, 15]) {
        cases.push([
          `a message with opcode ${opcode}`,
          (initiator) => {
            const iser = controlHeader();
            iser[0] = opcode << 4;
            initiator.sendPdu(nop(initiator), undefined, iser);
          },
        ]);
      }
      for (const length of [0, 1, 27, 28, 29, 75]) {
        cases.push([
          `a message of ${length} bytes`,
          (initiator) => {
            initiator.channel.send(Buffer.concat([controlHeader(), nop(initiator)]).subarray(0, length));
          },
        ]);
      }
      const lengths: [string, (header: Buffer) => void, number][] = [
        ['a data segment that is not there', (header) => header.writeUIntBE(1, 5, 3), 0],
        ['a data segment of 16 MiB that is not there', (header) => header.writeUIntBE(0xff_ffff, 5, 3), 0],
        ['a data segment that lacks its last byte', (header) => header.writeUIntBE(9, 5, 3), 8],
        ['4 bytes behind the PDU', (header) => header.writeUIntBE(0, 5, 3), 4],
        ['4 bytes behind the data segment', (header) => header.writeUIntBE(5, 5, 3), 9],
        ['additional headers that are not there', (header) => header.writeUInt8(1, 4), 0],
        ['255 additional headers that are not there', (header) => header.writeUInt8(255, 4), 1016],
        ['lengths that add up to more than the message', (header) => header.writeUInt32BE(0x0100_0005, 4), 8],
      ];
      for (const [what, change, behind] of lengths) {
        cases.push([
          what,
          (initiator) => {
            const header = nop(initiator);
            change(header);
            initiator.channel.send(Buffer.concat([controlHeader(), header, Buffer.alloc(behind)]));
          },
        ]);
      }
      cases.push([
        'a message longer than any receive',
        (initiator) => {
          initiator.sendPdu(nop(initiator), Buffer.alloc(30_000));
        },
      ]);
      for (const key of ['read', 'write'] as const) {
        cases.push([
          `a ${key} key of 0 that is said to be valid`,
          (initiator) => {
            const direction = key === 'read' ? CommandFlag.READ : CommandFlag.WRITE;
            const iser = controlHeader({ [key]: { key: 0, address: 0n } });
            initiator.command(key === 'read' ? READ : WRITE, { length: LENGTH, direction, iser });
          },
        ]);
        for (const opcode of [
          Opcode.NOP_OUT,
          Opcode.TASK_MANAGEMENT_REQUEST,
          Opcode.TEXT_REQUEST,
          Opcode.DATA_OUT,
          Opcode.LOGOUT_REQUEST,
          Opcode.SNACK_REQUEST,
          0x1e,
        ]) {
          cases.push([
            `a ${key} key with opcode 0x${opcode.toString(16)}`,
            (initiator) => {
              const advertised = grant(initiator, key === 'read' ? 'write' : 'read');
              initiator.sendPdu(
                initiator.header(opcode | IMMEDIATE),
                undefined,
                controlHeader({ [key]: advertised }),
              );
            },
          ]);
        }
      }
      cases.push(
        [
          'a command that reads without a key',
          (initiator) => {
            initiator.command(READ, { length: LENGTH, direction: CommandFlag.READ });
          },
        ],
        [
          'a command that reads with a write key only',
          (initiator) => {
            initiator.command(READ, {
              length: LENGTH,
              direction: CommandFlag.READ,
              write: grant(initiator, 'read'),
            });
          },
        ],
        [
          'a command that writes without a key',
          (initiator) => {
            initiator.command(WRITE, { length: LENGTH, direction: CommandFlag.WRITE });
          },
        ],
        [
          'a command that writes with a read key only',
          (initiator) => {
            initiator.command(WRITE, {
              length: LENGTH,
              direction: CommandFlag.WRITE,
              read: grant(initiator, 'write'),
            });
          },
        ],
        [
          'a Hello that was not agreed on',
          ({ channel }) => {
            channel.send(hello(First.HELLO, 10, 10, 4));
          },
        ],
        [
          'a Send that invalidates a key, of which the target has none',
          ({ channel }) => {
            channel.send(controlHeader(), 0x1234_5678);
          },
        ],
        [
          'an RDMA Write, to a target that grants nothing',
          ({ channel }) => {
            channel.write({ key: 1, address: 0n }, Buffer.alloc(10));
          },
        ],
        [
          'an RDMA Read, from a target that grants nothing',
          ({ channel }) => {
            channel.read({ key: 1, address: 0n }, Memory.allocate(10));
          },
        ],
      );
      for (const [what, act] of cases) {
        it(what, async () => {
          const initiator = await login();
          await act(initiator);
          await assertEnds(initiator);
        });
      }

      it('a read key that was never given', async () => {
        const initiator = await login();
        initiator.command(READ, { length: LENGTH, read: { key: 0xdead_beef, address: 0n } });
        await assertEnds(initiator);
      });

      it('a read key for less than the command reads', async () => {
        const initiator = await login();
        const memory = Memory.allocate(LENGTH);
        const read = initiator.channel.grant(memory, 'write');
        initiator.command(READ, { length: LENGTH, read: { ...read, address: read.address + 1n } });
        await assertEnds(initiator);
      });

      for (const [what, change] of [
        ['was never given', ({ address }: { address: bigint }) => ({ key: 0xdead_beef, address })],
        ['is for less than the command writes', ({ key }: { key: number }) => ({ key, address: 1n })],
        [
          'is at the end of all addresses',
          ({ key }: { key: number }) => ({ key, address: (1n << 64n) - 1n }),
        ],
      ] as const) {
        it(`a write key that ${what}, and writes nothing`, async () => {
          const initiator = await login();
          initiator.command(WRITE, { length: LENGTH, write: change(grant(initiator, 'read')) });
          await assertEnds(initiator);
        });
      }

      it('keys that are revoked before they are used', async () => {
        const initiator = await login();
        const write = grant(initiator, 'read');
        initiator.channel.revokeAll();
        initiator.command(WRITE, { length: LENGTH, write });
        await assertEnds(initiator);
      });

      it('a peer that posts no receives for what it asks for', async () => {
        const initiator = await connect({}, { receives: 3, runsOut: true });
        await initiator.logIn();
        for (let i = 0; i < 20; i++) initiator.ping();
        await initiator.channel.disconnected();
        assert.ok(initiator.channel.messages.length <= 1);
      });
    });

    describe('refuses', () => {
      it('immediate data where ImmediateData=No', async () => {
        const initiator = await login({ ImmediateData: 'No' });
        const data = Buffer.alloc(512, 0xee);
        const write = grant(initiator, 'read');
        const tag = initiator.command(WRITE, { length: LENGTH, write, data });
        assert.equal(await initiator.status(tag), CHECK_CONDITION);
      });

      it('immediate data with a command that reads', async () => {
        const initiator = await login();
        const read = grant(initiator, 'write');
        const tag = initiator.command(READ, { length: LENGTH, read, data: Buffer.alloc(512) });
        assert.equal(await initiator.status(tag), CHECK_CONDITION);
      });

      it('more immediate data than the command writes', async () => {
        const initiator = await login();
        const data = Buffer.alloc(LENGTH, 0xee).subarray(0, 1024);
        const write = grant(initiator, 'read');
        const cdb = readWriteCdb(0x8a, LBA, 1, false);
        const tag = initiator.command(cdb, { length: 512, write, data });
        assert.equal(await initiator.status(tag), CHECK_CONDITION);
      });

      /** The tag of a WRITE that says that Data-Out follows. */
      const writeAndMore = (initiator: IserInitiator): number =>
        initiator.command(WRITE, {
          length: LENGTH,
          write: grant(initiator, 'read'),
          set: (header) => {
            header[1]! &= ~FINAL;
          },
        });

      it('unsolicited Data-Out where InitialR2T=Yes', async () => {
        const initiator = await login();
        const tag = writeAndMore(initiator);
        const header = initiator.header(Opcode.DATA_OUT);
        header.writeUInt32BE(tag, 16);
        header.writeUInt32BE(RESERVED_TAG, 20);
        initiator.sendPdu(header, Buffer.alloc(512, 0xee));
        assert.equal(await initiator.status(tag), CHECK_CONDITION);
      });

      it('Data-Out as if it had been asked for by an R2T', async () => {
        const initiator = await login();
        const tag = writeAndMore(initiator);
        const header = initiator.header(Opcode.DATA_OUT | IMMEDIATE);
        header.writeUInt32BE(tag, 16);
        header.writeUInt32BE(7, 20);
        initiator.sendPdu(header, Buffer.alloc(512, 0xee));
        await assertRefuses(initiator);
      });

      it('Data-Out of no task', async () => {
        const initiator = await login();
        const header = initiator.header(Opcode.DATA_OUT | IMMEDIATE);
        initiator.sendPdu(header, Buffer.alloc(512, 0xee));
        assert.equal((await readBlocks(initiator, LBA, 1)).length, 512);
      });

      const assertProtocolError = async (initiator: IserInitiator): Promise<void> => {
        await until(() => initiator.channel.messages.length > 0, 'a Reject');
        const { header } = initiator.channel.messages[0]!;
        assert.equal(header[0], Opcode.REJECT);
        assert.equal(Reject.reason.get(header), RejectReason.PROTOCOL_ERROR);
      };

      it('SNACK (RFC 7145 7.3.11)', async () => {
        const initiator = await login();
        initiator.sendPdu(initiator.header(Opcode.SNACK_REQUEST));
        await assertProtocolError(initiator);
      });

      it('a Login Request after login (RFC 7145 7.3.9)', async () => {
        const initiator = await login();
        const { isid } = initiator;
        initiator.sendPdu(loginHeader({ isid, currentStage: Stage.OPERATIONAL }), encodeKeys({}));
        await assertProtocolError(initiator);
      });

      for (const opcode of [Opcode.SCSI_RESPONSE, Opcode.DATA_IN, Opcode.R2T, Opcode.REJECT, 0x1e]) {
        it(`opcode 0x${opcode.toString(16)}, which is none of an initiator`, async () => {
          const initiator = await login();
          initiator.sendPdu(initiator.header(opcode | IMMEDIATE));
          await assertRefuses(initiator);
        });
      }

      for (const keys of [
        { RDMAExtensions: 'Yes' },
        { RDMAExtensions: 'No' },
        { iSERHelloRequired: 'Yes' },
        { TaggedBufferForSolicitedDataOnly: 'No' },
        { MaxOutstandingUnexpectedPDUs: '4' },
        { MaxAHSLength: '4' },
      ] as Keys[]) {
        it(`${Object.keys(keys)[0]!} after login`, async () => {
          const initiator = await login();
          const header = initiator.header(Opcode.TEXT_REQUEST);
          header.writeUInt32BE(RESERVED_TAG, 20);
          initiator.sendPdu(header, encodeKeys(keys));
          await assertRefuses(initiator);
        });
      }

      it('a login without RDMAExtensions, one with No, and one with a value that is none', async () => {
        for (const value of [undefined, 'No', 'Maybe']) {
          const initiator = await connect();
          const keys: Record<string, string> = { RDMAExtensions: value ?? '' };
          if (value === undefined) delete keys['RDMAExtensions'];
          await initiator.logInHalfway();
          const { isid, expStatSN } = initiator;
          const header = loginHeader({
            isid,
            currentStage: Stage.OPERATIONAL,
            nextStage: Stage.FULL_FEATURE,
            expStatSN,
          });
          initiator.sendPdu(header, encodeKeys(keys));
          const { header: response } = await initiator.channel.next();
          assert.deepEqual([...response.subarray(36, 38)], [2, 0]);
          await initiator.channel.disconnected();
        }
      });
    });

    it('ends nothing when a peer sends more unexpected PDUs than granted, but its own connection', async () => {
      const initiator = await login();
      for (let i = 0; i < 3000; i++) {
        const header = initiator.header(Opcode.NOP_OUT | IMMEDIATE);
        header.writeUInt32BE(RESERVED_TAG, 16);
        header.writeUInt32BE(RESERVED_TAG, 20);
        initiator.sendPdu(header);
      }
      initiator.ping();
      const { channel } = initiator;
      await until(() => channel.messages.length > 0 || channel.ended !== undefined, 'an answer or the end');
    });

    it('takes padding, and none', async () => {
      const initiator = await login();
      for (const padding of [0, 3]) {
        const header = initiator.header(Opcode.NOP_OUT);
        header.writeUInt32BE(RESERVED_TAG, 20);
        header.writeUIntBE(5, 5, 3);
        initiator.channel.send(Buffer.concat([controlHeader(), header, Buffer.alloc(5 + padding, 0x61)]));
        assert.equal((await initiator.channel.next()).data.toString(), 'aaaaa');
      }
    });

    describe('with iSERHelloRequired=Yes', () => {
      const AGREED: Keys = { iSERHelloRequired: 'Yes' };

      it('greets, and serves', async () => {
        const initiator = await login(AGREED);
        initiator.channel.send(hello(First.HELLO, 10, 10, 4));
        assert.deepEqual((await initiator.channel.next()).bytes, hello(First.HELLO_REPLY, 10, 10, 4));
        const data = original.subarray(LENGTH, 2 * LENGTH);
        await writeBlocks(initiator, LBA, data);
        assert.ok((await readBlocks(initiator, LBA, BLOCKS)).equals(data));
      });

      it('serves reads, and no writes, when nothing may be read', async () => {
        const initiator = await login(AGREED);
        initiator.channel.send(hello(First.HELLO, 10, 10, 0));
        assert.deepEqual((await initiator.channel.next()).bytes, hello(First.HELLO_REPLY, 10, 10, 0));
        assert.equal((await readBlocks(initiator, LBA, BLOCKS)).length, LENGTH);
        initiator.command(WRITE, { length: LENGTH, write: grant(initiator, 'read') });
        await assertEnds(initiator);
      });

      it('rejects another version, and ends', async () => {
        const initiator = await login(AGREED);
        initiator.channel.send(hello(First.HELLO, 9, 9, 4));
        initiator.ping();
        const { bytes } = await initiator.channel.next();
        assert.deepEqual(bytes, hello(First.HELLO_REPLY | First.REJECT, 10, 10, 0));
        await assertEnds(initiator);
      });

      it('ends upon a PDU instead of it, and upon a second one', async () => {
        const first = await login(AGREED);
        first.ping();
        await assertEnds(first);
        const second = await login(AGREED);
        second.channel.send(hello(First.HELLO, 10, 10, 4));
        await second.channel.next();
        second.channel.send(hello(First.HELLO, 10, 10, 4));
        await assertEnds(second);
      });
    });

    it('invalidates the keys of whoever lets it, and those only', async () => {
      const initiator = await connect({ privateData: MAY_INVALIDATE });
      await initiator.logIn();
      const memory = Memory.allocate(LENGTH);
      const read = initiator.channel.grant(memory, 'write', true);
      const tag = initiator.command(READ, { length: LENGTH, read });
      assert.equal((await initiator.answer(tag)).invalidated, read.key);
      assert.ok(memory.bytes.equals(original.subarray(LENGTH, 2 * LENGTH)));
      // A key that cannot be invalidated: the initiator's adapter ends the connection.
      const fixed = initiator.channel.grant(memory, 'write');
      initiator.command(READ, { length: LENGTH, read: fixed });
      await initiator.channel.disconnected();
      assert.equal(initiator.channel.messages.length, 0);
    });

    it('is refused by nobody who logs in rightly', async () => {
      await assert.rejects(login({ RDMAExtensions: 'No' }), LoginRefused);
      const initiator = await login();
      assert.equal(initiator.answers['RDMAExtensions'], 'Yes');
      assert.equal(initiator.answers['InitialR2T'], 'Yes');
    });
  });
}
