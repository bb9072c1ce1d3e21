/**
 * The target's side of the login phase (RFC 7143 6.3), sans-I/O: one Login Request in, one outcome out.
 *
 * Stages are a table; what a request says is decided by the negotiation (operational keys), by the
 * security stage (authentication) and by the policy (targets, sessions). This file holds them
 * together: header fields, order of stages, continuation, numbering, statuses.
 */

import { BHS_LENGTH, Bhs, ISID_LENGTH, ISID_OFFSET, LoginRequest, LoginResponse } from '../wire/headers.js';
import { LoginFlag, Opcode, OPCODE_MASK } from '../wire/opcodes.js';
import { serialAdd } from '../../util/serial.js';
import { buildText, parseText, quote, TextAssembler, type TextPair, TextSplitter } from '../wire/text.js';
import { formatIsid, receiveIscsiName } from '../names.js';
import { DEFAULT_PARAMETERS, forNextConnection, isSecurityKey, type OperationalParameters } from './keys.js';
import { Negotiation } from './negotiation.js';
import { ISER_TARGET_OFFER, type Offer, TARGET_OFFER } from './offer.js';
import type {
  Authenticator,
  ExistingSession,
  LoginIdentity,
  RecoveryOffer,
  LoginPolicy,
  LoginRefusal,
  SessionType,
} from './policy.js';
import { SecurityStage } from './security-stage.js';
import { LoginStatus } from './status.js';

/** The longest data segment of a Login PDU, bytes: the default MaxRecvDataSegmentLength (RFC 7143 6.3). */
export const LOGIN_DATA_SEGMENT_LIMIT = 8192;
/** Login Requests after which a login is given up; RFC 7143 6.2 asks for 6 at least. */
export const LOGIN_REQUEST_LIMIT = 32;

export interface TargetLoginOptions {
  policy: LoginPolicy;
  /** Null: nobody is authenticated. */
  authenticator: Authenticator | null;
  /** Where the initiator connects from, for the policy and for logs. */
  initiatorAddress: string;
  /** How many commands the initiator may have open: MaxCmdSN = ExpCmdSN + commandWindow - 1. */
  commandWindow: number;
  /**
   * StatSN of the first Login Response. By default that is the ExpStatSN of the first request: any value
   * will do, and an initiator that never looks at the first one (libiscsi) expects this.
   */
  initialStatSN?: number;
  /** {@link TARGET_OFFER} by default, and {@link ISER_TARGET_OFFER} over RDMA. */
  offer?: Offer;
  /** Over TCP: RDMA can take over when the login is over (RFC 7145 5.1). */
  mayEnterRdma?: boolean;
  /** The connection is over RDMA: a normal session must agree to that (RFC 7145 5.1). */
  isRdma?: boolean;
}

/** A Login Response to send. */
export interface LoginResponsePdu {
  /** 48 bytes, all fields set, DataSegmentLength included. */
  readonly header: Buffer;
  /** Text, without padding; at most 8192 bytes. */
  readonly data: Buffer;
}

/** What follows from one PDU of the login phase. */
export interface LoginOutcome {
  /** Null only if `close` is true: the connection is closed without an answer (RFC 7143 4.2.4). */
  readonly response: LoginResponsePdu | null;
  /** Close the connection once `response` has left. */
  readonly close: boolean;
  /** Set together with the response that opens the full feature phase. */
  readonly result: LoginResult | null;
  /** Status sent; null when nothing is sent. */
  readonly status: LoginStatus | null;
  /** One line for the log when `close`; empty otherwise. */
  readonly reason: string;
}

/** A successful login. */
export interface LoginResult {
  /** Who logged in, to what; its `tsih` is the one requested. */
  readonly identity: LoginIdentity;
  /** The session's TSIH, as the policy gave it. */
  readonly tsih: number;
  /** The name that the initiator has been authenticated by (CHAP_N); null if it has not. */
  readonly user: string | null;
  /** Null if not declared. */
  readonly initiatorAlias: string | null;
  readonly parameters: OperationalParameters;
  /** ExpCmdSN: the CmdSN of the first command of the full feature phase (RFC 7143 11.12.8). */
  readonly expCmdSN: number;
  /** StatSN of the next response. */
  readonly statSN: number;
}

/** Stage codes of CSG and NSG (RFC 7143 11.12.3). */
export const LoginStage = { SECURITY: 0, OPERATIONAL: 1, FULL_FEATURE: 3 } as const;

/** The stages a login may be in, and where each may lead (RFC 7143 6.3, table of transitions). */
const STAGES: Readonly<
  Record<number, { name: string; stage: 'security' | 'operational'; next: readonly number[] }>
> = {
  [LoginStage.SECURITY]: {
    name: 'SecurityNegotiation',
    stage: 'security',
    next: [LoginStage.OPERATIONAL, LoginStage.FULL_FEATURE],
  },
  [LoginStage.OPERATIONAL]: {
    name: 'LoginOperationalNegotiation',
    stage: 'operational',
    next: [LoginStage.FULL_FEATURE],
  },
};

/**
 * What holds over RDMA where nothing is said. RFC 7145 6.9 has No: Linux' initiator declares nothing, but does as if it had
 * declared Yes, and Linux' target takes it so.
 */
const ISER_DEFAULTS: OperationalParameters = {
  ...DEFAULT_PARAMETERS,
  taggedBufferForSolicitedDataOnly: true,
};

/** The one version there is (RFC 7143 11.12.4). */
const VERSION = 0;

const refuse = (refusal: LoginStatus, reason: string): LoginRefusal => ({ refusal, reason });

/** What the first complete text settles. */
interface Begun {
  readonly identity: LoginIdentity;
  readonly negotiation: Negotiation;
  readonly security: SecurityStage;
  /** Declarations of the first response. */
  readonly greeting: readonly TextPair[];
}

/**
 * One login of one connection.
 *
 * @example
 * const login = new TargetLogin({ policy, authenticator: null, initiatorAddress: '192.0.2.7', commandWindow: 128 });
 * const outcome = login.handleRequest(header, data);
 * if (outcome.response !== null) send(outcome.response.header, outcome.response.data);
 */
export class TargetLogin {
  readonly #options: TargetLoginOptions;
  readonly #offer: Offer;
  readonly #assembler = new TextAssembler();
  readonly #splitter = new TextSplitter();
  /** A copy of the first request's header; null before it came. */
  #first: Buffer | null = null;
  #begun: Begun | null = null;
  /** The session that the connection is added to; null for a new one. */
  #existing: ExistingSession | null = null;
  /** CSG in force. */
  #stage: number = LoginStage.SECURITY;
  #statSN = 0;
  #requests = 0;
  #over = false;

  constructor(options: TargetLoginOptions) {
    this.#options = options;
    const { isRdma = false, mayEnterRdma = false } = options;
    this.#offer =
      options.offer ?? (isRdma ? ISER_TARGET_OFFER : { ...TARGET_OFFER, rdmaExtensions: mayEnterRdma });
  }

  /**
   * Take one PDU; never throws.
   *
   * `header`: its 48 bytes, whatever its opcode. `data`: its data segment without padding. Both are only
   * read during the call.
   */
  handleRequest(header: Buffer, data: Buffer): LoginOutcome {
    if (this.#over) return closed('PDU after the end of the login phase');
    const opcode = Bhs.opcode.get(header) & OPCODE_MASK;
    if (this.#first === null) {
      // RFC 7143 4.2.4: anything but a Login Request before the login begins ends the connection at once.
      if (opcode !== Opcode.LOGIN_REQUEST) {
        this.#over = true;
        return closed(`opcode 0x${opcode.toString(16)} before login`);
      }
      this.#first = Buffer.from(header.subarray(0, BHS_LENGTH));
      this.#stage = currentStage(header);
      this.#statSN = this.#options.initialStatSN ?? LoginRequest.expStatSN.get(header);
    }
    const next =
      opcode === Opcode.LOGIN_REQUEST
        ? this.#take(header, data, this.#first)
        : refuse(LoginStatus.INVALID_DURING_LOGIN, `opcode 0x${opcode.toString(16)} during login`);
    return 'refusal' in next ? this.#reject(next, this.#first) : next;
  }

  #take(header: Buffer, data: Buffer, first: Buffer): LoginOutcome | LoginRefusal {
    const wrong = this.#checkHeader(header, data, first);
    if (wrong !== null) return wrong;
    if (this.#splitter.pending) {
      // RFC 7143 6.2: while our text continues, requests carry none.
      if (data.length > 0) return refuse(LoginStatus.INITIATOR_ERROR, 'text sent while the answer continues');
      return this.#respond(header, first);
    }
    if (!this.#assembler.append(data)) return refuse(LoginStatus.INITIATOR_ERROR, 'login text is too long');
    if (hasFlag(header, LoginFlag.CONTINUE)) return this.#respond(header, first);
    const text = parseText(this.#assembler.take());
    if ('error' in text) return refuse(LoginStatus.INITIATOR_ERROR, text.error);
    const answers = this.#answer(text.pairs, header, first);
    if ('refusal' in answers) return answers;
    this.#splitter.start(buildText(answers));
    return this.#respond(header, first);
  }

  #checkHeader(header: Buffer, data: Buffer, first: Buffer): LoginRefusal | null {
    const initiatorError = (reason: string): LoginRefusal => refuse(LoginStatus.INITIATOR_ERROR, reason);
    // RFC 7143 11.12.4: the range of the first request counts.
    if (LoginRequest.versionMin.get(first) > VERSION) {
      return refuse(
        LoginStatus.UNSUPPORTED_VERSION,
        `versions ${LoginRequest.versionMin.get(first)} to ${LoginRequest.versionMax.get(first)} asked for, only 0 exists`,
      );
    }
    if (++this.#requests > LOGIN_REQUEST_LIMIT)
      return initiatorError(`more than ${LOGIN_REQUEST_LIMIT} requests`);
    if (data.length > LOGIN_DATA_SEGMENT_LIMIT) return initiatorError(`data segment of ${data.length} bytes`);
    if (Bhs.totalAHSLength.get(header) !== 0)
      return initiatorError('Login Request with an additional header');
    if (!isidOf(header).equals(isidOf(first))) return initiatorError('ISID changed during login');
    for (const field of ['tsih', 'cid', 'initiatorTaskTag'] as const) {
      if (LoginRequest[field].get(header) !== LoginRequest[field].get(first)) {
        return initiatorError(
          `${field === 'initiatorTaskTag' ? field : field.toUpperCase()} changed during login`,
        );
      }
    }
    const stage = currentStage(header);
    const rule = STAGES[stage];
    if (rule === undefined) return initiatorError(`login in stage ${stage}`);
    if (stage !== this.#stage) {
      return initiatorError(`CSG is ${rule.name} while in ${STAGES[this.#stage]?.name ?? 'no stage'}`);
    }
    if (!hasFlag(header, LoginFlag.TRANSIT)) return null;
    // RFC 7143 11.12.2
    if (hasFlag(header, LoginFlag.CONTINUE)) return initiatorError('both T and C are set');
    if (!rule.next.includes(nextStage(header))) {
      return initiatorError(`transition from ${rule.name} to stage ${nextStage(header)}`);
    }
    return null;
  }

  /** Answer one complete text in the current stage. */
  #answer(pairs: readonly TextPair[], header: Buffer, first: Buffer): readonly TextPair[] | LoginRefusal {
    const answers: TextPair[] = [];
    if (this.#begun === null) {
      const begun = this.#begin(pairs, first);
      if ('refusal' in begun) return begun;
      this.#begun = begun;
      answers.push(...begun.greeting);
    }
    const { negotiation, security } = this.#begun;
    const stage = STAGES[this.#stage]!.stage;
    let rest = pairs;
    if (stage === 'security') {
      const keys = pairs.filter(({ key }) => isSecurityKey(key));
      rest = pairs.filter(({ key }) => !isSecurityKey(key));
      const answer = security.handle(keys, hasFlag(header, LoginFlag.TRANSIT));
      if ('refusal' in answer) return answer;
      answers.push(...answer);
    }
    const received = negotiation.receive(rest, stage);
    if ('violation' in received) return refuse(LoginStatus.INITIATOR_ERROR, received.violation);
    answers.push(...received.answers, ...negotiation.propose(stage));
    return answers;
  }

  /** The first complete text: who is it, to what, and may that be (RFC 7143 6.3.1). */
  #begin(pairs: readonly TextPair[], first: Buffer): Begun | LoginRefusal {
    const { policy, authenticator, initiatorAddress } = this.#options;
    const declared = (key: string): string | undefined => pairs.find((pair) => pair.key === key)?.value;
    const initiatorText = declared('InitiatorName');
    if (initiatorText === undefined) return refuse(LoginStatus.MISSING_PARAMETER, 'InitiatorName is missing');
    const initiatorName = receiveIscsiName(initiatorText);
    if (initiatorName === null)
      return refuse(LoginStatus.INITIATOR_ERROR, `InitiatorName=${quote(initiatorText)}`);
    const sessionType = declared('SessionType') ?? 'Normal';
    if (!isSessionType(sessionType)) {
      return refuse(LoginStatus.SESSION_TYPE_NOT_SUPPORTED, `SessionType=${quote(sessionType)}`);
    }
    const targetText = declared('TargetName');
    let target: LoginIdentity['target'] = null;
    if (targetText !== undefined) {
      const name = receiveIscsiName(targetText);
      if (name === null) return refuse(LoginStatus.INITIATOR_ERROR, `TargetName=${quote(targetText)}`);
      const found = policy.findTarget(name, initiatorName);
      if ('refusal' in found) return found;
      target = found;
    } else if (sessionType === 'Normal') {
      return refuse(LoginStatus.MISSING_PARAMETER, 'TargetName is missing');
    }
    const isid = Buffer.from(isidOf(first));
    const identity: LoginIdentity = {
      sessionType,
      initiatorName,
      isid,
      isidHex: formatIsid(isid),
      tsih: LoginRequest.tsih.get(first),
      cid: LoginRequest.cid.get(first),
      target,
      initiatorAddress,
    };
    const refused = policy.admit(identity) ?? this.#checkSession(identity);
    if (refused !== null) return refused;
    const security = new SecurityStage(identity, authenticator);
    if (this.#stage !== LoginStage.SECURITY && !security.mayBeSkipped) {
      return refuse(
        LoginStatus.AUTHENTICATION_FAILURE,
        'SecurityNegotiation is skipped, authentication is required',
      );
    }
    return {
      identity,
      negotiation: new Negotiation({
        role: 'target',
        // Over RDMA nothing is damaged, and there is no SNACK (RFC 7145 7.3.11).
        offer:
          this.#options.isRdma === true ? this.#offer : withRecovery(this.#offer, target?.recovery ?? {}),
        ...(this.#options.mayEnterRdma === true && { rdmaOffer: ISER_TARGET_OFFER }),
        sessionType,
        leading: identity.tsih === 0,
        ...((this.#options.isRdma === true || this.#options.mayEnterRdma === true) && {
          parameters: ISER_DEFAULTS,
        }),
        ...(this.#existing !== null && { parameters: forNextConnection(this.#existing.parameters) }),
      }),
      security,
      greeting: greetingOf(identity),
    };
  }

  /** A non-zero TSIH adds to a session that must exist and have room (RFC 7143 6.3.1). */
  #checkSession(identity: LoginIdentity): LoginRefusal | null {
    if (identity.tsih === 0) return null;
    const session = this.#options.policy.findSession(identity);
    if (session === null) {
      return refuse(LoginStatus.SESSION_DOES_NOT_EXIST, `no session has TSIH ${identity.tsih}`);
    }
    this.#existing = session;
    // One that has the same CID takes the place of the old one (RFC 7143 6.3.4).
    const others = session.connectionIds.filter((cid) => cid !== identity.cid);
    // One more may come to clean up after one that is lost (RFC 7143 6.3.4).
    const forCleanup = session.parameters.errorRecoveryLevel === 2 ? 1 : 0;
    if (others.length >= session.maxConnections + forCleanup) {
      return refuse(
        LoginStatus.TOO_MANY_CONNECTIONS,
        `session ${identity.tsih} has its ${session.maxConnections} connection(s)`,
      );
    }
    return null;
  }

  /** The response to an accepted request: the next part of our text, and the transition if both are ready. */
  #respond(header: Buffer, first: Buffer): LoginOutcome | LoginRefusal {
    const data = this.#splitter.next(LOGIN_DATA_SEGMENT_LIMIT);
    const begun = this.#begun;
    const ready =
      begun !== null &&
      !this.#splitter.pending &&
      (this.#stage !== LoginStage.SECURITY || begun.security.done);
    const transit = ready && hasFlag(header, LoginFlag.TRANSIT);
    let flags = this.#stage << 2;
    if (this.#splitter.pending) flags |= LoginFlag.CONTINUE;
    let tsih = LoginRequest.tsih.get(first);
    if (transit) {
      const next = nextStage(header);
      flags |= LoginFlag.TRANSIT | next;
      if (next === LoginStage.FULL_FEATURE) {
        if (this.#lacksRdmaExtensions(begun))
          return refuse(LoginStatus.INITIATOR_ERROR, 'a session over RDMA without RDMAExtensions=Yes');
        const opened = this.#options.policy.openSession(begun.identity, begun.security.user);
        if ('refusal' in opened) return opened;
        tsih = opened.tsih;
      }
      this.#stage = next;
    }
    const response = { header: this.#header(first, LoginStatus.SUCCESS, flags, tsih, data.length), data };
    const result =
      this.#stage === LoginStage.FULL_FEATURE && begun !== null ? this.#finish(begun, first, tsih) : null;
    return { response, close: false, result, status: LoginStatus.SUCCESS, reason: '' };
  }

  /** RFC 7145 5.1, 6.3: that is not asked of discovery sessions. */
  #lacksRdmaExtensions({ identity, negotiation }: Begun): boolean {
    if (this.#options.isRdma !== true || identity.sessionType === 'Discovery') return false;
    return !negotiation.result().rdmaExtensions;
  }

  #finish({ identity, negotiation, security }: Begun, first: Buffer, tsih: number): LoginResult {
    this.#over = true;
    return {
      identity,
      tsih,
      user: security.user,
      initiatorAlias: negotiation.declarations.get('InitiatorAlias') ?? null,
      parameters: negotiation.result(),
      expCmdSN: LoginRequest.cmdSN.get(first),
      statSN: this.#statSN,
    };
  }

  #reject({ refusal, reason, redirect }: LoginRefusal, first: Buffer): LoginOutcome {
    this.#over = true;
    const data =
      redirect === undefined ? buildText([]) : buildText([{ key: 'TargetAddress', value: redirect }]);
    // RFC 7143 6.3.1: T, CSG and NSG are reserved in a reject.
    const header = this.#header(first, refusal, 0, LoginRequest.tsih.get(first), data.length);
    return {
      response: { header, data },
      close: true,
      result: null,
      status: refusal,
      reason: `${refusal.text}: ${reason}`,
    };
  }

  #header(first: Buffer, status: LoginStatus, flags: number, tsih: number, dataLength: number): Buffer {
    const header = Buffer.alloc(BHS_LENGTH);
    LoginResponse.opcode.set(header, Opcode.LOGIN_RESPONSE);
    LoginResponse.flags.set(header, flags);
    LoginResponse.versionMax.set(header, VERSION);
    LoginResponse.versionActive.set(header, VERSION);
    LoginResponse.dataSegmentLength.set(header, dataLength);
    isidOf(first).copy(header, ISID_OFFSET);
    LoginResponse.tsih.set(header, tsih);
    LoginResponse.initiatorTaskTag.set(header, LoginRequest.initiatorTaskTag.get(first));
    LoginResponse.statSN.set(header, this.#statSN);
    this.#statSN = serialAdd(this.#statSN, 1);
    // RFC 7143 11.12.8: the CmdSN of the leading login is the first ExpCmdSN.
    const expCmdSN = this.#existing?.expCmdSN ?? LoginRequest.cmdSN.get(first);
    const maxCmdSN = this.#existing?.maxCmdSN ?? serialAdd(expCmdSN, this.#options.commandWindow - 1);
    LoginResponse.expCmdSN.set(header, expCmdSN);
    LoginResponse.maxCmdSN.set(header, maxCmdSN);
    LoginResponse.statusClass.set(header, status.statusClass);
    LoginResponse.statusDetail.set(header, status.statusDetail);
    return header;
  }
}

/**
 * TargetPortalGroupTag, and the alias if there is one, go with the first response that may carry
 * text (RFC 7143 13.9, 13.6). An unnamed discovery session has no portal group (RFC 7143 7.4.2).
 */
function greetingOf({ target, sessionType }: LoginIdentity): TextPair[] {
  if (target === null) return [];
  const greeting = [{ key: 'TargetPortalGroupTag', value: String(target.portalGroupTag) }];
  if (target.alias !== null && sessionType === 'Normal')
    greeting.push({ key: 'TargetAlias', value: target.alias });
  return greeting;
}

/** `offer` with what a target's sessions may agree on. Of several connections, one for another too, responses are in no order: there is no fence. */
function withRecovery(offer: Offer, recovery: Partial<RecoveryOffer>): Offer {
  const isFenced = (recovery.maxConnections ?? 1) === 1 && recovery.errorRecoveryLevel !== 2;
  const hasTasks = recovery.errorRecoveryLevel === 2;
  return {
    ...offer,
    // What is retained is there at once: nobody needs to wait for it.
    ...(hasTasks && { defaultTime2Wait: 0 }),
    ...recovery,
    ...(!isFenced && { taskReporting: ['RFC3720'] }),
  };
}

function closed(reason: string): LoginOutcome {
  return { response: null, close: true, result: null, status: null, reason };
}

const currentStage = (header: Buffer): number => (LoginRequest.flags.get(header) >> 2) & 3;
const nextStage = (header: Buffer): number => LoginRequest.flags.get(header) & 3;
const hasFlag = (header: Buffer, flag: number): boolean => (LoginRequest.flags.get(header) & flag) !== 0;
const isidOf = (header: Buffer): Buffer => header.subarray(ISID_OFFSET, ISID_OFFSET + ISID_LENGTH);

function isSessionType(text: string): text is SessionType {
  return text === 'Normal' || text === 'Discovery';
}
