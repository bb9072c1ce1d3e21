import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ScsiResponse, TaskManagementRequest } from '../wire/headers.js';
import { IMMEDIATE, Opcode, RejectReason, RESERVED_TAG } from '../wire/opcodes.js';
import { Keepalive } from './keepalive.js';
import { startFullFeature } from './testing/fakes.js';

function rejectReason(header: Buffer | undefined): number | null {
  return header?.[0] === Opcode.REJECT ? header[2]! : null;
}

describe('CmdSN window (RFC 7143 4.2.2.1)', () => {
  it('advances ExpCmdSN, and MaxCmdSN only as commands end', () => {
    const { phase, host, arrive } = startFullFeature();
    assert.deepEqual([phase.responses.expectedCmdSN(), phase.responses.maxCmdSN()], [10, 17]);
    arrive({ opcode: Opcode.SCSI_COMMAND, tag: 1, cmdSN: 10 });
    arrive({ opcode: Opcode.SCSI_COMMAND, tag: 2, cmdSN: 11 });
    assert.deepEqual([phase.responses.expectedCmdSN(), phase.responses.maxCmdSN()], [12, 17]);
    host.commands[0]!.good();
    assert.deepEqual([phase.responses.expectedCmdSN(), phase.responses.maxCmdSN()], [12, 18]);
  });

  it('ignores what is outside of the window, above and below', () => {
    const { phase, host, datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.SCSI_COMMAND, cmdSN: 18 });
    arrive({ opcode: Opcode.SCSI_COMMAND, cmdSN: 9 });
    assert.equal(host.commands.length, 0);
    assert.equal(datamover.sent.length, 0);
    assert.equal(phase.responses.expectedCmdSN(), 10);
  });

  it('takes no more commands than the window holds', () => {
    const { host, arrive } = startFullFeature();
    for (let i = 0; i < 12; i++) arrive({ opcode: Opcode.SCSI_COMMAND, tag: i, cmdSN: 10 + i });
    assert.equal(host.commands.length, 8);
  });

  it('ends the connection when a CmdSN is skipped', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.SCSI_COMMAND, cmdSN: 11 });
    assert.match(String(datamover.error?.message), /skipped CmdSN 10/);
  });

  it('takes immediate commands without a turn, but not without end', () => {
    const { phase, host, datamover, arrive } = startFullFeature();
    for (let i = 0; i < 20; i++) arrive({ opcode: Opcode.SCSI_COMMAND | IMMEDIATE, tag: i, cmdSN: 10 });
    assert.equal(host.commands.length, 16);
    assert.equal(rejectReason(datamover.sent[0]?.header), RejectReason.IMMEDIATE_COMMAND_REJECT);
    assert.deepEqual([phase.responses.expectedCmdSN(), phase.responses.maxCmdSN()], [10, 17]);
  });

  it('is told to an initiator that has used it up, when commands have ended without a response (RFC 7143 11.4.11)', () => {
    const { phase, host, datamover, arrive } = startFullFeature();
    for (let i = 0; i < 8; i++) arrive({ opcode: Opcode.SCSI_COMMAND, tag: i, cmdSN: 10 + i });
    phase.tick();
    assert.equal(datamover.sent.length, 0, 'it is closed indeed');
    host.commands[0]!.end();
    host.commands[1]!.end();
    phase.tick();
    phase.tick();
    assert.equal(datamover.sent.length, 1, 'once');
    const { header } = datamover.sent[0]!;
    assert.equal(header[0], Opcode.NOP_IN);
    assert.deepEqual([ScsiResponse.expCmdSN.get(header), ScsiResponse.maxCmdSN.get(header)], [18, 19]);
    host.commands[2]!.good();
    phase.tick();
    assert.equal(datamover.sent.length, 2, 'a response tells it as well');
  });

  it('says nothing while it is open for all that the initiator knows', () => {
    const { phase, host, datamover, arrive } = startFullFeature();
    for (let i = 0; i < 7; i++) arrive({ opcode: Opcode.SCSI_COMMAND, tag: i, cmdSN: 10 + i });
    for (const command of host.commands) command.end();
    phase.tick();
    assert.equal(datamover.sent.length, 0);
  });

  it('uses a command again when it has ended', () => {
    const { host, arrive } = startFullFeature();
    host.onBegin = (command) => {
      command.good();
    };
    for (let i = 0; i < 100; i++) arrive({ opcode: Opcode.SCSI_COMMAND, tag: i, cmdSN: 10 + i });
    assert.equal(host.commands.length, 1);
  });

  it('goes on past 2^32', () => {
    const { phase, arrive } = startFullFeature();
    phase.commands.expCmdSN = 0xffffffff;
    arrive({ opcode: Opcode.NOP_OUT, cmdSN: 0xffffffff });
    assert.equal(phase.responses.expectedCmdSN(), 0);
    assert.equal(phase.responses.maxCmdSN(), 7);
  });
});

describe('what an initiator over RDMA does not expect (RFC 7145 8.1.2)', () => {
  /** Data-Out that answers no R2T there is: a Reject follows. */
  const wrong = { opcode: Opcode.DATA_OUT, tag: 1, words: { 20: 5 } };

  it('is sent as long as there is room, but for one ping', () => {
    const { phase, datamover, arrive } = startFullFeature({ initiatorMaxOutstandingUnexpectedPDUs: 3 });
    arrive({ opcode: Opcode.SCSI_COMMAND, tag: 1, cmdSN: 10 });
    for (let i = 0; i < 4; i++) arrive(wrong);
    phase.responses.announceEnd();
    assert.equal(datamover.sent.length, 2);
    phase.responses.ping();
    assert.equal(datamover.sent.at(-1)?.header[0], Opcode.NOP_IN);
    // Its answer tells that one was taken.
    arrive({ opcode: Opcode.NOP_OUT | IMMEDIATE, tag: RESERVED_TAG, cmdSN: 11, words: { 28: 21 } });
    arrive({ ...wrong, words: { 20: 5, 28: 21 } });
    arrive({ ...wrong, words: { 20: 5, 28: 21 } });
    assert.equal(datamover.sent.length, 4);
    arrive({ opcode: Opcode.NOP_OUT | IMMEDIATE, tag: RESERVED_TAG, cmdSN: 11, words: { 28: 23 } });
    phase.responses.announceEnd();
    assert.equal(datamover.sent.at(-1)?.header[0], Opcode.ASYNC_MESSAGE);
  });

  it('is not the answer to a request', () => {
    const { datamover, arrive } = startFullFeature({ initiatorMaxOutstandingUnexpectedPDUs: 2 });
    for (let i = 0; i < 5; i++) arrive({ opcode: 0x1f, tag: i, cmdSN: 10 + i });
    assert.equal(datamover.sent.length, 5);
  });
});

describe('requests', () => {
  it('rejects a second task under a tag that is in use', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.SCSI_COMMAND, tag: 7, cmdSN: 10 });
    arrive({ opcode: Opcode.SCSI_COMMAND, tag: 7, cmdSN: 11 });
    assert.equal(rejectReason(datamover.sent[0]?.header), RejectReason.TASK_IN_PROGRESS);
  });

  it('returns the whole header of what it rejects, with a StatSN of its own', () => {
    const { datamover, arrive, phase } = startFullFeature();
    arrive({ opcode: 0x1f, tag: 9, cmdSN: 10 });
    const [sent] = datamover.sent;
    assert.equal(rejectReason(sent?.header), RejectReason.COMMAND_NOT_SUPPORTED);
    assert.equal(sent?.data.length, 48);
    assert.equal(sent.data[0], 0x1f);
    assert.equal(ScsiResponse.statSN.get(sent.header), 20);
    assert.equal(phase.responses.peekStatSN(), 21);
  });

  it('rejects a PDU with a wrong data digest and does not count its CmdSN', () => {
    const { datamover, arrive, phase } = startFullFeature();
    arrive({ opcode: Opcode.NOP_OUT, cmdSN: 10, data: Buffer.from('ping'), dataDigestFailed: true });
    assert.equal(rejectReason(datamover.sent[0]?.header), RejectReason.DATA_DIGEST_ERROR);
    assert.equal(phase.responses.expectedCmdSN(), 10);
  });

  it('has only text and logout in a discovery session', () => {
    const { datamover, arrive, host } = startFullFeature({}, true);
    arrive({ opcode: Opcode.SCSI_COMMAND, cmdSN: 10 });
    arrive({ opcode: Opcode.TASK_MANAGEMENT_REQUEST, cmdSN: 11 });
    arrive({ opcode: Opcode.NOP_OUT, tag: 4, cmdSN: 12 });
    arrive({ opcode: Opcode.NOP_OUT | IMMEDIATE, tag: 5, cmdSN: 13 });
    assert.deepEqual(
      datamover.sent.map(({ header }) => rejectReason(header)),
      new Array(4).fill(RejectReason.PROTOCOL_ERROR),
    );
    assert.equal(host.commands.length, 0);
  });

  it('takes the answer to its own ping in a discovery session', () => {
    const { phase, datamover, arrive } = startFullFeature({}, true);
    phase.responses.ping();
    arrive({ opcode: Opcode.NOP_OUT | IMMEDIATE, tag: RESERVED_TAG, cmdSN: 10 });
    assert.deepEqual(
      datamover.sent.map(({ header }) => header[0]),
      [Opcode.NOP_IN],
    );
    assert.equal(datamover.error, null);
  });

  it('echoes a NOP-Out that has a tag, and only that', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.NOP_OUT, tag: 4, cmdSN: 10, data: Buffer.from('ping') });
    arrive({ opcode: Opcode.NOP_OUT | IMMEDIATE, tag: RESERVED_TAG, cmdSN: 11 });
    assert.equal(datamover.sent.length, 1);
    assert.equal(datamover.sent[0]?.header[0], Opcode.NOP_IN);
    assert.equal(datamover.sent[0].data.toString(), 'ping');
  });

  it('closes the session after a logout, once it has answered', () => {
    const { datamover, arrive, phase, host } = startFullFeature();
    arrive({ opcode: Opcode.LOGOUT_REQUEST, flags: 0x80, cmdSN: 10 });
    assert.equal(datamover.sent[0]?.header[0], Opcode.LOGOUT_RESPONSE);
    assert.equal(datamover.sent[0].header[2], 0);
    assert.ok(datamover.isTerminated && phase.hasLoggedOut);
    assert.equal(host.logouts, 1);
  });

  it('knows only its own connection at logout', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.LOGOUT_REQUEST, flags: 0x81, cmdSN: 10, words: { 20: 9 << 16 } });
    assert.equal(datamover.sent[0]?.header[2], 1);
    arrive({ opcode: Opcode.LOGOUT_REQUEST, flags: 0x81, cmdSN: 11, words: { 20: 3 << 16 } });
    assert.equal(datamover.sent[1]?.header[2], 0);
  });

  it('ends the connection upon a Login Request', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.LOGIN_REQUEST | IMMEDIATE, cmdSN: 10 });
    assert.match(String(datamover.error?.message), /Login Request after login/);
  });
});

describe('task management', () => {
  const ABORT_TASK = 0x81;
  const referenced = TaskManagementRequest.referencedTaskTag.offset;
  const refCmdSN = TaskManagementRequest.refCmdSN.offset;

  it('finds the task that is to be aborted', () => {
    const { host, datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.SCSI_COMMAND, tag: 7, cmdSN: 10 });
    arrive({
      opcode: Opcode.TASK_MANAGEMENT_REQUEST | IMMEDIATE,
      flags: ABORT_TASK,
      tag: 8,
      cmdSN: 11,
      words: { [referenced]: 7 },
    });
    assert.equal(host.calls[0]?.referenced, host.commands[0]);
    host.calls[0]!.respond(0);
    assert.equal(datamover.sent[0]?.header[0], Opcode.TASK_MANAGEMENT_RESPONSE);
  });

  it('answers for a task that has ended, and for one that never came', () => {
    const { datamover, arrive } = startFullFeature();
    const abort = (refSN: number): void => {
      arrive({
        opcode: Opcode.TASK_MANAGEMENT_REQUEST | IMMEDIATE,
        flags: ABORT_TASK,
        tag: 8,
        cmdSN: 10,
        words: { [referenced]: 99, [refCmdSN]: refSN },
      });
    };
    abort(9);
    abort(10);
    assert.deepEqual(
      datamover.sent.map(({ header }) => header[2]),
      [1, 0],
    );
  });

  it('does not reassign tasks', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.TASK_MANAGEMENT_REQUEST | IMMEDIATE, flags: 0x88, cmdSN: 10 });
    assert.equal(datamover.sent[0]?.header[2], 4);
  });
});

describe('Keepalive', () => {
  const limits = { keepaliveIntervalMs: 100, keepaliveTimeoutMs: 50 };

  it('asks a silent initiator, and ends the session of a dead one', () => {
    const { phase, datamover } = startFullFeature();
    const keepalive = new Keepalive(phase, limits, 0);
    keepalive.tick(99);
    assert.equal(datamover.sent.length, 0);
    keepalive.tick(100);
    const [ping] = datamover.sent;
    assert.equal(ping?.header[0], Opcode.NOP_IN);
    assert.equal(ping.header.readUInt32BE(16), RESERVED_TAG);
    assert.notEqual(ping.header.readUInt32BE(20), RESERVED_TAG);
    assert.equal(phase.responses.peekStatSN(), 20, 'a ping takes no StatSN');
    keepalive.tick(149);
    assert.ok(!datamover.isTerminated);
    keepalive.tick(150);
    assert.match(String(datamover.error?.message), /silent/);
  });

  it('leaves alone whoever gives a sign of life', () => {
    const { phase, datamover, arrive } = startFullFeature();
    const keepalive = new Keepalive(phase, limits, 0);
    keepalive.tick(100);
    arrive({ opcode: Opcode.NOP_OUT | IMMEDIATE, tag: RESERVED_TAG, cmdSN: 10 });
    keepalive.tick(150);
    keepalive.tick(249);
    assert.equal(datamover.error, null);
    assert.equal(datamover.sent.length, 1);
  });
});

describe('text', () => {
  it('sends a long answer in parts, one for each request', () => {
    const { datamover, arrive, host } = startFullFeature({ initiatorMaxRecvDataSegmentLength: 512 }, true);
    host.pairs = Array.from({ length: 40 }, (_, i) => ({
      key: 'TargetName',
      value: `iqn.2026-11.dev.riser:${i}`,
    }));
    arrive({
      opcode: Opcode.TEXT_REQUEST,
      tag: 3,
      cmdSN: 10,
      words: { 20: RESERVED_TAG },
      data: Buffer.from('SendTargets=All\0'),
    });
    for (let i = 1; ; i++) {
      assert.ok(i < 10, 'the answer comes to an end');
      const { header } = datamover.sent.at(-1)!;
      if ((header[1]! & 0x80) !== 0) break;
      assert.ok((header[1]! & 0x40) !== 0);
      arrive({ opcode: Opcode.TEXT_REQUEST, tag: 3, cmdSN: 10 + i, words: { 20: header.readUInt32BE(20) } });
    }
    assert.ok(datamover.sent.length > 2);
    const text = Buffer.concat(datamover.sent.map(({ data }) => data)).toString();
    assert.deepEqual(text, host.pairs.map(({ key, value }) => `${key}=${value}\0`).join(''));
    assert.deepEqual(host.asked, ['All']);
  });

  it('rejects a continuation that nobody asked for', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({ opcode: Opcode.TEXT_REQUEST, tag: 3, cmdSN: 10, words: { 20: 77 } });
    assert.equal(rejectReason(datamover.sent[0]?.header), RejectReason.INVALID_PDU_FIELD);
  });

  it('learns a new MaxRecvDataSegmentLength', () => {
    const { datamover, arrive } = startFullFeature();
    arrive({
      opcode: Opcode.TEXT_REQUEST,
      tag: 3,
      cmdSN: 10,
      words: { 20: RESERVED_TAG },
      data: Buffer.from('MaxRecvDataSegmentLength=4096\0'),
    });
    assert.equal(datamover.sent[0]?.header[0], Opcode.TEXT_RESPONSE);
    assert.equal(datamover.parameters?.maxSendDataSegmentLength, 4096);
  });
});
