import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RiserError } from '../../util/errors.js';
import {
  Bhs,
  BHS_LENGTH,
  NopIn,
  NopOut,
  Reject,
  ScsiCommand,
  ScsiResponse,
  TaskManagementRequest,
} from '../wire/headers.js';
import {
  FINAL,
  Opcode,
  RejectReason,
  RESERVED_TAG,
  ResponseFlag,
  TaskManagementFunction,
  TaskManagementResponse,
} from '../wire/opcodes.js';
import { InitiatorTaskState } from './task.js';
import { FullFeatureUnderTest, RecordedTask, type ReceiveOptions } from './testing/fake-datamover.js';

const GIVEN_UP = new RiserError('ABORTED', 'given up', { by: 'local', costs: 'task' });

const cmdSNs = (test: FullFeatureUnderTest): number[] =>
  test.datamover
    .take()
    .filter(({ opcode }) => opcode === Opcode.SCSI_COMMAND)
    .map(({ header }) => ScsiCommand.cmdSN.get(header));

/** An answer to the last task management request. */
function answerAbort(test: FullFeatureUnderTest, response: number): void {
  const request = test.datamover.take().find(({ opcode }) => opcode === Opcode.TASK_MANAGEMENT_REQUEST)!;
  test.receive(Opcode.TASK_MANAGEMENT_RESPONSE, Bhs.initiatorTaskTag.get(request.header), {
    set: (header) => (header[2] = response),
  });
}

describe('the command window', () => {
  it('sends as many commands as MaxCmdSN allows, and the others in order when it grows', () => {
    const test = new FullFeatureUnderTest({ window: 2 });
    const tasks = test.submit(5);
    assert.deepEqual(cmdSNs(test), [1, 2]);
    assert.deepEqual(
      tasks.map((task) => [task.state, task.wasSent]),
      [
        [InitiatorTaskState.ACTIVE, true],
        [InitiatorTaskState.ACTIVE, true],
        [InitiatorTaskState.QUEUED, false],
        [InitiatorTaskState.QUEUED, false],
        [InitiatorTaskState.QUEUED, false],
      ],
    );
    test.expCmdSN = 3;
    test.maxCmdSN = 4;
    test.respond(tasks[0]!);
    assert.deepEqual(cmdSNs(test), [3, 4]);
    assert.deepEqual([tasks[2]!.cmdSN, tasks[3]!.cmdSN], [3, 4]);
  });

  it('lets nobody overtake a queue, even when there is room again', () => {
    const test = new FullFeatureUnderTest({ window: 1 });
    const [first, second] = test.submit(2);
    first!.onDone = () => {
      test.phase.submit(third);
    };
    const third = new RecordedTask();
    test.maxCmdSN = 3;
    test.respond(first!);
    assert.deepEqual([second!.cmdSN, third.cmdSN], [2, 3]);
  });

  it('is closed by a logout of the session: what waits is not sent any more, and was not (RFC 7143 11.14)', () => {
    const test = new FullFeatureUnderTest({ window: 1 });
    const [first, second] = test.submit(2);
    test.phase.control.logout(() => undefined);
    test.datamover.take();
    test.maxCmdSN = 8;
    test.respond(first!);
    assert.deepEqual(cmdSNs(test), []);
    test.phase.terminated(null);
    assert.deepEqual([second!.wasSent, second!.error?.code], [false, 'CONNECTION_LOST']);
  });

  it('goes on across the end of the numbers', () => {
    const test = new FullFeatureUnderTest({ cmdSN: 0xffff_fffe, window: 2 });
    const tasks = test.submit(4);
    assert.deepEqual(cmdSNs(test), [0xffff_fffe, 0xffff_ffff]);
    test.expCmdSN = 0;
    test.maxCmdSN = 1;
    test.respond(tasks[0]!);
    assert.deepEqual(cmdSNs(test), [0, 1]);
  });

  it('starts closed when the login says so', () => {
    const test = new FullFeatureUnderTest({ window: 0 });
    test.submit(1);
    assert.deepEqual(cmdSNs(test), []);
    test.maxCmdSN = 1;
    test.receive(Opcode.NOP_IN, RESERVED_TAG, {
      takesStatSN: false,
      set: (header) => NopIn.targetTransferTag.set(header, RESERVED_TAG),
    });
    assert.deepEqual(cmdSNs(test), [1]);
  });

  // RFC 7143 4.2.2.1
  for (const [what, expCmdSN, maxCmdSN] of [
    ['a MaxCmdSN below ExpCmdSN - 1', 9, 7],
    ['a MaxCmdSN that was there before', 1, 1],
    ['a MaxCmdSN behind that is far ahead', 0x9000_0001, 0x9000_0000],
  ] as const) {
    it(`ignores ${what}`, () => {
      const test = new FullFeatureUnderTest({ window: 2 });
      const tasks = test.submit(4);
      cmdSNs(test);
      test.phase.commandNumbersNotify(expCmdSN, maxCmdSN);
      assert.deepEqual(cmdSNs(test), []);
      test.phase.commandNumbersNotify(2, 3);
      assert.deepEqual(cmdSNs(test), [3]);
      assert.equal(tasks[3]!.state, InitiatorTaskState.QUEUED);
    });
  }

  it('queues what there are no tags for, however large the window', () => {
    const test = new FullFeatureUnderTest({ window: 0x7fff_0000 });
    const tasks = test.submit(65538);
    assert.equal(test.datamover.take().length, 65536);
    assert.equal(tasks[65537]!.state, InitiatorTaskState.QUEUED);
    test.respond(tasks[7]!);
    assert.equal(tasks[7]!.ends, 1);
    assert.equal(tasks[65536]!.state, InitiatorTaskState.ACTIVE);
    assert.equal(tasks[65537]!.state, InitiatorTaskState.QUEUED);
    assert.equal(test.phase.findTask(tasks[65536]!.initiatorTaskTag), tasks[65536]);
  });
});

describe('what goes with a write', () => {
  const parameters = { firstBurstLength: 2048, targetMaxRecvDataSegmentLength: 1024 };
  for (const [name, immediateData, initialR2T, immediate, unsolicited, isFinal] of [
    ['immediate and unsolicited data', true, false, 1024, 2048, false],
    ['immediate data alone', true, true, 1024, 1024, true],
    ['unsolicited data alone', false, false, 0, 2048, false],
    ['nothing', false, true, 0, 0, true],
  ] as const) {
    it(name, () => {
      const test = new FullFeatureUnderTest({ parameters: { ...parameters, immediateData, initialR2T } });
      const task = new RecordedTask('write', 5000);
      test.phase.submit(task);
      assert.deepEqual([task.immediateLength, task.unsolicitedLength], [immediate, unsolicited]);
      const [{ header } = { header: Buffer.alloc(0) }] = test.datamover.take();
      assert.equal(header[0], Opcode.SCSI_COMMAND, 'not immediate (RFC 7143 10.6)');
      assert.equal((Bhs.flags.get(header) & FINAL) !== 0, isFinal);
      assert.equal(ScsiCommand.expectedDataTransferLength.get(header), 5000);
    });
  }
});

describe('outcomes', () => {
  const read = (test: FullFeatureUnderTest, transferred: number): RecordedTask => {
    const task = new RecordedTask('read', 1000);
    test.phase.submit(task);
    task.transferred = transferred;
    return task;
  };

  it('count what was not transferred, whatever the target says of it', () => {
    for (const [transferred, flags, count, residual] of [
      [1000, 0, 0, 0],
      [0, 0, 0, 1000],
      [600, 0, 7, 400],
      [600, ResponseFlag.UNDERFLOW, 400, 400],
      [600, ResponseFlag.UNDERFLOW, 1, 400],
      [1000, ResponseFlag.UNDERFLOW, 10, 10],
      [1000, ResponseFlag.UNDERFLOW, 0xffff_ffff, 1000],
      [1000, ResponseFlag.OVERFLOW, 24, -24],
      [600, ResponseFlag.OVERFLOW, 24, 400],
    ] as const) {
      const test = new FullFeatureUnderTest();
      const task = read(test, transferred);
      test.respond(task, (header) => {
        header[1] = FINAL | flags;
        ScsiResponse.residualCount.set(header, count);
      });
      assert.equal(task.ends, 1);
      assert.equal(task.residual, residual, `${transferred} ${flags} ${count}`);
    }
  });

  it('keep no more sense data than the segment has, than it says, and than there is room', () => {
    for (const [claimed, there, kept] of [
      [18, 18, 18],
      [65535, 18, 18],
      [10, 18, 10],
      [0, 18, 0],
      [400, 400, 252],
    ] as const) {
      const test = new FullFeatureUnderTest();
      const task = read(test, 0);
      const data = Buffer.alloc(2 + there, 0x11);
      data.writeUInt16BE(claimed);
      test.respond(task, (header) => ScsiResponse.status.set(header, 2), data);
      assert.equal(task.status, 2);
      assert.equal(task.senseLength, kept);
      assert.ok(task.sense.subarray(0, kept).every((byte) => byte === 0x11));
    }
  });

  it('survive a data segment that is too short for a sense length', () => {
    const test = new FullFeatureUnderTest();
    const task = read(test, 0);
    test.respond(task, (header) => ScsiResponse.status.set(header, 2), Buffer.of(9));
    assert.deepEqual([task.ends, task.senseLength], [1, 0]);
  });

  it('are errors when the target could not carry the command out', () => {
    const test = new FullFeatureUnderTest();
    const task = read(test, 0);
    test.respond(task, (header) => ScsiResponse.response.set(header, 0x81));
    assert.equal(task.error?.code, 'TARGET_FAILURE');
  });

  it('wait until the buffer is not being sent any more', () => {
    const test = new FullFeatureUnderTest();
    const task = new RecordedTask('write', 100);
    test.phase.submit(task);
    task.queuedParts = 1;
    test.respond(task);
    assert.equal(task.ends, 0);
    assert.equal(test.phase.hasTasks, true);
    assert.equal(test.phase.findTask(task.initiatorTaskTag), null, 'nothing may come for it any more');
    task.queuedParts = 0;
    test.phase.buffersReleased(task);
    assert.equal(task.ends, 1);
    assert.equal(test.phase.hasTasks, false);
  });

  it('a second status for the same task meets nobody, even when its place is taken again', () => {
    const test = new FullFeatureUnderTest();
    const task = read(test, 0);
    const tag = task.initiatorTaskTag;
    test.respond(task);
    const [next] = test.submit(1);
    assert.notEqual(next!.initiatorTaskTag, tag);
    test.receive(Opcode.SCSI_RESPONSE, tag);
    assert.match(String(test.datamover.ended?.message), /response for no task/);
    assert.equal(task.ends, 1);
    assert.equal(next!.error?.code, 'CONNECTION_LOST');
  });
});

describe('giving a task up', () => {
  it('takes one that waits out of the queue, wherever it is', () => {
    for (const index of [0, 1, 2]) {
      const test = new FullFeatureUnderTest({ window: 0 });
      const tasks = test.submit(3);
      test.phase.abort(tasks[index]!, GIVEN_UP);
      assert.equal(tasks[index]!.error, GIVEN_UP);
      assert.equal(tasks[index]!.wasSent, false);
      test.maxCmdSN = 9;
      test.submit(1);
      test.receive(Opcode.NOP_IN, RESERVED_TAG, {
        takesStatSN: false,
        set: (header) => NopIn.targetTransferTag.set(header, RESERVED_TAG),
      });
      assert.deepEqual(cmdSNs(test), [1, 2, 3]);
      assert.deepEqual([tasks[index]!.ends, tasks[index]!.state], [1, InitiatorTaskState.IDLE]);
    }
  });

  it('asks the target to abort one that is active, and waits for its word', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    test.phase.abort(task!, GIVEN_UP);
    test.phase.abort(task!, GIVEN_UP);
    const requests = test.datamover.sent.filter(({ opcode }) => opcode === Opcode.TASK_MANAGEMENT_REQUEST);
    assert.equal(requests.length, 1);
    const { header } = requests[0]!;
    assert.equal(TaskManagementRequest.referencedTaskTag.get(header), task!.initiatorTaskTag);
    assert.equal(TaskManagementRequest.refCmdSN.get(header), task!.cmdSN);
    assert.equal(ScsiCommand.cmdSN.get(header), 2, 'the next CmdSN, without taking it');
    assert.equal(task!.ends, 0);
    answerAbort(test, TaskManagementResponse.FUNCTION_COMPLETE);
    assert.deepEqual([task!.ends, task!.error], [1, GIVEN_UP]);
    assert.equal(test.phase.hasTasks, false);
  });

  for (const [name, code] of Object.entries(TaskManagementFunction)) {
    const isOfUnit = ['ABORT_TASK_SET', 'CLEAR_TASK_SET', 'LOGICAL_UNIT_RESET'].includes(name);
    const isOfTarget = ['TARGET_WARM_RESET', 'TARGET_COLD_RESET'].includes(name);
    it(`${name} ends ${isOfUnit ? "the logical unit's" : isOfTarget ? 'all' : 'no'} tasks that the target had before it (RFC 7143 4.2.3.3)`, () => {
      const test = new FullFeatureUnderTest({ window: 4, parameters: { iSCSIProtocolLevel: 2 } });
      const [own, others, ended] = [new RecordedTask(), new RecordedTask(), new RecordedTask()];
      others.lunHigh = 5 << 16;
      for (const task of [own, others, ended]) test.phase.submit(task);
      const answers: unknown[] = [];
      test.phase.control.manageTasks({ function: code }, (answer) => answers.push(answer));
      const referenced = TaskManagementRequest.referencedTaskTag.get(test.datamover.sent.at(-1)!.header);
      assert.equal(referenced, RESERVED_TAG, 'RFC 7143 11.5.4: it is about no single task');
      // The same object again behind the request, and a task that the target does not have yet.
      ended.onDone = () => {
        ended.onDone = () => undefined;
        test.phase.submit(ended);
      };
      test.respond(ended);
      const [waiting] = test.submit(1);
      answerAbort(test, TaskManagementResponse.FUNCTION_COMPLETE);
      assert.equal(own.error?.code, isOfUnit || isOfTarget ? 'TASK_ABORTED' : undefined);
      assert.equal(others.error?.code, isOfTarget ? 'TASK_ABORTED' : undefined);
      assert.deepEqual([ended.ends, ended.state, waiting!.ends], [1, InitiatorTaskState.ACTIVE, 0]);
      assert.equal(answers.length, 1);
    });
  }

  it('functions about several tasks end none when the target refuses them', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    test.phase.control.manageTasks({ function: TaskManagementFunction.LOGICAL_UNIT_RESET }, () => undefined);
    answerAbort(test, TaskManagementResponse.NOT_SUPPORTED);
    assert.equal(task!.ends, 0);
    test.respond(task!);
    assert.deepEqual([task!.ends, task!.error], [1, null]);
  });

  it('takes the status of one that the target answers first', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    test.phase.abort(task!, GIVEN_UP);
    test.respond(task!);
    assert.deepEqual([task!.ends, task!.error], [1, null]);
    answerAbort(test, TaskManagementResponse.TASK_DOES_NOT_EXIST);
    assert.equal(task!.ends, 1);
  });

  it('leaves the next command alone that uses the same object', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    test.phase.abort(task!, GIVEN_UP);
    task!.onDone = () => {
      task!.onDone = () => undefined;
      test.phase.submit(task!);
    };
    test.respond(task!);
    answerAbort(test, TaskManagementResponse.TASK_DOES_NOT_EXIST);
    assert.equal(task!.ends, 1);
    assert.equal(task!.state, InitiatorTaskState.ACTIVE);
    assert.equal(task!.abortError, null);
    test.respond(task!);
    assert.deepEqual([task!.ends, task!.error], [2, null]);
  });

  it('is not undone by the end of the connection', () => {
    const test = new FullFeatureUnderTest();
    const [task, other] = test.submit(2);
    test.phase.abort(task!, GIVEN_UP);
    test.phase.terminated(null);
    assert.deepEqual([task!.ends, task!.error], [1, GIVEN_UP]);
    assert.equal(other!.error?.code, 'CONNECTION_LOST');
  });

  it('that the target refuses leaves the task until its time is over, and then ends the connection', () => {
    for (const refusal of [TaskManagementResponse.NOT_SUPPORTED, TaskManagementResponse.FUNCTION_REJECTED]) {
      const test = new FullFeatureUnderTest();
      const [task] = test.submit(1);
      task!.deadline = 1000;
      test.phase.abort(task!, GIVEN_UP);
      answerAbort(test, refusal);
      test.phase.tick(999);
      assert.equal(task!.ends, 0);
      assert.equal(test.datamover.sent.length, 0);
      test.phase.tick(1000);
      assert.ok(test.datamover.ended instanceof RiserError);
      assert.deepEqual([task!.ends, task!.error], [1, GIVEN_UP]);
    }
  });

  it('that the target rejects is one that it refuses', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    task!.deadline = 10;
    test.phase.tick(10);
    const abort = test.datamover.take().at(-1)!;
    test.receive(Opcode.REJECT, RESERVED_TAG, {
      set: (header) => Reject.reason.set(header, RejectReason.COMMAND_NOT_SUPPORTED),
      data: abort.header,
    });
    assert.equal(task!.ends, 0);
    test.phase.tick(500);
    assert.deepEqual([task!.ends, task!.error?.code], [1, 'TASK_TIMEOUT']);
  });
});

describe('deadlines', () => {
  it('end what waits for the window at once', () => {
    const test = new FullFeatureUnderTest({ window: 0 });
    const tasks = test.submit(3);
    tasks[0]!.deadline = 10;
    tasks[2]!.deadline = 10;
    test.phase.tick(9);
    assert.deepEqual(
      tasks.map(({ ends }) => ends),
      [0, 0, 0],
    );
    test.phase.tick(10);
    assert.deepEqual(
      tasks.map(({ ends }) => ends),
      [1, 0, 1],
    );
    assert.equal(tasks[0]!.error?.code, 'TASK_TIMEOUT');
  });

  it('end what is active by an ABORT TASK, once', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    task!.deadline = 10;
    for (const now of [10, 11, 12]) test.phase.tick(now);
    assert.equal(
      test.datamover.sent.filter(({ opcode }) => opcode === Opcode.TASK_MANAGEMENT_REQUEST).length,
      1,
    );
    answerAbort(test, TaskManagementResponse.FUNCTION_COMPLETE);
    assert.equal(task!.error?.code, 'TASK_TIMEOUT');
  });

  it('end the connection when a target has answered but does not take the data', () => {
    const test = new FullFeatureUnderTest();
    const task = new RecordedTask('write', 100);
    task.deadline = 10;
    test.phase.submit(task);
    task.queuedParts = 1;
    test.respond(task);
    test.phase.tick(9);
    assert.ok(!test.datamover.hasEnded);
    test.phase.tick(10);
    assert.ok(test.datamover.ended instanceof RiserError);
    assert.deepEqual([task.ends, task.error, task.status], [1, null, 0]);
  });
});

describe('Reject', () => {
  const rejected = (what: Buffer, reason: number): ReceiveOptions => ({
    set: (header) => Reject.reason.set(header, reason),
    data: what,
  });

  for (const [name, reason] of Object.entries(RejectReason)) {
    if (reason === RejectReason.DATA_DIGEST_ERROR) continue;
    it(`${name} of a command ends that command`, () => {
      const test = new FullFeatureUnderTest();
      const [task, other] = test.submit(2);
      test.receive(Opcode.REJECT, RESERVED_TAG, rejected(test.datamover.sent[0]!.header, reason));
      assert.deepEqual([task!.ends, task!.error?.code], [1, 'REJECTED']);
      assert.equal(other!.ends, 0);
      assert.equal(test.remarks.length, 1);
      assert.ok(!test.datamover.hasEnded);
    });
  }

  it('of damaged data ends the connection, for its CmdSN is missing', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    test.receive(
      Opcode.REJECT,
      RESERVED_TAG,
      rejected(test.datamover.sent[0]!.header, RejectReason.DATA_DIGEST_ERROR),
    );
    assert.equal(task!.error?.code, 'CONNECTION_LOST');
  });

  it('of a request ends that request', () => {
    const test = new FullFeatureUnderTest();
    const answers: unknown[] = [];
    test.phase.control.ping(Buffer.from('hello'), (answer) => answers.push(answer));
    test.receive(Opcode.REJECT, RESERVED_TAG, rejected(test.datamover.sent[0]!.header, 9));
    assert.equal((answers[0] as RiserError).code, 'REJECTED');
  });

  it('of Data-Out leaves the task to its status', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    const dataOut = Buffer.from(test.datamover.sent[0]!.header);
    dataOut[0] = Opcode.DATA_OUT;
    test.receive(Opcode.REJECT, RESERVED_TAG, rejected(dataOut, RejectReason.PROTOCOL_ERROR));
    assert.equal(task!.ends, 0);
    test.respond(task!);
    assert.equal(task!.ends, 1);
  });

  it('of nothing that is known, or of less than a header, harms nobody', () => {
    const test = new FullFeatureUnderTest();
    const [task] = test.submit(1);
    const unknown = Buffer.alloc(BHS_LENGTH, 0xff);
    for (const what of [Buffer.alloc(0), Buffer.alloc(BHS_LENGTH - 1), unknown])
      test.receive(Opcode.REJECT, RESERVED_TAG, rejected(what, RejectReason.PROTOCOL_ERROR));
    assert.equal(task!.ends, 0);
    assert.ok(!test.datamover.hasEnded);
  });
});

describe('violations', () => {
  const ends: [string, RegExp, (test: FullFeatureUnderTest) => void][] = [
    [
      'a StatSN ahead',
      /StatSN 105 instead of 100/,
      (test) => {
        test.statSN += 5;
        test.receive(Opcode.NOP_IN, RESERVED_TAG - 1);
      },
    ],
    [
      'a StatSN behind',
      /StatSN 99 instead of 100/,
      (test) => {
        test.statSN--;
        test.receive(Opcode.ASYNC_MESSAGE, RESERVED_TAG);
      },
    ],
    [
      'an opcode of initiators',
      /no target sends/,
      (test) => {
        test.receive(Opcode.SCSI_COMMAND, 1);
      },
    ],
    [
      'an opcode that nobody has',
      /no target sends/,
      (test) => {
        test.receive(0x3e as Opcode, 1);
      },
    ],
    [
      'a login response',
      /no target sends/,
      (test) => {
        test.receive(Opcode.LOGIN_RESPONSE, 1);
      },
    ],
    [
      'an answer to no request',
      /answer to no request/,
      (test) => {
        test.receive(Opcode.TEXT_RESPONSE, 0x8000_0001);
      },
    ],
    [
      'an answer of another kind',
      /answer to no request/,
      (test) => {
        test.phase.control.ping(Buffer.alloc(0), () => undefined);
        const [ping] = test.datamover.take();
        test.receive(Opcode.LOGOUT_RESPONSE, Bhs.initiatorTaskTag.get(ping!.header));
      },
    ],
    [
      'a response with the tag of a request',
      /response for no task/,
      (test) => {
        test.phase.control.ping(Buffer.alloc(0), () => undefined);
        const [ping] = test.datamover.take();
        test.receive(Opcode.SCSI_RESPONSE, Bhs.initiatorTaskTag.get(ping!.header));
      },
    ],
  ];
  for (const [what, message, act] of ends) {
    it(`${what} costs the connection, and every task is told`, () => {
      const test = new FullFeatureUnderTest({ window: 1 });
      const tasks = test.submit(2);
      test.datamover.take();
      act(test);
      assert.match(String(test.datamover.ended?.message), message);
      for (const task of tasks) assert.deepEqual([task.ends, task.error?.code], [1, 'CONNECTION_LOST']);
      assert.deepEqual(
        tasks.map(({ wasSent }) => wasSent),
        [true, false],
      );
      const late = new RecordedTask();
      test.phase.submit(late);
      assert.equal(late.error?.code, 'CONNECTION_LOST');
    });
  }
});

describe('what comes unasked', () => {
  it('pings are answered with their tag and LUN, for immediate delivery', () => {
    const test = new FullFeatureUnderTest();
    test.receive(Opcode.NOP_IN, RESERVED_TAG, {
      takesStatSN: false,
      set: (header) => {
        NopIn.targetTransferTag.set(header, 77);
        NopIn.lunHigh.set(header, 0x0001_0000);
      },
    });
    const [{ header } = { header: Buffer.alloc(0) }] = test.datamover.take();
    assert.equal(header[0], Opcode.NOP_OUT | 0x40);
    assert.equal(NopOut.targetTransferTag.get(header), 77);
    assert.equal(NopOut.initiatorTaskTag.get(header), RESERVED_TAG);
    assert.equal(NopOut.lunHigh.get(header), 0x0001_0000);
    assert.equal(NopOut.expStatSN.get(header), 100, 'its StatSN was not taken');
  });

  it('a NOP-In without a Target Transfer Tag is not answered (RFC 7143 11.18)', () => {
    const test = new FullFeatureUnderTest();
    test.receive(Opcode.NOP_IN, RESERVED_TAG, {
      takesStatSN: false,
      set: (header) => {
        NopIn.targetTransferTag.set(header, RESERVED_TAG);
      },
    });
    assert.deepEqual(test.datamover.take(), []);
  });

  it('asynchronous messages take a StatSN and go to the host', () => {
    const test = new FullFeatureUnderTest();
    test.receive(Opcode.ASYNC_MESSAGE, RESERVED_TAG, { set: (header) => (header[36] = 4) });
    assert.equal(test.notices[0]?.event, 4);
    assert.equal(test.phase.expectedStatSN(), 101);
  });
});
