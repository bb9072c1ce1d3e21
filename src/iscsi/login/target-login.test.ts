import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DEFAULT_PARAMETERS } from './keys.js';
import {
  assertRefused,
  flagsOf,
  FULL_FEATURE,
  INITIATOR_NAME,
  LoginUnderTest,
  NAMES,
  POLICY,
  requestHeader,
  TARGET_NAME,
  textOf,
  TO_OPERATIONAL,
} from './testing/initiator.js';
import type { LoginIdentity, LoginRefusal } from './policy.js';
import { LoginStatus } from './status.js';
import {
  LOGIN_DATA_SEGMENT_LIMIT,
  LOGIN_REQUEST_LIMIT,
  type LoginOutcome,
  LoginStage,
  TargetLogin,
} from './target-login.js';
import { ISID_OFFSET, LoginResponse } from '../wire/headers.js';
import { Opcode } from '../wire/opcodes.js';
import { TEXT_LIMIT } from '../wire/text.js';

const GREETING = ['TargetPortalGroupTag=1', 'TargetAlias=Disk one'];

function headerOf(outcome: LoginOutcome): Buffer {
  assert.ok(outcome.response !== null);
  return outcome.response.header;
}

describe('accepted logins', () => {
  test('straight to full feature phase with all defaults', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, NAMES);
    assert.deepEqual(textOf(outcome), [...GREETING, 'MaxRecvDataSegmentLength=262144']);
    assert.deepEqual(flagsOf(outcome), { transit: 3, isContinued: false, stage: 1 });
    assert.equal(outcome.close, false);
    assert.equal(outcome.reason, '');
    assert.equal(outcome.status, LoginStatus.SUCCESS);
    const header = headerOf(outcome);
    assert.equal(LoginResponse.opcode.get(header), Opcode.LOGIN_RESPONSE);
    assert.equal(LoginResponse.versionActive.get(header), 0);
    assert.equal(header.toString('hex', ISID_OFFSET, ISID_OFFSET + 6), '00023d000001');
    assert.equal(LoginResponse.tsih.get(header), 77);
    assert.equal(LoginResponse.initiatorTaskTag.get(header), 0x1234);
    assert.equal(LoginResponse.statSN.get(header), 500);
    assert.equal(LoginResponse.expCmdSN.get(header), 100);
    assert.equal(LoginResponse.maxCmdSN.get(header), 227);
    assert.equal(LoginResponse.dataSegmentLength.get(header), outcome.response?.data.length);
    assert.deepEqual(outcome.result, {
      identity: {
        sessionType: 'Normal',
        initiatorName: INITIATOR_NAME,
        isid: Buffer.from('00023d000001', 'hex'),
        isidHex: '00023d000001',
        tsih: 0,
        cid: 3,
        target: { name: TARGET_NAME, portalGroupTag: 1, alias: 'Disk one' },
        initiatorAddress: '192.0.2.7',
      },
      tsih: 77,
      user: null,
      initiatorAlias: null,
      parameters: { ...DEFAULT_PARAMETERS, targetMaxRecvDataSegmentLength: 262144 },
      expCmdSN: 100,
      statSN: 501,
    });
  });

  test('StatSN starts where it is told and rises by one with every response; CmdSN stays', () => {
    const login = new LoginUnderTest({ initialStatSN: 0xffff_ffff });
    const first = login.send(TO_OPERATIONAL, NAMES);
    const second = login.send({ stage: LoginStage.OPERATIONAL }, []);
    const third = login.send(FULL_FEATURE, []);
    assert.deepEqual(
      [first, second, third].map((outcome) => LoginResponse.statSN.get(headerOf(outcome))),
      [0xffff_ffff, 0, 1],
    );
    assert.deepEqual(
      [first, second, third].map((outcome) => LoginResponse.tsih.get(headerOf(outcome))),
      [0, 0, 77],
    );
    assert.equal(third.result?.statSN, 2);
    assert.equal(third.result.expCmdSN, 100);
  });

  test('the numbers of CmdSN wrap', () => {
    const outcome = new LoginUnderTest().send({ ...FULL_FEATURE, cmdSN: 0xffff_ffff }, NAMES);
    assert.equal(LoginResponse.maxCmdSN.get(headerOf(outcome)), 126);
  });

  test('security first, then operational, then full feature', () => {
    const login = new LoginUnderTest();
    const security = login.send(TO_OPERATIONAL, [...NAMES, 'AuthMethod=CHAP,None']);
    assert.deepEqual(textOf(security), [...GREETING, 'AuthMethod=None']);
    assert.deepEqual(flagsOf(security), { transit: 1, isContinued: false, stage: 0 });
    assert.equal(security.result, null);
    const operational = login.send(FULL_FEATURE, ['InitialR2T=No', 'ImmediateData=Yes']);
    assert.deepEqual(textOf(operational), [
      'InitialR2T=No',
      'ImmediateData=Yes',
      'MaxRecvDataSegmentLength=262144',
    ]);
    assert.equal(operational.result?.parameters.initialR2T, false);
  });

  test('security straight to full feature: the target declares nothing, 8192 stays (RFC 7143 13.12)', () => {
    const outcome = new LoginUnderTest().send({ stage: 0, transit: 3 }, [...NAMES, 'AuthMethod=None']);
    assert.deepEqual(textOf(outcome), [...GREETING, 'AuthMethod=None']);
    assert.deepEqual(outcome.result?.parameters, DEFAULT_PARAMETERS);
  });

  test('without T the stage stays, and an exchange may take several requests', () => {
    const login = new LoginUnderTest();
    const stay = login.send({ stage: 1 }, [...NAMES, 'InitialR2T=No']);
    assert.deepEqual(flagsOf(stay), { transit: null, isContinued: false, stage: 1 });
    assert.deepEqual(textOf(stay), [...GREETING, 'InitialR2T=No', 'MaxRecvDataSegmentLength=262144']);
    const more = login.send(FULL_FEATURE, ['ImmediateData=No', 'InitiatorAlias=host one']);
    assert.deepEqual(textOf(more), ['ImmediateData=No']);
    assert.equal(more.result?.parameters.initialR2T, false);
    assert.equal(more.result.initiatorAlias, 'host one');
  });

  test('names are compared in normal form', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, [
      'InitiatorName=IQN.2001-04.com.Example:Host1',
      `TargetName=${TARGET_NAME.toUpperCase()}`,
    ]);
    assert.equal(outcome.result?.identity.initiatorName, INITIATOR_NAME);
    assert.equal(outcome.result.identity.target?.name, TARGET_NAME);
  });

  test('discovery without a target: no portal group, no alias', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, [
      `InitiatorName=${INITIATOR_NAME}`,
      'SessionType=Discovery',
      'HeaderDigest=None',
      'MaxBurstLength=262144',
      'ErrorRecoveryLevel=2',
    ]);
    assert.deepEqual(textOf(outcome), [
      'HeaderDigest=None',
      'MaxBurstLength=Irrelevant',
      'ErrorRecoveryLevel=0',
      'MaxRecvDataSegmentLength=262144',
    ]);
    assert.equal(outcome.result?.identity.sessionType, 'Discovery');
    assert.equal(outcome.result.identity.target, null);
  });

  test('discovery of a named target: its portal group', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, [
      `InitiatorName=${INITIATOR_NAME}`,
      'SessionType=Discovery',
      `TargetName=${TARGET_NAME}`,
    ]);
    assert.deepEqual(textOf(outcome), ['TargetPortalGroupTag=1', 'MaxRecvDataSegmentLength=262144']);
  });
});

describe('continued text', () => {
  test('a text in several requests: empty responses until it is whole', () => {
    const login = new LoginUnderTest();
    const text = Buffer.from([...NAMES, 'InitialR2T=No'].map((pair) => `${pair}\0`).join(''));
    for (const part of [text.subarray(0, 5), text.subarray(5, 60)]) {
      const partial = login.send({ stage: 1, isContinued: true }, part);
      assert.deepEqual(flagsOf(partial), { transit: null, isContinued: false, stage: 1 });
      assert.equal(partial.response?.data.length, 0);
    }
    const whole = login.send(FULL_FEATURE, text.subarray(60));
    assert.deepEqual(textOf(whole), [...GREETING, 'InitialR2T=No', 'MaxRecvDataSegmentLength=262144']);
    assert.equal(whole.result?.parameters.initialR2T, false);
  });

  test('text beyond the limit, and requests without end', () => {
    const login = new LoginUnderTest();
    const part = Buffer.alloc(LOGIN_DATA_SEGMENT_LIMIT, 0x41);
    for (let sent = 0; sent < TEXT_LIMIT; sent += part.length) {
      assert.equal(login.send({ isContinued: true }, part).close, false);
    }
    assertRefused(login.send({ isContinued: true }, part), LoginStatus.INITIATOR_ERROR, /too long/);
    const endless = new LoginUnderTest();
    for (let i = 0; i < LOGIN_REQUEST_LIMIT; i++)
      assert.equal(endless.send({ isContinued: true }, []).close, false);
    assertRefused(
      endless.send({ isContinued: true }, []),
      LoginStatus.INITIATOR_ERROR,
      /more than 32 requests/,
    );
  });

  test('an answer longer than 8192 bytes goes in parts that empty requests fetch', () => {
    const login = new LoginUnderTest();
    const unknown = Array.from({ length: 200 }, (_, i) => `X-${String(i).padStart(50, 'x')}=1`);
    const text = Buffer.from([...NAMES, ...unknown].map((pair) => `${pair}\0`).join(''));
    login.send({ isContinued: true }, text.subarray(0, 8000));
    let outcome = login.send(FULL_FEATURE, text.subarray(8000));
    const parts = [];
    while (flagsOf(outcome).isContinued) {
      assert.equal(flagsOf(outcome).transit, null);
      assert.equal(outcome.result, null);
      assert.equal(outcome.response?.data.length, LOGIN_DATA_SEGMENT_LIMIT);
      parts.push(outcome.response.data);
      outcome = login.send(FULL_FEATURE, []);
    }
    assert.ok(parts.length > 0);
    parts.push(outcome.response!.data);
    const answer = Buffer.concat(parts).toString();
    assert.equal(answer.split('=NotUnderstood\0').length - 1, unknown.length);
    assert.equal(flagsOf(outcome).transit, 3);
    assert.ok(outcome.result !== null);
  });

  test('text while the answer continues is refused (RFC 7143 6.2)', () => {
    const login = new LoginUnderTest();
    const unknown = Array.from({ length: 150 }, (_, i) => `X-${String(i).padStart(46, 'x')}=`);
    assert.ok(flagsOf(login.send(FULL_FEATURE, [...NAMES, ...unknown])).isContinued);
    assertRefused(login.send(FULL_FEATURE, ['X-a=1']), LoginStatus.INITIATOR_ERROR, /answer continues/);
  });
});

describe('policy', () => {
  const refused = (status: LoginStatus): LoginRefusal => ({ refusal: status, reason: 'by policy' });

  test('redirection carries the address without a portal group tag (RFC 7143 13.8)', () => {
    for (const status of [LoginStatus.TARGET_MOVED_TEMPORARILY, LoginStatus.TARGET_MOVED_PERMANENTLY]) {
      const policy = {
        ...POLICY,
        findTarget: () => ({ ...refused(status), redirect: '[2001:db8::1]:3260' }),
      };
      const outcome = new LoginUnderTest({ policy }).send(FULL_FEATURE, NAMES);
      assertRefused(outcome, status, /by policy/);
      assert.deepEqual(textOf(outcome), ['TargetAddress=[2001:db8::1]:3260']);
    }
  });

  test('who is not admitted learns it at once, with the whole identity known', () => {
    let asked: LoginIdentity | null = null;
    const admit = (identity: LoginIdentity): LoginRefusal => {
      asked = identity;
      return refused(LoginStatus.AUTHORIZATION_FAILURE);
    };
    const outcome = new LoginUnderTest({ policy: { ...POLICY, admit } }).send(TO_OPERATIONAL, NAMES);
    assertRefused(outcome, LoginStatus.AUTHORIZATION_FAILURE, /authorization failure: by policy/);
    assert.equal((asked as LoginIdentity | null)?.initiatorName, INITIATOR_NAME);
  });

  test('a session that cannot be opened', () => {
    const policy = { ...POLICY, openSession: () => refused(LoginStatus.OUT_OF_RESOURCES) };
    assertRefused(
      new LoginUnderTest({ policy }).send(FULL_FEATURE, NAMES),
      LoginStatus.OUT_OF_RESOURCES,
      /by policy/,
    );
  });

  test('a session is opened once, by the final response only', () => {
    let opened = 0;
    const openSession = (): { tsih: number } => ({ tsih: ++opened });
    const login = new LoginUnderTest({ policy: { ...POLICY, openSession } });
    login.send(TO_OPERATIONAL, NAMES);
    login.send({ stage: 1 }, []);
    assert.equal(opened, 0);
    login.send(FULL_FEATURE, []);
    login.send(FULL_FEATURE, []);
    assert.equal(opened, 1);
  });

  test('a connection joins only a session that has room, or takes the place of one with its CID', () => {
    // SessionType is a key of the leading login only (RFC 7143 13.21).
    const names = NAMES.filter((text) => !text.startsWith('SessionType='));
    const withSession = (maxConnections: number, connectionIds: number[]): LoginOutcome => {
      const numbers = {
        expCmdSN: 70,
        maxCmdSN: 90,
        parameters: { ...DEFAULT_PARAMETERS, maxBurstLength: 9999 },
      };
      const policy = { ...POLICY, findSession: () => ({ maxConnections, connectionIds, ...numbers }) };
      return new LoginUnderTest({ policy }).send({ ...FULL_FEATURE, tsih: 9, cid: 3 }, names);
    };
    assertRefused(withSession(1, [1]), LoginStatus.TOO_MANY_CONNECTIONS, /session 9 has its 1 connection/);
    assertRefused(withSession(2, [1, 2]), LoginStatus.TOO_MANY_CONNECTIONS, /session 9 has its 2 connection/);
    for (const joined of [withSession(2, [1]), withSession(1, [3]), withSession(2, [3, 1])]) {
      assert.equal(joined.result?.identity.tsih, 9);
      assert.equal(
        joined.result.parameters.maxBurstLength,
        9999,
        'the session goes by what it has agreed on',
      );
      assert.equal(LoginResponse.expCmdSN.get(joined.response!.header), 70);
      assert.equal(LoginResponse.maxCmdSN.get(joined.response!.header), 90);
    }
  });
});

test('arbitrary PDUs never throw, always end in a response or a close, and are bounded in number', () => {
  const texts = fc.array(
    fc.oneof(
      fc.constantFrom(
        ...NAMES,
        'AuthMethod=None',
        'AuthMethod=CHAP,None',
        'InitialR2T=No',
        'MaxBurstLength=9',
        'X-a=1',
      ),
      fc.string({ maxLength: 20 }),
    ),
    { maxLength: 6 },
  );
  const likely = fc
    .record({
      stage: fc.nat(3),
      transit: fc.option(fc.nat(3), { nil: undefined }),
      isContinued: fc.boolean(),
      tsih: fc.constantFrom(0, 0, 0, 5),
      opcode: fc.constantFrom(
        Opcode.LOGIN_REQUEST,
        Opcode.LOGIN_REQUEST,
        Opcode.LOGIN_REQUEST,
        Opcode.TEXT_REQUEST,
      ),
    })
    .map(({ transit, ...fields }) =>
      requestHeader(transit === undefined ? fields : { ...fields, transit }, 0),
    );
  const wild = fc.uint8Array({ minLength: 48, maxLength: 48 }).map((bytes) => Buffer.from(bytes));
  const pdu = fc.record({
    header: fc.oneof({ weight: 4, arbitrary: likely }, { weight: 1, arbitrary: wild }),
    data: fc.oneof(
      texts.map((list) => Buffer.from(list.map((text) => `${text}\0`).join(''))),
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    ),
  });
  fc.assert(
    fc.property(fc.array(pdu, { maxLength: 40 }), (pdus) => {
      const login = new TargetLogin({
        policy: POLICY,
        authenticator: null,
        initiatorAddress: '',
        commandWindow: 1,
      });
      let answered = 0;
      let over = false;
      for (const { header, data } of pdus) {
        const outcome = login.handleRequest(header, data);
        assert.ok(outcome.response !== null || outcome.close);
        assert.equal(outcome.close, outcome.reason !== '');
        assert.ok(!over || outcome.response === null, 'a response after the end');
        if (outcome.response !== null) answered++;
        assert.ok((outcome.response?.data.length ?? 0) <= LOGIN_DATA_SEGMENT_LIMIT);
        over ||= outcome.close || outcome.result !== null;
      }
      assert.ok(answered <= LOGIN_REQUEST_LIMIT + 1);
    }),
    { numRuns: 500 },
  );
});
