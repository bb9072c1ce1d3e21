/** The login phase over a real socket (RFC 7143 6, 11.12, 11.13). */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { Bhs, ISID_LENGTH, ISID_OFFSET, LoginResponse } from '../../src/iscsi/wire/headers.js';
import { LoginFlag, Opcode } from '../../src/iscsi/wire/opcodes.js';
import {
  decodePairs,
  encodeKeys,
  type Keys,
  loginHeader,
  type LoginPdu,
  LoginRefused,
  Stage,
} from '../support/login.js';
import { ConnectionClosed, type Pdu, PduSocket } from '../support/pdu-socket.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

const ISID = Buffer.from([0x80, 1, 2, 3, 4, 5]);
const INITIATOR = 'iqn.2026-01.example.test:login';
const NAMES: Keys = { InitiatorName: INITIATOR, TargetName: TARGET_NAME, SessionType: 'Normal' };

describe('login', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
  });
  after(() => target.close());

  /** Send one Login Request on a fresh connection and give its answer. */
  async function firstAnswer(fields: Partial<LoginPdu>, keys: Keys | Buffer): Promise<Pdu> {
    const socket = await PduSocket.connect(target.port);
    try {
      const data = Buffer.isBuffer(keys) ? keys : encodeKeys(keys);
      const defaults = { isid: ISID, currentStage: Stage.OPERATIONAL, nextStage: Stage.FULL_FEATURE };
      socket.send(loginHeader({ ...defaults, ...fields }), data);
      return await socket.inbox.next();
    } finally {
      socket.destroy();
    }
  }

  async function negotiate(keys: Keys): Promise<Keys> {
    const answer = await firstAnswer({}, { ...NAMES, ...keys });
    assert.deepEqual(statusOf(answer), [0, 0]);
    return Object.fromEntries(decodePairs(answer.data));
  }

  test('through security and operational negotiation', async () => {
    const initiator = await target.login();
    assert.notEqual(initiator.tsih, 0);
    assert.equal(initiator.answers['TargetPortalGroupTag'], '1');
    assert.equal(initiator.answers['AuthMethod'], 'None');
    assert.equal((await initiator.read(0, 0, 1)).status, 0);
    await initiator.logout();
  });

  test('without the security stage', async () => {
    const initiator = await target.login({ withoutSecurity: true });
    assert.equal((await initiator.read(0, 0, 1)).status, 0);
    await initiator.logout();
  });

  test('from security straight to full feature, with the defaults', async () => {
    const answer = await firstAnswer(
      { currentStage: Stage.SECURITY, nextStage: Stage.FULL_FEATURE },
      { ...NAMES, AuthMethod: 'None' },
    );
    assert.deepEqual(statusOf(answer), [0, 0]);
    const flags = LoginResponse.flags.get(answer.header);
    assert.equal(flags, LoginFlag.TRANSIT | (Stage.SECURITY << 2) | Stage.FULL_FEATURE);
    assert.notEqual(LoginResponse.tsih.get(answer.header), 0);
  });

  test('a response repeats ISID and task tag, and opens the command window', async () => {
    const { header } = await firstAnswer({ initiatorTaskTag: 0x12345678, cmdSN: 0xffff_fffe }, NAMES);
    assert.deepEqual(header.subarray(ISID_OFFSET, ISID_OFFSET + ISID_LENGTH), ISID);
    assert.equal(LoginResponse.initiatorTaskTag.get(header), 0x12345678);
    assert.equal(LoginResponse.expCmdSN.get(header), 0xffff_fffe);
    const window = (LoginResponse.maxCmdSN.get(header) - 0xffff_fffe + 1) >>> 0;
    assert.ok(window >= 32 && window < 0x1_0000, `a window of ${window} commands`);
    assert.equal(LoginResponse.versionActive.get(header), 0);
  });

  test('text that continues over several requests is read as one', async () => {
    const socket = await PduSocket.connect(target.port);
    const text = encodeKeys({ ...NAMES, MaxBurstLength: '65536' });
    const base = { isid: ISID, currentStage: Stage.OPERATIONAL } as const;
    for (const cut of [text.subarray(0, 20), text.subarray(20, 41)]) {
      socket.send(loginHeader({ ...base, continues: true }), cut);
      const partial = await socket.inbox.next();
      assert.deepEqual(statusOf(partial), [0, 0]);
      assert.equal(partial.data.length, 0, 'no answer before the text is complete');
      assert.equal(LoginResponse.flags.get(partial.header) & LoginFlag.TRANSIT, 0);
    }
    socket.send(loginHeader({ ...base, nextStage: Stage.FULL_FEATURE }), text.subarray(41));
    const answer = await socket.inbox.next();
    assert.deepEqual(statusOf(answer), [0, 0]);
    assert.equal(Object.fromEntries(decodePairs(answer.data))['MaxBurstLength'], '65536');
    socket.destroy();
  });

  test('numerical keys become the smaller value', async () => {
    const answers = await negotiate({
      MaxBurstLength: '16384',
      FirstBurstLength: '4096',
      MaxConnections: '8',
      ErrorRecoveryLevel: '2',
      MaxOutstandingR2T: '1',
      DefaultTime2Retain: '0',
    });
    assert.equal(answers['MaxBurstLength'], '16384');
    assert.equal(answers['FirstBurstLength'], '4096');
    assert.equal(answers['MaxConnections'], '1');
    assert.equal(answers['ErrorRecoveryLevel'], '0');
    assert.equal(answers['MaxOutstandingR2T'], '1');
    assert.equal(answers['DefaultTime2Retain'], '0');
  });

  test('of a list the first value that the target supports is chosen', async () => {
    const crc = await negotiate({ HeaderDigest: 'CRC32C,None', DataDigest: 'X-mine,CRC32C' });
    assert.equal(crc['HeaderDigest'], 'CRC32C');
    assert.equal(crc['DataDigest'], 'CRC32C');
    const none = await negotiate({ HeaderDigest: 'None,CRC32C' });
    assert.equal(none['HeaderDigest'], 'None');
  });

  test('either side may demand InitialR2T, and forbid immediate data', async () => {
    assert.equal((await negotiate({ InitialR2T: 'Yes' }))['InitialR2T'], 'Yes');
    assert.equal((await negotiate({ ImmediateData: 'No' }))['ImmediateData'], 'No');
    const wide = await negotiate({ InitialR2T: 'No', ImmediateData: 'Yes' });
    assert.equal(wide['InitialR2T'], 'No');
    assert.equal(wide['ImmediateData'], 'Yes');
  });

  test('an unknown key is answered NotUnderstood, an impossible value Reject', async () => {
    const answers = await negotiate({ 'X-com.example.colour': 'green', InitialR2T: 'Perhaps' }).catch(
      (error: unknown) => error,
    );
    // A Reject may also end the login (RFC 7143 6.2): then there are no answers to look at.
    if (answers instanceof Error) throw answers;
    assert.equal((answers as Keys)['X-com.example.colour'], 'NotUnderstood');
    assert.equal((answers as Keys)['InitialR2T'], 'Reject');
  });

  const REFUSALS: readonly [what: string, fields: Partial<LoginPdu>, keys: Keys, status: [number, number]][] =
    [
      ['no InitiatorName', {}, { TargetName: TARGET_NAME }, [2, 7]],
      ['no TargetName', {}, { InitiatorName: INITIATOR }, [2, 7]],
      ['a target that is not there', {}, { ...NAMES, TargetName: 'iqn.2026-01.example.test:none' }, [2, 3]],
      ['a version that is not there', { versionMin: 1, versionMax: 2 }, NAMES, [2, 5]],
      ['an unknown session type', {}, { ...NAMES, SessionType: 'Party' }, [2, 9]],
      ['a TSIH that is not there', { tsih: 0xbeef }, NAMES, [2, 10]],
      ['the reserved stage 2', { currentStage: 2 as Stage }, NAMES, [2, 0]],
      ['a transition backwards', { nextStage: Stage.SECURITY }, NAMES, [2, 0]],
      ['both T and C', { continues: true }, NAMES, [2, 0]],
    ];
  for (const [what, fields, keys, status] of REFUSALS) {
    test(`refuses ${what} with status ${status.join('/')}, and closes`, async () => {
      const socket = await PduSocket.connect(target.port);
      const defaults = { isid: ISID, currentStage: Stage.OPERATIONAL, nextStage: Stage.FULL_FEATURE };
      socket.send(loginHeader({ ...defaults, ...fields }), encodeKeys(keys));
      assert.deepEqual(statusOf(await socket.inbox.next()), status);
      await socket.closed;
    });
  }

  test('refuses an authentication method that it does not offer', async () => {
    const answer = await firstAnswer(
      { currentStage: Stage.SECURITY, nextStage: Stage.OPERATIONAL },
      { ...NAMES, AuthMethod: 'KRB5' },
    );
    assert.equal(statusOf(answer)[0], 2);
  });

  test('refuses text that is no key=value', async () => {
    const answer = await firstAnswer({}, Buffer.from('InitiatorName\0'));
    assert.equal(statusOf(answer)[0], 2);
  });

  test('closes a connection whose first PDU is no Login Request, without an answer', async () => {
    const socket = await PduSocket.connect(target.port);
    const header = Buffer.alloc(48);
    Bhs.opcode.set(header, Opcode.NOP_OUT | 0x40);
    Bhs.flags.set(header, 0x80);
    socket.send(header);
    await assert.rejects(socket.inbox.next(), ConnectionClosed);
  });

  test('closes a connection that announces a login segment beyond any limit', async () => {
    const socket = await PduSocket.connect(target.port);
    const header = loginHeader({
      isid: ISID,
      currentStage: Stage.OPERATIONAL,
      nextStage: Stage.FULL_FEATURE,
    });
    Bhs.dataSegmentLength.set(header, 0xff_ffff);
    socket.sendBytes(header);
    await socket.closed;
  });

  test('a login with the ISID and name of a session takes its place', async () => {
    const isid = Buffer.from([0x80, 9, 9, 9, 9, 9]);
    const old = await target.login({ isid });
    const replacement = await target.login({ isid });
    await old.closed;
    assert.equal((await replacement.read(0, 0, 1)).status, 0);
    // Another initiator may use the same ISID (RFC 7143 4.4.3).
    const other = await target.login({ isid, initiatorName: 'iqn.2026-01.example.test:other' });
    assert.equal((await replacement.read(0, 0, 1)).status, 0);
    assert.equal((await other.read(0, 0, 1)).status, 0);
    await replacement.logout();
    await other.logout();
  });

  test('a second connection is refused where a session has one', async () => {
    const initiator = await target.login({ isid: ISID, initiatorName: INITIATOR });
    const answer = await firstAnswer({ tsih: initiator.tsih, cid: 1 }, NAMES);
    assert.deepEqual(statusOf(answer), [2, 6]);
    assert.equal((await initiator.read(0, 0, 1)).status, 0);
    await initiator.logout();
  });

  test('a refusal reaches the initiator as such', async () => {
    await assert.rejects(target.login({ targetName: 'iqn.2026-01.example.test:none' }), LoginRefused);
  });
});

function statusOf({ opcode, header }: Pdu): [statusClass: number, statusDetail: number] {
  assert.equal(opcode, Opcode.LOGIN_RESPONSE);
  return [LoginResponse.statusClass.get(header), LoginResponse.statusDetail.get(header)];
}
