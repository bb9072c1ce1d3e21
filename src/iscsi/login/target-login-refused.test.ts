import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  assertRefused,
  FULL_FEATURE,
  LoginUnderTest,
  NAMES,
  type RequestFields,
  TO_OPERATIONAL,
} from './testing/initiator.js';
import { LoginStatus } from './status.js';
import { Opcode } from '../wire/opcodes.js';

/** First requests that are refused. */
const WRONG: readonly [
  what: string,
  fields: RequestFields,
  texts: string[],
  status: LoginStatus,
  reason: RegExp,
][] = [
  [
    'no version in common',
    { ...FULL_FEATURE, versionMin: 1, versionMax: 2 },
    NAMES,
    LoginStatus.UNSUPPORTED_VERSION,
    /1 to 2/,
  ],
  ['T and C', { ...FULL_FEATURE, isContinued: true }, NAMES, LoginStatus.INITIATOR_ERROR, /both T and C/],
  ['reserved CSG', { stage: 2 }, NAMES, LoginStatus.INITIATOR_ERROR, /login in stage 2/],
  ['CSG of the full feature phase', { stage: 3 }, NAMES, LoginStatus.INITIATOR_ERROR, /login in stage 3/],
  ['reserved NSG', { stage: 1, transit: 2 }, NAMES, LoginStatus.INITIATOR_ERROR, /to stage 2/],
  ['NSG the same stage', { stage: 1, transit: 1 }, NAMES, LoginStatus.INITIATOR_ERROR, /to stage 1/],
  ['NSG an earlier stage', { stage: 1, transit: 0 }, NAMES, LoginStatus.INITIATOR_ERROR, /to stage 0/],
  [
    'an additional header',
    { ...FULL_FEATURE, ahsWords: 1 },
    NAMES,
    LoginStatus.INITIATOR_ERROR,
    /additional header/,
  ],
  [
    'no InitiatorName',
    FULL_FEATURE,
    NAMES.slice(1),
    LoginStatus.MISSING_PARAMETER,
    /InitiatorName is missing/,
  ],
  ['no TargetName', FULL_FEATURE, NAMES.slice(0, 2), LoginStatus.MISSING_PARAMETER, /TargetName is missing/],
  ['no text at all', FULL_FEATURE, [], LoginStatus.MISSING_PARAMETER, /InitiatorName is missing/],
  [
    'an empty InitiatorName',
    FULL_FEATURE,
    ['InitiatorName='],
    LoginStatus.INITIATOR_ERROR,
    /InitiatorName=""/,
  ],
  [
    'an overlong TargetName',
    FULL_FEATURE,
    [NAMES[0]!, `TargetName=${'x'.repeat(224)}`],
    LoginStatus.INITIATOR_ERROR,
    /TargetName=/,
  ],
  [
    'a line break in a name',
    FULL_FEATURE,
    ['InitiatorName=a\nb'],
    LoginStatus.INITIATOR_ERROR,
    /InitiatorName="a\\nb"/,
  ],
  [
    'an unknown target',
    FULL_FEATURE,
    [NAMES[0]!, 'TargetName=iqn.x'],
    LoginStatus.NOT_FOUND,
    /no target iqn\.x/,
  ],
  [
    'an unknown session type',
    FULL_FEATURE,
    [...NAMES.slice(0, 1), 'SessionType=Other'],
    LoginStatus.SESSION_TYPE_NOT_SUPPORTED,
    /"Other"/,
  ],
  [
    'only unknown methods',
    TO_OPERATIONAL,
    [...NAMES, 'AuthMethod=CHAP,SRP'],
    LoginStatus.AUTHENTICATION_FAILURE,
    /accepted are None/,
  ],
  [
    'a key of CHAP uncalled for',
    TO_OPERATIONAL,
    [...NAMES, 'CHAP_A=5'],
    LoginStatus.INITIATOR_ERROR,
    /CHAP_A is not due/,
  ],
  [
    'a security key too late',
    FULL_FEATURE,
    [...NAMES, 'AuthMethod=None'],
    LoginStatus.INITIATOR_ERROR,
    /AuthMethod belongs/,
  ],
  [
    'an operational key too early',
    TO_OPERATIONAL,
    [...NAMES, 'InitialR2T=No'],
    LoginStatus.INITIATOR_ERROR,
    /InitialR2T is not allowed/,
  ],
  [
    'a key twice',
    FULL_FEATURE,
    [...NAMES, 'InitialR2T=No', 'InitialR2T=No'],
    LoginStatus.INITIATOR_ERROR,
    /sent twice/,
  ],
  [
    'SendTargets',
    FULL_FEATURE,
    [...NAMES, 'SendTargets=All'],
    LoginStatus.INITIATOR_ERROR,
    /SendTargets is not allowed/,
  ],
  [
    'a declaration out of bounds',
    FULL_FEATURE,
    [...NAMES, 'MaxRecvDataSegmentLength=0'],
    LoginStatus.INITIATOR_ERROR,
    /MaxRecvDataSegmentLength="0"/,
  ],
  ['text that is none', FULL_FEATURE, ['what'], LoginStatus.INITIATOR_ERROR, /has no "="/],
  [
    'a non-zero TSIH of no session',
    { ...FULL_FEATURE, tsih: 9 },
    NAMES,
    LoginStatus.SESSION_DOES_NOT_EXIST,
    /TSIH 9/,
  ],
];

describe('refused logins', () => {
  for (const [what, fields, texts, status, reason] of WRONG) {
    test(`${what}: ${status.text}`, () => {
      const login = new LoginUnderTest();
      assertRefused(login.send(fields, texts), status, reason);
      const after = login.send(FULL_FEATURE, NAMES);
      assert.equal(after.response, null);
      assert.equal(after.close, true);
    });
  }

  test('a data segment above 8192 bytes', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, Buffer.alloc(8193));
    assertRefused(outcome, LoginStatus.INITIATOR_ERROR, /8193 bytes/);
  });

  test('an unterminated last pair', () => {
    const outcome = new LoginUnderTest().send(FULL_FEATURE, Buffer.from(NAMES.join('\0')));
    assertRefused(outcome, LoginStatus.INITIATOR_ERROR, /not terminated/);
  });

  for (const [what, changed] of [
    ['ISID', { isid: '00023d000002' }],
    ['TSIH', { tsih: 1 }],
    ['CID', { cid: 4 }],
    ['initiatorTaskTag', { initiatorTaskTag: 1 }],
  ] as const) {
    test(`${what} changes`, () => {
      const login = new LoginUnderTest();
      login.send({ stage: 1 }, NAMES);
      const outcome = login.send({ ...FULL_FEATURE, ...changed }, []);
      assertRefused(outcome, LoginStatus.INITIATOR_ERROR, new RegExp(`${what} changed`));
    });
  }

  test('a CSG that is not the stage reached', () => {
    const back = new LoginUnderTest();
    back.send(TO_OPERATIONAL, NAMES);
    assertRefused(
      back.send(TO_OPERATIONAL, []),
      LoginStatus.INITIATOR_ERROR,
      /CSG is SecurityNegotiation while in LoginOp/,
    );
    const ahead = new LoginUnderTest();
    ahead.send({ stage: 0 }, NAMES);
    assertRefused(ahead.send(FULL_FEATURE, []), LoginStatus.INITIATOR_ERROR, /while in SecurityNegotiation/);
  });

  test('another PDU: before the login silence, during it Invalid during login (RFC 7143 4.2.4)', () => {
    const before = new LoginUnderTest().send({ opcode: Opcode.SCSI_COMMAND }, []);
    assert.equal(before.response, null);
    assert.equal(before.close, true);
    assert.match(before.reason, /0x1 before login/);
    const login = new LoginUnderTest();
    login.send({ stage: 1 }, NAMES);
    assertRefused(
      login.send({ opcode: Opcode.NOP_OUT }, []),
      LoginStatus.INVALID_DURING_LOGIN,
      /opcode 0x0 during/,
    );
  });

  test('names of the first request cannot be added later', () => {
    const login = new LoginUnderTest();
    assertRefused(
      login.send({ stage: 1 }, ['InitialR2T=No']),
      LoginStatus.MISSING_PARAMETER,
      /InitiatorName/,
    );
  });
});
