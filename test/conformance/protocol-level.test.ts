/** What iSCSIProtocolLevel 2 adds, over a real socket (RFC 7144). */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { Bhs, TaskManagementRequest, TaskManagementResponse } from '../../src/iscsi/wire/headers.js';
import {
  FINAL,
  IMMEDIATE,
  Opcode,
  RESERVED_TAG,
  TaskManagementFunction as Function,
  TaskManagementResponse as Response,
} from '../../src/iscsi/wire/opcodes.js';
import { inquiryCdb, TEST_UNIT_READY } from '../support/cdb.js';
import type { Initiator } from '../support/initiator.js';
import { TestTarget } from '../support/target.js';

/** POWER ON, RESET, OR BUS DEVICE RESET OCCURRED family of ASCs, as UNIT ATTENTION. */
const UNIT_ATTENTION = 6;

describe('iSCSIProtocolLevel', () => {
  let target: TestTarget;
  let initiator: Initiator;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
  });
  after(() => target.close());
  beforeEach(async () => {
    initiator = await target.login({ keys: { iSCSIProtocolLevel: '2' } });
  });
  afterEach(() => initiator.destroy());

  function requestOf(session: Initiator, code: number, referenced: number | 'itself' = RESERVED_TAG): Buffer {
    const header = session.header(Opcode.TASK_MANAGEMENT_REQUEST | IMMEDIATE, FINAL | code);
    const tag = referenced === 'itself' ? Bhs.initiatorTaskTag.get(header) : referenced;
    TaskManagementRequest.referencedTaskTag.set(header, tag);
    return header;
  }

  async function manage(
    session: Initiator,
    code: number,
    referenced?: number | 'itself',
  ): Promise<{ response: number; information: number }> {
    const { header } = await session.request(requestOf(session, code, referenced));
    return {
      response: TaskManagementResponse.response.get(header),
      information: TaskManagementResponse.information.get(header),
    };
  }

  async function clearUnitAttentions(session: Initiator): Promise<void> {
    while ((await session.command(0, TEST_UNIT_READY)).status !== 0);
  }

  for (const level of [1, 2]) {
    test(`INQUIRY has the version descriptor of level ${level} (4.2)`, async () => {
      const session = await target.login({ keys: { iSCSIProtocolLevel: String(level) } });
      assert.equal(session.answers['iSCSIProtocolLevel'], String(level));
      const { data } = await session.command(0, inquiryCdb(96), { dataIn: 96 });
      const descriptors = [58, 60, 62, 64].map((at) => data.readUInt16BE(at));
      assert.equal(descriptors.at(-1), 0x0960 + level);
      session.destroy();
    });
  }

  for (const code of [
    Function.QUERY_TASK,
    Function.QUERY_TASK_SET,
    Function.I_T_NEXUS_RESET,
    Function.QUERY_ASYNCHRONOUS_EVENT,
  ]) {
    test(`function ${code} is not supported at level 1, and the session goes on (6.3)`, async () => {
      const session = await target.login({ keys: { iSCSIProtocolLevel: '1' } });
      await clearUnitAttentions(session);
      assert.equal((await manage(session, code)).response, Response.NOT_SUPPORTED);
      assert.equal((await session.command(0, TEST_UNIT_READY)).status, 0);
      session.destroy();
    });
  }

  test('QUERY TASK of a task that is not there, and QUERY TASK SET of none: function complete (6.4.2)', async () => {
    const complete = { response: Response.FUNCTION_COMPLETE, information: 0 };
    assert.deepEqual(await manage(initiator, Function.QUERY_TASK, 0x7777), complete);
    assert.deepEqual(await manage(initiator, Function.QUERY_TASK_SET), complete);
  });

  test('QUERY TASK of a task management request is rejected (6.3)', async () => {
    const { response } = await manage(initiator, Function.QUERY_TASK, 'itself');
    assert.equal(response, Response.FUNCTION_REJECTED);
  });

  test('so is ABORT TASK, whatever the level (RFC 7143 11.5.1)', async () => {
    const { response } = await manage(initiator, Function.ABORT_TASK, 'itself');
    assert.equal(response, Response.FUNCTION_REJECTED);
  });

  test('QUERY ASYNCHRONOUS EVENT tells the unit attention that comes next, and leaves it (6.4.2)', async () => {
    await clearUnitAttentions(initiator);
    const none = { response: Response.FUNCTION_COMPLETE, information: 0 };
    assert.deepEqual(await manage(initiator, Function.QUERY_ASYNCHRONOUS_EVENT), none);
    await manage(initiator, Function.LOGICAL_UNIT_RESET);
    const { response, information } = await manage(initiator, Function.QUERY_ASYNCHRONOUS_EVENT);
    assert.equal(response, Response.FUNCTION_SUCCEEDED);
    assert.equal(information >> 16, (1 << 4) | UNIT_ATTENTION);
    const { sense } = await initiator.command(0, TEST_UNIT_READY);
    assert.equal(information & 0xffff, sense.readUInt16BE(12));
    assert.deepEqual(await manage(initiator, Function.QUERY_ASYNCHRONOUS_EVENT), none);
  });

  test('I_T NEXUS RESET ends the session, and no other one (6.3)', async () => {
    const other = await target.login();
    await clearUnitAttentions(other);
    const { response } = await manage(initiator, Function.I_T_NEXUS_RESET);
    assert.equal(response, Response.FUNCTION_COMPLETE);
    await initiator.closed;
    assert.equal((await other.command(0, TEST_UNIT_READY)).status, 0);
    other.destroy();
  });
});
