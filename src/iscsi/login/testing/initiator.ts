/** For tests of the login: an initiator that writes Login Requests, and a policy that answers from a record. */

import assert from 'node:assert/strict';
import { BHS_LENGTH, ISID_OFFSET, LoginRequest, LoginResponse } from '../../wire/headers.js';
import { IMMEDIATE, LoginFlag, Opcode } from '../../wire/opcodes.js';
import { parseText } from '../../wire/text.js';
import type { LoginPolicy } from '../policy.js';
import { LoginStatus } from '../status.js';
import { type LoginOutcome, LoginStage, TargetLogin, type TargetLoginOptions } from '../target-login.js';

export const TARGET_NAME = 'iqn.2001-04.com.example:disk1';
export const INITIATOR_NAME = 'iqn.2001-04.com.example:host1';
export const NAMES = [`InitiatorName=${INITIATOR_NAME}`, 'SessionType=Normal', `TargetName=${TARGET_NAME}`];

/** One target, everybody admitted, no sessions, TSIH 77 for a new one. */
export const POLICY: LoginPolicy = {
  findTarget: (name) =>
    name === TARGET_NAME
      ? { name, portalGroupTag: 1, alias: 'Disk one' }
      : { refusal: LoginStatus.NOT_FOUND, reason: `no target ${name}` },
  admit: () => null,
  findSession: () => null,
  openSession: () => ({ tsih: 77 }),
};

export interface RequestFields {
  opcode?: number;
  /** CSG; the operational stage if not given. */
  stage?: number;
  /** NSG, with the T bit; none if not given. */
  transit?: number;
  isContinued?: boolean;
  versionMin?: number;
  versionMax?: number;
  isid?: string;
  tsih?: number;
  cid?: number;
  initiatorTaskTag?: number;
  cmdSN?: number;
  expStatSN?: number;
  ahsWords?: number;
}

export function requestHeader(fields: RequestFields, dataLength: number): Buffer {
  const header = Buffer.alloc(BHS_LENGTH);
  const transit = fields.transit === undefined ? 0 : LoginFlag.TRANSIT | fields.transit;
  const stage = fields.stage ?? LoginStage.OPERATIONAL;
  LoginRequest.opcode.set(header, (fields.opcode ?? Opcode.LOGIN_REQUEST) | IMMEDIATE);
  LoginRequest.flags.set(
    header,
    transit | (fields.isContinued === true ? LoginFlag.CONTINUE : 0) | (stage << 2),
  );
  LoginRequest.versionMax.set(header, fields.versionMax ?? 0);
  LoginRequest.versionMin.set(header, fields.versionMin ?? 0);
  LoginRequest.totalAHSLength.set(header, fields.ahsWords ?? 0);
  LoginRequest.dataSegmentLength.set(header, dataLength);
  header.write(fields.isid ?? '00023d000001', ISID_OFFSET, 'hex');
  LoginRequest.tsih.set(header, fields.tsih ?? 0);
  LoginRequest.cid.set(header, fields.cid ?? 3);
  LoginRequest.initiatorTaskTag.set(header, fields.initiatorTaskTag ?? 0x1234);
  LoginRequest.cmdSN.set(header, fields.cmdSN ?? 100);
  LoginRequest.expStatSN.set(header, fields.expStatSN ?? 500);
  return header;
}

export const FULL_FEATURE = { stage: LoginStage.OPERATIONAL, transit: LoginStage.FULL_FEATURE } as const;

/** Ready to leave the security stage for the operational one. */
export const TO_OPERATIONAL = { stage: LoginStage.SECURITY, transit: LoginStage.OPERATIONAL } as const;

/** A login under test, spoken to in pairs. */
export class LoginUnderTest {
  readonly login: TargetLogin;

  constructor(options: Partial<TargetLoginOptions> = {}) {
    this.login = new TargetLogin({
      policy: POLICY,
      authenticator: null,
      initiatorAddress: '192.0.2.7',
      commandWindow: 128,
      ...options,
    });
  }

  send(fields: RequestFields, texts: readonly string[] | Buffer): LoginOutcome {
    const data = Buffer.isBuffer(texts) ? texts : Buffer.from(texts.map((text) => `${text}\0`).join(''));
    return this.login.handleRequest(requestHeader(fields, data.length), data);
  }
}

/** The response's text as `key=value` strings. */
export function textOf(outcome: LoginOutcome): string[] {
  assert.ok(outcome.response !== null);
  const parsed = parseText(outcome.response.data);
  assert.ok('pairs' in parsed);
  return parsed.pairs.map(({ key, value }) => `${key}=${value}`);
}

/** T, C, CSG and NSG of the response. */
export function flagsOf(outcome: LoginOutcome): {
  transit: number | null;
  isContinued: boolean;
  stage: number;
} {
  assert.ok(outcome.response !== null);
  const flags = LoginResponse.flags.get(outcome.response.header);
  return {
    transit: (flags & LoginFlag.TRANSIT) === 0 ? null : flags & 3,
    isContinued: (flags & LoginFlag.CONTINUE) !== 0,
    stage: (flags >> 2) & 3,
  };
}

/** Assert that the login ended with `status` and a reason that matches. */
export function assertRefused(outcome: LoginOutcome, status: LoginStatus, reason: RegExp): void {
  assert.equal(outcome.status, status, outcome.reason);
  assert.match(outcome.reason, reason);
  assert.ok(!outcome.reason.includes('\n'));
  assert.equal(outcome.close, true);
  assert.equal(outcome.result, null);
  assert.ok(outcome.response !== null);
  const { header } = outcome.response;
  assert.equal(LoginResponse.statusClass.get(header), status.statusClass);
  assert.equal(LoginResponse.statusDetail.get(header), status.statusDetail);
  assert.equal(LoginResponse.flags.get(header), 0);
}
