/** The Hello exchange (RFC 7145 5.1.3, 9.3, 9.4, 10.1.3.2, 10.1.3.4), both roles. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PARAMETERS, RecordedEvents } from '../../../test/contract/datamover.js';
import {
  commandHeader,
  InitiatorTaskMap,
  RecordedInitiatorEvents,
} from '../../../test/contract/initiator-datamover.js';
import { controlHeader, First, hello, MAY_NOT_INVALIDATE, RawIser } from '../../../test/support/raw-iser.js';
import { RdmaWire } from '../../../test/support/rdma-wire.js';
import { Bhs } from '../../iscsi/wire/headers.js';
import { Opcode } from '../../iscsi/wire/opcodes.js';
import type { ConnectionParameters as RdmaParameters } from '../../rdma/verbs.js';
import { Memory } from '../../util/memory.js';
import type { InitiatorDatamover, TargetDatamover } from '../datamover.js';
import { acceptIser, connectIser, RegisteredMemory } from './index.js';

const NUMBERING = { takeStatSN: () => 1, peekStatSN: () => 1, expectedCmdSN: () => 7, maxCmdSN: () => 70 };

interface TargetScene {
  datamover: TargetDatamover;
  registered: RegisteredMemory;
  raw: RawIser;
  events: RecordedEvents;
  settle: () => Promise<void>;
}

/** Riser's target, behind a login that has agreed on Hello or has not; `connect`: of the initiator. */
async function target(helloRequired: boolean, connect: RdmaParameters = {}): Promise<TargetScene> {
  const events = new RecordedEvents();
  let raw!: RawIser;
  let datamover!: TargetDatamover;
  let registered!: RegisteredMemory;
  const wire = await RdmaWire.connect(
    1,
    (connection) => {
      raw = new RawIser(connection);
      return connection.connect({ privateData: MAY_NOT_INVALIDATE, ...connect });
    },
    (request, asked, { passive }) => {
      registered = new RegisteredMemory(passive, 1 << 20);
      datamover = acceptIser(request, asked, registered, events);
    },
  );
  datamover.enableDatamover({ ...PARAMETERS, helloRequired }, NUMBERING);
  return { datamover, registered, raw, events, settle: () => wire.settle() };
}

interface InitiatorScene {
  datamover: InitiatorDatamover;
  raw: RawIser;
  events: RecordedInitiatorEvents;
  settle: () => Promise<void>;
}

async function initiator(helloRequired: boolean): Promise<InitiatorScene> {
  const events = new RecordedInitiatorEvents();
  let raw!: RawIser;
  let datamover!: InitiatorDatamover;
  const wire = await RdmaWire.connect(
    1,
    async (connection, { active }) => {
      datamover = await connectIser(connection, new RegisteredMemory(active, 1 << 20), events);
    },
    (request) => {
      raw = new RawIser(request);
      void request.accept({ privateData: MAY_NOT_INVALIDATE });
    },
  );
  datamover.enableDatamover({ ...PARAMETERS, helloRequired }, new InitiatorTaskMap());
  datamover.flush();
  await wire.settle();
  return { datamover, raw, events, settle: () => wire.settle() };
}

function ping(raw: RawIser): void {
  raw.sendPdu(commandHeader(1, Opcode.NOP_OUT));
}

describe("Hello and Riser's target", () => {
  it('answers with the lesser of both depths, and goes on', async () => {
    for (const [depth, expected] of [
      [3, 3],
      [128, 128],
      [65535, 128],
    ] as const) {
      const { raw, events, settle } = await target(true);
      raw.send(hello(First.HELLO, 10, 10, depth));
      ping(raw);
      await settle();
      assert.deepEqual(raw.messages[0]!.bytes, hello(First.HELLO_REPLY, 10, 10, expected));
      assert.deepEqual([events.controls.length, events.ends.length], [1, 0]);
    }
  });

  it('takes any range of versions with 10 in it', async () => {
    for (const [max, min] of [
      [15, 0],
      [10, 9],
      [11, 10],
    ] as const) {
      const { raw, events, settle } = await target(true);
      raw.send(hello(First.HELLO, max, min, 1));
      await settle();
      assert.equal(raw.messages[0]!.bytes[0], First.HELLO_REPLY);
      assert.deepEqual(events.ends, []);
    }
  });

  it('rejects versions without 10, then ends', async () => {
    for (const [max, min] of [
      [9, 0],
      [15, 11],
      [0, 15],
    ] as const) {
      const { raw, events, settle } = await target(true);
      raw.send(hello(First.HELLO, max, min, 1));
      await settle();
      assert.deepEqual(raw.messages[0]!.bytes, hello(First.HELLO_REPLY | First.REJECT, 10, 10, 0));
      assert.equal(events.ends.length, 1);
      assert.notEqual(raw.ended, undefined);
    }
  });

  it('rejects an initiator that serves reads when it cannot read itself', async () => {
    const { raw, events, settle } = await target(true, { responderResources: 0 });
    raw.send(hello(First.HELLO, 10, 10, 4));
    await settle();
    assert.deepEqual(raw.messages[0]!.bytes, hello(First.HELLO_REPLY | First.REJECT, 10, 10, 0));
    assert.equal(events.ends.length, 1);
  });

  it('does nothing of what comes behind a Hello that it rejects', async () => {
    const { raw, events, settle } = await target(true);
    raw.send(hello(First.HELLO, 9, 9, 1));
    ping(raw);
    await settle();
    assert.deepEqual([events.controls.length, events.ends.length], [0, 1]);
  });

  const wrong: [string, boolean, (raw: RawIser) => void][] = [
    ['a Hello that was not agreed on', false, (raw) => raw.send(hello(First.HELLO, 10, 10, 4))],
    ['a HelloReply that was not agreed on', false, (raw) => raw.send(hello(First.HELLO_REPLY, 10, 10, 4))],
    ['a PDU instead of its Hello', true, ping],
    ['a HelloReply instead of a Hello', true, (raw) => raw.send(hello(First.HELLO_REPLY, 10, 10, 4))],
    ['a Hello that is too short', true, (raw) => raw.send(hello(First.HELLO, 10, 10, 4).subarray(0, 27))],
    ['a Hello of one byte', true, (raw) => raw.send(Buffer.of(0x20))],
    [
      'a Hello that is too long',
      true,
      (raw) => raw.send(Buffer.concat([hello(First.HELLO, 10, 10, 4), Buffer.alloc(1)])),
    ],
    [
      'a Hello with a PDU behind it in one message',
      true,
      (raw) => raw.sendPdu(commandHeader(1, Opcode.NOP_OUT), Buffer.alloc(0), hello(First.HELLO, 10, 10, 4)),
    ],
  ];
  for (const [what, helloRequired, act] of wrong) {
    it(`ends the connection upon ${what}`, async () => {
      const { raw, events, settle } = await target(helloRequired);
      act(raw);
      ping(raw);
      await settle();
      assert.match(String(events.ends[0]), /RiserError: the peer sent/);
      assert.deepEqual([events.controls.length, events.ends.length], [0, 1]);
      assert.notEqual(raw.ended, undefined);
      assert.equal(raw.messages.length, 0);
    });
  }

  it('ends the connection upon a second Hello', async () => {
    const { raw, events, settle } = await target(true);
    raw.send(hello(First.HELLO, 10, 10, 4));
    raw.send(hello(First.HELLO, 10, 10, 4));
    await settle();
    assert.match(String(events.ends[0]), /a Hello that was not agreed on/);
  });

  /** Tasks that write, all asked for at once. */
  function write(scene: TargetScene, tasks: number): void {
    for (let tag = 1; tag <= tasks; tag++) {
      const memory = new Memory(Buffer.alloc(1000, tag));
      const advertised = scene.raw.grant(memory, 'read');
      const header = commandHeader(tag);
      scene.raw.sendPdu(header, Buffer.alloc(0), controlHeader({ write: advertised }));
    }
  }

  it('has no more reads under way than the Hello declared', async () => {
    const scene = await target(true, { responderResources: 16 });
    const { datamover, registered, raw, events, settle } = scene;
    raw.send(hello(First.HELLO, 10, 10, 2));
    write(scene, 10);
    await settle();
    const transfers = events.controls.map(({ header }) => {
      const transfer = events.transfer(Bhs.initiatorTaskTag.get(header), Memory.allocate(1000));
      transfer.solicitEnd = 1000;
      datamover.getData(transfer);
      return transfer;
    });
    assert.equal(registered.regions, 2, 'buffers of reads that are under way');
    datamover.flush();
    await settle();
    assert.equal(events.completed.length, 10);
    for (const { buffer, initiatorTaskTag } of transfers)
      assert.ok(buffer.toBuffer().equals(Buffer.alloc(1000, initiatorTaskTag)));
    assert.deepEqual(events.ends, []);
  });

  it('does not read from an initiator that declared 0', async () => {
    const scene = await target(true, { responderResources: 16 });
    const { datamover, raw, events, settle } = scene;
    raw.send(hello(First.HELLO, 10, 10, 0));
    write(scene, 1);
    await settle();
    assert.deepEqual(raw.messages[0]!.bytes, hello(First.HELLO_REPLY, 10, 10, 0));
    const transfer = events.transfer(1, Memory.allocate(1000));
    transfer.solicitEnd = 1000;
    datamover.getData(transfer);
    await settle();
    assert.match(String(events.ends[0]), /an IRD of 0/);
    assert.deepEqual(events.completed, []);
  });
});

describe("Hello and Riser's initiator", () => {
  it('begins with a Hello, and goes on upon the reply', async () => {
    const { raw, events, settle } = await initiator(true);
    assert.deepEqual(
      raw.messages.map(({ bytes }) => bytes),
      [hello(First.HELLO, 10, 10, 128)],
    );
    raw.send(hello(First.HELLO_REPLY, 10, 10, 4));
    raw.sendPdu(commandHeader(0xffff_ffff, Opcode.NOP_IN));
    await settle();
    assert.deepEqual([events.controls.length, events.ends.length], [1, 0]);
  });

  it('sends none that was not agreed on', async () => {
    const { raw } = await initiator(false);
    assert.equal(raw.messages.length, 0);
  });

  const wrong: [string, boolean, Buffer][] = [
    ['a rejection', true, hello(First.HELLO_REPLY | First.REJECT, 10, 10, 4)],
    ['another version', true, hello(First.HELLO_REPLY, 10, 9, 4)],
    ['a Hello', true, hello(First.HELLO, 10, 10, 4)],
    [
      'a HelloReply that is too long',
      true,
      Buffer.concat([hello(First.HELLO_REPLY, 10, 10, 4), Buffer.alloc(4)]),
    ],
    [
      'a PDU instead of a HelloReply',
      true,
      Buffer.concat([controlHeader(), commandHeader(1, Opcode.NOP_IN)]),
    ],
    ['a HelloReply that was not agreed on', false, hello(First.HELLO_REPLY, 10, 10, 4)],
    ['a Hello that was not agreed on', false, hello(First.HELLO, 10, 10, 4)],
  ];
  for (const [what, helloRequired, message] of wrong) {
    it(`ends the connection upon ${what}`, async () => {
      const { raw, events, settle } = await initiator(helloRequired);
      raw.send(message);
      raw.sendPdu(commandHeader(0xffff_ffff, Opcode.NOP_IN));
      await settle();
      assert.match(String(events.ends[0]), /RiserError: the peer sent/);
      assert.deepEqual([events.controls.length, events.ends.length], [0, 1]);
    });
  }
});
