/** The login phase of the test initiator, in one go or PDU by PDU. */

import type { AuthenticationExchange } from '../../src/iscsi/index.js';
import { isSecurityKey } from '../../src/iscsi/login/keys.js';
import { Bhs, BHS_LENGTH, ISID_OFFSET, LoginRequest, LoginResponse } from '../../src/iscsi/wire/headers.js';
import { IMMEDIATE, LoginFlag, Opcode } from '../../src/iscsi/wire/opcodes.js';
import type { Pdu, PduSocket } from './pdu-socket.js';

/** CSG and NSG (RFC 7143 11.12.3). */
export const Stage = { SECURITY: 0, OPERATIONAL: 1, FULL_FEATURE: 3 } as const;
export type Stage = (typeof Stage)[keyof typeof Stage];

export type Keys = Record<string, string>;

export interface LoginOptions {
  /** Do not end the connection when the target ends its side. */
  holdsOpen?: boolean;
  port: number;
  address?: string;
  /** Where the initiator connects from; the system's choice unless given. */
  localAddress?: string;
  /** Without one the session is a discovery session. */
  targetName?: string;
  /** Discovery without a target, else Normal. */
  sessionType?: 'Normal' | 'Discovery';
  initiatorName?: string;
  /** Six bytes; random when not given. */
  isid?: Buffer;
  /** Operational keys, over the defaults of {@link DEFAULT_KEYS}. */
  keys?: Keys;
  /** Skip the security stage and start with the operational one. */
  withoutSecurity?: boolean;
  /** Adds a connection to this session; `isid` is then its, too. */
  joins?: { tsih: number; cid: number };
  /** How it authenticates; AuthMethod=None unless given. */
  authentication?: AuthenticationExchange;
}

/** The initiator's own exchange failed: the target is not who it should be. */
export class TargetRefused extends Error {}

/** What the initiator offers unless a test says otherwise. */
export const DEFAULT_KEYS: Keys = {
  HeaderDigest: 'None',
  DataDigest: 'None',
  InitialR2T: 'No',
  ImmediateData: 'Yes',
  MaxRecvDataSegmentLength: '262144',
  MaxBurstLength: '262144',
  FirstBurstLength: '65536',
  DefaultTime2Wait: '2',
  DefaultTime2Retain: '0',
  ErrorRecoveryLevel: '0',
};

/** What each connection of a session settles for itself. */
const CONNECTION_KEYS: Keys = {
  HeaderDigest: 'None',
  DataDigest: 'None',
  MaxRecvDataSegmentLength: '262144',
};

/** The target answered a login with a status other than success. */
export class LoginRefused extends Error {
  readonly statusClass: number;
  readonly statusDetail: number;
  constructor(statusClass: number, statusDetail: number) {
    super(`login refused, status ${statusClass}/${statusDetail}`);
    this.name = 'LoginRefused';
    this.statusClass = statusClass;
    this.statusDetail = statusDetail;
  }
}

export interface LoginPdu {
  isid: Buffer;
  currentStage: Stage;
  nextStage?: Stage;
  /** The T bit; the default is whether there is a next stage. */
  transit?: boolean;
  /** The C bit: the text goes on in the next request. */
  continues?: boolean;
  tsih?: number;
  cid?: number;
  initiatorTaskTag?: number;
  cmdSN?: number;
  expStatSN?: number;
  versionMax?: number;
  versionMin?: number;
}

/** The header of a Login Request (RFC 7143 11.12). */
export function loginHeader(fields: LoginPdu): Buffer {
  const header = Buffer.alloc(BHS_LENGTH);
  const transit = fields.transit ?? fields.nextStage !== undefined;
  Bhs.opcode.set(header, Opcode.LOGIN_REQUEST | IMMEDIATE);
  Bhs.flags.set(
    header,
    (transit ? LoginFlag.TRANSIT : 0) |
      (fields.continues === true ? LoginFlag.CONTINUE : 0) |
      (fields.currentStage << 2) |
      (fields.nextStage ?? 0),
  );
  LoginRequest.versionMax.set(header, fields.versionMax ?? 0);
  LoginRequest.versionMin.set(header, fields.versionMin ?? 0);
  fields.isid.copy(header, ISID_OFFSET);
  LoginRequest.tsih.set(header, fields.tsih ?? 0);
  LoginRequest.initiatorTaskTag.set(header, fields.initiatorTaskTag ?? 1);
  LoginRequest.cid.set(header, fields.cid ?? 0);
  LoginRequest.cmdSN.set(header, fields.cmdSN ?? 1);
  LoginRequest.expStatSN.set(header, fields.expStatSN ?? 0);
  return header;
}

/** `key=value` pairs, each ended by a NUL (RFC 7143 6.1). */
export function encodeKeys(keys: Keys): Buffer {
  return Buffer.from(
    Object.entries(keys)
      .map(([key, value]) => `${key}=${value}\0`)
      .join(''),
  );
}

/** All pairs of a data segment in order; a key may come more than once, as TargetAddress does. */
export function decodePairs(data: Buffer): [key: string, value: string][] {
  return data
    .toString()
    .split('\0')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const at = pair.indexOf('=');
      return [pair.slice(0, at), pair.slice(at + 1)];
    });
}

export interface LoginOutcome {
  /** What the target declared or chose; what was offered and not answered is absent. */
  answers: Keys;
  tsih: number;
  lastResponse: Pdu;
}

/** Carry out a whole login on a fresh connection. */
export async function performLogin(
  socket: PduSocket,
  isid: Buffer,
  options: LoginOptions,
): Promise<LoginOutcome> {
  const answers: Keys = {};
  const names: Keys = { InitiatorName: options.initiatorName ?? 'iqn.2026-01.example.test:initiator' };
  const { targetName, sessionType = targetName === undefined ? 'Discovery' : 'Normal' } = options;
  names['SessionType'] = sessionType;
  if (targetName !== undefined) names['TargetName'] = targetName;
  const { joins } = options;
  // Of a further connection the session's keys are none of its business (RFC 7143 13: LO).
  if (joins !== undefined) delete names['SessionType'];
  const operational = { ...(joins === undefined ? DEFAULT_KEYS : CONNECTION_KEYS), ...options.keys };

  let response: Pdu | null = null;
  let expStatSN = 0;
  const acceptedAnswer = async (): Promise<Pdu> => {
    const answer = await socket.inbox.next();
    if (answer.opcode !== Opcode.LOGIN_RESPONSE) throw new Error(`opcode ${answer.opcode} during login`);
    const statusClass = LoginResponse.statusClass.get(answer.header);
    if (statusClass !== 0) throw new LoginRefused(statusClass, LoginResponse.statusDetail.get(answer.header));
    Object.assign(answers, Object.fromEntries(decodePairs(answer.data)));
    expStatSN = (LoginResponse.statSN.get(answer.header) + 1) >>> 0;
    return answer;
  };
  const step = async (currentStage: Stage, nextStage: Stage, keys: Keys): Promise<void> => {
    let offered = keys;
    // The target may need several turns in one stage (RFC 7143 6.3): it answers without T until it is content.
    for (;;) {
      socket.send(loginHeader({ isid, currentStage, nextStage, expStatSN, ...joins }), encodeKeys(offered));
      response = await acceptedAnswer();
      if ((LoginResponse.flags.get(response.header) & LoginFlag.TRANSIT) !== 0) return;
      offered = {};
    }
  };
  const authenticate = async (exchange: AuthenticationExchange): Promise<void> => {
    let received = new Map<string, string>();
    let own: Keys = names;
    let hasLeft = false;
    for (;;) {
      const next = exchange.step(received);
      if (next.state === 'failed') throw new TargetRefused(next.reason);
      const keys = { ...own, ...Object.fromEntries(next.keys) };
      own = {};
      if (next.state === 'done') {
        if (!hasLeft) await step(Stage.SECURITY, Stage.OPERATIONAL, keys);
        return;
      }
      const transit = next.isLast === true ? { nextStage: Stage.OPERATIONAL } : {};
      socket.send(
        loginHeader({ isid, currentStage: Stage.SECURITY, ...transit, expStatSN, ...joins }),
        encodeKeys(keys),
      );
      response = await acceptedAnswer();
      hasLeft = (LoginResponse.flags.get(response.header) & LoginFlag.TRANSIT) !== 0;
      received = new Map(decodePairs(response.data).filter(([key]) => isSecurityKey(key)));
    }
  };
  if (options.authentication !== undefined) {
    await authenticate(options.authentication);
    await step(Stage.OPERATIONAL, Stage.FULL_FEATURE, operational);
  } else if (options.withoutSecurity === true) {
    await step(Stage.OPERATIONAL, Stage.FULL_FEATURE, { ...names, ...operational });
  } else {
    await step(Stage.SECURITY, Stage.OPERATIONAL, { ...names, AuthMethod: 'None' });
    await step(Stage.OPERATIONAL, Stage.FULL_FEATURE, operational);
  }
  const lastResponse = response!;
  socket.headerDigest = answers['HeaderDigest'] === 'CRC32C';
  socket.dataDigest = answers['DataDigest'] === 'CRC32C';
  return { answers, tsih: LoginResponse.tsih.get(lastResponse.header), lastResponse };
}
