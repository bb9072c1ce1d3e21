import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DataOut, ScsiCommand } from '../wire/headers.js';
import { CommandFlag, FINAL, Opcode, RESERVED_TAG } from '../wire/opcodes.js';
import { startFullFeature } from './testing/fakes.js';

const LENGTH = ScsiCommand.expectedDataTransferLength.offset;

/** A write of `length` bytes whose task asks for them at once, unless `later`. */
function write(
  length: number,
  options: {
    immediate?: Buffer;
    isFinal?: boolean;
    later?: boolean;
    initialR2T?: boolean;
    firstBurst?: number;
  } = {},
) {
  const session = startFullFeature({
    initialR2T: options.initialR2T ?? false,
    immediateData: true,
    firstBurstLength: options.firstBurst ?? 4096,
  });
  let isThere: boolean | null = null;
  session.host.onBegin = (command) => {
    if (options.later !== true) isThere = command.want(length);
  };
  session.arrive({
    opcode: Opcode.SCSI_COMMAND,
    flags: CommandFlag.WRITE | ((options.isFinal ?? true) ? FINAL : 0),
    tag: 5,
    cmdSN: 10,
    words: { [LENGTH]: length },
    data: options.immediate ?? Buffer.alloc(0),
  });
  const command = session.host.commands[0]!;
  const unsolicited = (offset: number, data: Buffer, isFinal: boolean, dataSN: number): void => {
    session.arrive({
      opcode: Opcode.DATA_OUT,
      flags: isFinal ? FINAL : 0,
      tag: 5,
      words: {
        [DataOut.targetTransferTag.offset]: RESERVED_TAG,
        [DataOut.dataSN.offset]: dataSN,
        [DataOut.bufferOffset.offset]: offset,
      },
      data,
    });
  };
  return { ...session, command, unsolicited, isThere: isThere as boolean | null };
}

describe('Command: Data-Out', () => {
  it('has immediate data there at once', () => {
    const { command, isThere, datamover } = write(4, { immediate: Buffer.from('abcd') });
    assert.equal(isThere, true);
    assert.equal(command.buffer.toBuffer().toString(), 'abcd');
    assert.equal(datamover.solicited.length, 0);
  });

  it('solicits what immediate data leaves', () => {
    const { command, isThere, datamover } = write(10, { immediate: Buffer.from('abcd') });
    assert.equal(isThere, false);
    assert.deepEqual(
      datamover.solicited.map(({ from, to }) => [from, to]),
      [[4, 10]],
    );
    command.dataCompleted();
    assert.deepEqual(command.told, ['begin', 'dataReceived']);
  });

  it('waits for unsolicited data, then solicits the rest', () => {
    const { command, unsolicited, datamover } = write(12, { immediate: Buffer.from('abcd'), isFinal: false });
    assert.equal(datamover.solicited.length, 0);
    unsolicited(4, Buffer.from('ef'), false, 0);
    unsolicited(6, Buffer.from('gh'), true, 1);
    assert.deepEqual(
      datamover.solicited.map(({ from, to }) => [from, to]),
      [[8, 12]],
    );
    assert.equal(command.buffer.toBuffer().toString('latin1', 0, 8), 'abcdefgh');
  });

  it('needs no R2T when all data comes by itself', () => {
    const { command, unsolicited, datamover } = write(8, { isFinal: false });
    unsolicited(0, Buffer.from('abcdefgh'), true, 0);
    assert.equal(datamover.solicited.length, 0);
    assert.deepEqual(command.told, ['begin', 'dataReceived']);
    assert.equal(command.buffer.toBuffer().toString(), 'abcdefgh');
  });

  it('keeps what comes before the task has its turn', () => {
    const { command, unsolicited } = write(8, {
      immediate: Buffer.from('abcd'),
      isFinal: false,
      later: true,
    });
    unsolicited(4, Buffer.from('efgh'), true, 0);
    assert.equal(command.want(8), true);
    assert.equal(command.buffer.toBuffer().toString(), 'abcdefgh');
  });

  it('keeps immediate data of a task that waits for its turn', () => {
    const { command } = write(4, { immediate: Buffer.from('abcd'), later: true });
    assert.equal(command.want(4), true);
    assert.equal(command.buffer.toBuffer().toString(), 'abcd');
  });

  it('takes no more of the data than the task wants', () => {
    const { command, unsolicited, datamover } = write(8, {
      immediate: Buffer.from('abcd'),
      isFinal: false,
      later: true,
    });
    assert.equal(command.want(2), false);
    unsolicited(4, Buffer.from('efgh'), true, 0);
    assert.equal(command.buffer.toBuffer().toString(), 'ab');
    assert.equal(datamover.solicited.length, 0);
    assert.deepEqual(command.told, ['begin', 'dataReceived']);
  });

  it('holds the response of a task that ended early until the unsolicited data has come', () => {
    const { command, unsolicited, datamover } = write(8, { isFinal: false, later: true });
    command.respond(2, 0, 8, Buffer.from([0x70]), 1);
    assert.equal(datamover.sent.length, 0);
    unsolicited(0, Buffer.from('abcd'), false, 0);
    assert.equal(datamover.sent.length, 0);
    unsolicited(4, Buffer.from('efgh'), true, 1);
    assert.equal(datamover.sent.length, 1);
    assert.deepEqual(command.told, ['begin', 'released']);
  });

  it('rejects unsolicited data out of sequence, and fails the task when the rest has come', () => {
    const { command, unsolicited, datamover } = write(8, { isFinal: false });
    unsolicited(4, Buffer.from('efgh'), true, 0);
    assert.equal(datamover.sent[0]?.header[0], Opcode.REJECT);
    assert.deepEqual(command.told, ['begin', 'dataFailed sequence']);
  });

  it('rejects unsolicited data beyond FirstBurstLength', () => {
    const { command, unsolicited, datamover } = write(1000, { isFinal: false, firstBurst: 512 });
    unsolicited(0, Buffer.alloc(516), true, 0);
    assert.equal(datamover.sent[0]?.header[0], Opcode.REJECT);
    assert.deepEqual(command.told, ['begin', 'dataFailed sequence']);
  });

  it('rejects Data-Out that answers no R2T', () => {
    const { command, arrive, datamover } = write(8);
    arrive({ opcode: Opcode.DATA_OUT, tag: 5, words: { 20: 77 }, data: Buffer.from('abcd') });
    assert.equal(datamover.sent[0]?.header[0], Opcode.REJECT);
    assert.deepEqual(command.told, ['begin']);
    arrive({ opcode: Opcode.DATA_OUT, tag: 6, words: { 20: 77 }, data: Buffer.from('abcd') });
    assert.equal(datamover.sent.length, 1, 'that of an aborted task comes in good faith');
  });

  it('refuses immediate data beyond FirstBurstLength', () => {
    const { command } = write(1000, { immediate: Buffer.alloc(516), firstBurst: 512 });
    assert.deepEqual(command.told, ['refuse unexpected']);
  });

  it('refuses unsolicited data where InitialR2T=Yes was agreed', () => {
    const { command } = write(1000, { isFinal: false, initialR2T: true });
    assert.deepEqual(command.told, ['refuse unexpected']);
  });

  it('abandons solicited data when it ends early', () => {
    const { command, datamover } = write(10);
    command.end();
    assert.deepEqual(datamover.abandoned, [command]);
    assert.deepEqual(command.told, ['begin', 'released']);
    assert.equal(datamover.sent.length, 0);
  });
});

describe('Command: response', () => {
  const cases: [string, number, number, number, number][] = [
    // what, expected length, transfer length, flags, residual
    ['none', 100, 100, 0, 0],
    ['underflow', 100, 30, 0x02, 70],
    ['overflow', 100, 130, 0x04, 30],
    ['overflow without any data expected', 0, 512, 0x04, 512],
  ];
  for (const [what, expected, transferLength, flags, residual] of cases) {
    it(`counts the residual: ${what}`, () => {
      const { arrive, host, datamover } = startFullFeature();
      host.onBegin = (command) => {
        command.good(transferLength);
      };
      arrive({
        opcode: Opcode.SCSI_COMMAND,
        flags: FINAL | CommandFlag.READ,
        cmdSN: 10,
        words: { [LENGTH]: expected },
      });
      const { header } = datamover.sent[0]!;
      assert.equal(header[1]! & 0x06, flags);
      assert.equal(header.readUInt32BE(44), residual);
    });
  }

  it('sends data with the status when there is data, and no more than is expected', () => {
    const { arrive, host, datamover } = startFullFeature();
    host.onBegin = (command) => {
      command.want(200);
      command.good(200, 200);
    };
    arrive({
      opcode: Opcode.SCSI_COMMAND,
      flags: FINAL | CommandFlag.READ,
      cmdSN: 10,
      words: { [LENGTH]: 100 },
    });
    assert.equal(datamover.sent.length, 0);
    const [sent] = datamover.data;
    assert.deepEqual([sent?.length, sent?.residualFlags, sent?.residual], [100, 0x04, 100]);
  });

  it('carries sense data behind its length', () => {
    const { arrive, host, datamover } = startFullFeature();
    host.onBegin = (command) => {
      command.respond(2, 0, 0, Buffer.from([0x70, 0, 5, 9]), 3);
    };
    arrive({ opcode: Opcode.SCSI_COMMAND, cmdSN: 10 });
    assert.deepEqual([...datamover.sent[0]!.data], [0, 3, 0x70, 0, 5]);
    assert.equal(datamover.sent[0]!.header[3], 2);
  });
});
