/**
 * The initiator's side of the login phase (RFC 7143 6.3), sans-I/O: one Login Response in, the next request or
 * the outcome out. The keys are run by {@link Negotiation}, as the target's are; authentication is
 * {@link InitiatorAuthentication}.
 */

import { RiserError } from '../../util/errors.js';
import { Bhs, BHS_LENGTH, ISID_OFFSET, LoginRequest, LoginResponse } from '../wire/headers.js';
import { IMMEDIATE, LoginFlag, Opcode, OPCODE_MASK } from '../wire/opcodes.js';
import { buildText, parseText, TextAssembler, type TextPair } from '../wire/text.js';
import { InitiatorAuthentication, type InitiatorAuthenticationOptions } from './chap-initiator.js';
import { forNextConnection, isSecurityKey, type OperationalParameters } from './keys.js';
import { Negotiation } from './negotiation.js';
import { INITIATOR_OFFER, ISER_INITIATOR_OFFER, type Offer } from './offer.js';
import { LoginStatus, loginStatusOf } from './status.js';
import { LOGIN_DATA_SEGMENT_LIMIT, LoginStage } from './target-login.js';
import { parseNumber } from './values.js';

/** Responses after which a target is taken to go on forever. */
const LOGIN_RESPONSE_LIMIT = 32;

export interface InitiatorLoginOptions {
  initiatorName: string;
  initiatorAlias?: string;
  /** Null: a discovery session. */
  targetName: string | null;
  /** Six bytes (RFC 7143 11.12.5). A session that has the same ISID as an earlier one takes its place. */
  isid: Buffer;
  /** CmdSN of the first command. */
  initialCmdSN: number;
  /** Null: only AuthMethod=None is offered. */
  authentication?: InitiatorAuthenticationOptions | null;
  /** {@link INITIATOR_OFFER} by default. */
  offer?: Offer;
  /** The connection is over RDMA: a target that does not agree to that is left (RFC 7145 5.1). */
  isRdma?: boolean;
  /** Adds a connection to the session with this `tsih`, which has agreed on `parameters`; absent: a new session. */
  joins?: { tsih: number; cid: number; parameters: OperationalParameters };
}

/** A Login Request to send. */
export interface LoginRequestPdu {
  /** 48 bytes, all fields set but the lengths. */
  readonly header: Buffer;
  /** Text without padding. */
  readonly data: Buffer;
}

/** A successful login, seen from the initiator. */
export interface InitiatorLoginResult {
  readonly tsih: number;
  readonly parameters: OperationalParameters;
  /** Null if not declared. */
  readonly targetAlias: string | null;
  /** Null if not declared. */
  readonly portalGroupTag: number | null;
  readonly cmdSN: number;
  readonly maxCmdSN: number;
  /** StatSN that the target's next response will have. */
  readonly expStatSN: number;
}

/** What follows from one Login Response. */
export type InitiatorLoginOutcome =
  | { readonly request: LoginRequestPdu }
  | { readonly result: InitiatorLoginResult }
  | { readonly refused: LoginRefused };

/** The target refused the login, or broke its rules. */
export class LoginRefused extends RiserError {
  /** What the target answered; null when it is us who refused. */
  readonly status: LoginStatus | null;
  /** With a TARGET_MOVED status: where to, as `host:port` with IPv6 in brackets. */
  readonly redirect: string | null;

  constructor(
    message: string,
    status: LoginStatus | null = null,
    { redirect = null, code }: { redirect?: string | null; code?: string } = {},
  ) {
    const remedy = status === null ? undefined : REMEDIES[status.code];
    super(code ?? (status === null ? 'LOGIN_PROTOCOL' : 'LOGIN_REFUSED'), message, {
      by: 'peer',
      costs: 'session',
      ...(remedy !== undefined && { remedy }),
    });
    this.name = 'LoginRefused';
    this.status = status;
    this.redirect = redirect;
  }
}

const REMEDIES: Readonly<Record<number, string>> = {
  [LoginStatus.AUTHENTICATION_FAILURE.code]:
    'Check the CHAP user and secret, and whether the target wants CHAP.',
  [LoginStatus.AUTHORIZATION_FAILURE.code]:
    'Ask the administrator of the target to admit this initiator name.',
  [LoginStatus.NOT_FOUND.code]:
    'Look at what the portal offers (riser discover), and whether this initiator may see it.',
};

export class InitiatorLogin {
  readonly #options: InitiatorLoginOptions;
  readonly #negotiation: Negotiation;
  readonly #assembler = new TextAssembler();
  #stage: number = LoginStage.SECURITY;
  /** The T bit of the last request. */
  #transit = false;
  readonly #authentication: InitiatorAuthentication;
  /** Whether AuthMethod=None is all that was offered. */
  readonly #isOpen: boolean;
  #isAuthenticated = false;
  #expStatSN = 0;
  #responses = 0;
  #tsih: number;

  constructor(options: InitiatorLoginOptions) {
    this.#options = options;
    const { authentication, joins } = options;
    this.#tsih = joins?.tsih ?? 0;
    this.#isOpen = (authentication?.user ?? null) === null;
    this.#authentication = new InitiatorAuthentication(authentication ?? { user: null });
    this.#negotiation = new Negotiation({
      role: 'initiator',
      offer: options.offer ?? (options.isRdma === true ? ISER_INITIATOR_OFFER : INITIATOR_OFFER),
      sessionType: options.targetName === null ? 'Discovery' : 'Normal',
      leading: joins === undefined,
      ...(joins !== undefined && { parameters: forNextConnection(joins.parameters) }),
    });
  }

  /** The first request: who, to what, and which ways to show it. */
  start(): LoginRequestPdu {
    const { initiatorName, initiatorAlias, targetName, joins } = this.#options;
    const pairs: TextPair[] = [{ key: 'InitiatorName', value: initiatorName }];
    if (initiatorAlias !== undefined) pairs.push({ key: 'InitiatorAlias', value: initiatorAlias });
    // A key of the leading login (RFC 7143 13.21).
    if (joins === undefined)
      pairs.push({ key: 'SessionType', value: targetName === null ? 'Discovery' : 'Normal' });
    if (targetName !== null) pairs.push({ key: 'TargetName', value: targetName });
    const step = this.#authentication.step(new Map());
    if (step.state === 'continue') pairs.push(...asPairs(step.keys));
    return this.#request(pairs, this.#isOpen);
  }

  /** Take one PDU; never throws. Both arguments are only read during the call. */
  handleResponse(header: Buffer, data: Buffer): InitiatorLoginOutcome {
    const wrong = this.#checkHeader(header);
    if (wrong !== null) return { refused: wrong };
    this.#expStatSN = (LoginResponse.statSN.get(header) + 1) >>> 0;
    if (!this.#assembler.append(data)) return broken('login text that is too long');
    const flags = Bhs.flags.get(header);
    const status = (LoginResponse.statusClass.get(header) << 8) | LoginResponse.statusDetail.get(header);
    if (status === 0 && (flags & LoginFlag.CONTINUE) !== 0) return this.#next([], false);
    const text = parseText(this.#assembler.take());
    // A refusal stands whatever its text is.
    if (status !== 0) return { refused: refusal(status, 'error' in text ? [] : text.pairs) };
    if ('error' in text) return broken(`text that cannot be read: ${text.error}`);
    if (LoginResponse.tsih.get(header) !== 0) this.#tsih = LoginResponse.tsih.get(header);
    const isTransit = (flags & LoginFlag.TRANSIT) !== 0;
    if (isTransit && !this.#transit) return broken('a transition that was not asked for');
    return this.#stage === LoginStage.SECURITY
      ? this.#security(text.pairs, isTransit)
      : this.#operational(text.pairs, isTransit, header);
  }

  #checkHeader(header: Buffer): LoginRefused | null {
    const opcode = Bhs.opcode.get(header) & OPCODE_MASK;
    if (opcode !== Opcode.LOGIN_RESPONSE)
      return new LoginRefused(`the target sent a PDU with opcode 0x${opcode.toString(16)} during login`);
    if (++this.#responses > LOGIN_RESPONSE_LIMIT)
      return new LoginRefused(`the login is not over after ${LOGIN_RESPONSE_LIMIT} responses`);
    // A refusal leaves the stages and the version open (RFC 7143 11.13).
    if (LoginResponse.statusClass.get(header) !== 0) return null;
    if (LoginResponse.versionActive.get(header) !== 0)
      return new LoginRefused(
        `the target speaks version ${LoginResponse.versionActive.get(header)}, only 0 exists`,
      );
    const flags = Bhs.flags.get(header);
    const stage = (flags >> 2) & 3;
    if (stage !== this.#stage)
      return new LoginRefused(`the target answers in stage ${stage} while in ${this.#stage}`);
    if ((flags & LoginFlag.TRANSIT) !== 0 && (flags & LoginFlag.CONTINUE) !== 0)
      return new LoginRefused('the target set both T and C');
    if ((flags & LoginFlag.TRANSIT) !== 0 && (flags & 3) !== this.#nextStage)
      return new LoginRefused(`the target goes on to stage ${flags & 3}`);
    return null;
  }

  get #nextStage(): number {
    return this.#stage === LoginStage.SECURITY ? LoginStage.OPERATIONAL : LoginStage.FULL_FEATURE;
  }

  #security(pairs: readonly TextPair[], isTransit: boolean): InitiatorLoginOutcome {
    const keys = new Map<string, string>();
    for (const { key, value } of pairs) {
      if (!isSecurityKey(key)) continue;
      if (keys.has(key)) return broken(`${key} twice`);
      keys.set(key, value);
    }
    const received = this.#negotiation.receive(
      pairs.filter(({ key }) => !isSecurityKey(key)),
      'security',
    );
    if ('violation' in received) return broken(received.violation);
    // A target that wants no authentication may pass over the key and go on (RFC 7143 6.3.2).
    if (this.#isOpen && !this.#isAuthenticated && !keys.has('AuthMethod')) keys.set('AuthMethod', 'None');
    const step = this.#authentication.step(keys);
    if (step.state === 'failed') {
      const message = `authentication failed: ${step.reason}`;
      return { refused: new LoginRefused(message, null, { code: 'AUTHENTICATION' }) };
    }
    this.#isAuthenticated = step.state === 'done';
    if (isTransit) {
      if (!this.#isAuthenticated || step.keys.length > 0)
        return broken('the end of authentication before it was complete');
      this.#stage = LoginStage.OPERATIONAL;
      return this.#next(this.#negotiation.propose('operational'), true);
    }
    const isLast = step.state === 'done' || step.isLast === true;
    return this.#next([...received.answers, ...asPairs(step.keys)], isLast);
  }

  #operational(pairs: readonly TextPair[], isTransit: boolean, header: Buffer): InitiatorLoginOutcome {
    const received = this.#negotiation.receive(pairs, 'operational');
    if ('violation' in received) return broken(received.violation);
    if (!isTransit) return this.#next(received.answers, true);
    const missing = this.#negotiation.conclude();
    if (missing !== null) return broken(`an end of the negotiation although ${missing}`);
    if (this.#tsih === 0) return broken('no TSIH');
    const parameters = this.#negotiation.result();
    const { isRdma, targetName } = this.#options;
    if (isRdma === true && targetName !== null && !parameters.rdmaExtensions)
      return broken('no agreement to RDMAExtensions=Yes on a connection over RDMA');
    const portalGroupTag = this.#negotiation.declarations.get('TargetPortalGroupTag');
    return {
      result: {
        tsih: this.#tsih,
        parameters,
        targetAlias: this.#negotiation.declarations.get('TargetAlias') ?? null,
        portalGroupTag: portalGroupTag === undefined ? null : parseNumber(portalGroupTag),
        cmdSN: this.#options.initialCmdSN,
        maxCmdSN: LoginResponse.maxCmdSN.get(header),
        expStatSN: this.#expStatSN,
      },
    };
  }

  /** Only a target that asks for nonsense, in many keys that do not exist, gets more text than one PDU takes. */
  #next(pairs: readonly TextPair[], transit: boolean): InitiatorLoginOutcome {
    const request = this.#request(pairs, transit);
    return request.data.length > LOGIN_DATA_SEGMENT_LIMIT
      ? broken('more keys than can be answered')
      : { request };
  }

  #request(pairs: readonly TextPair[], transit: boolean): LoginRequestPdu {
    const data = buildText(pairs);
    const header = Buffer.alloc(BHS_LENGTH);
    this.#transit = transit;
    Bhs.opcode.set(header, Opcode.LOGIN_REQUEST | IMMEDIATE);
    Bhs.flags.set(header, (this.#stage << 2) | (transit ? LoginFlag.TRANSIT | this.#nextStage : 0));
    this.#options.isid.copy(header, ISID_OFFSET);
    LoginRequest.tsih.set(header, this.#options.joins?.tsih ?? 0);
    LoginRequest.cid.set(header, this.#options.joins?.cid ?? 0);
    LoginRequest.initiatorTaskTag.set(header, 0);
    LoginRequest.cmdSN.set(header, this.#options.initialCmdSN);
    LoginRequest.expStatSN.set(header, this.#expStatSN);
    return { header, data };
  }
}

function refusal(code: number, pairs: readonly TextPair[]): LoginRefused {
  const status = loginStatusOf(code) ?? null;
  const text = status?.text ?? `status 0x${code.toString(16).padStart(4, '0')}`;
  const address = pairs.find(({ key }) => key === 'TargetAddress')?.value ?? null;
  // RFC 7143 13.8: the portal group tag is left out in a redirection; some targets send it all the same.
  const redirect = address?.replace(/,\d+$/, '') ?? null;
  return new LoginRefused(`the target refused the login: ${text}`, status, {
    redirect,
    code: 'LOGIN_REFUSED',
  });
}

function broken(what: string, code?: string): { refused: LoginRefused } {
  const options = code === undefined ? {} : { code };
  return { refused: new LoginRefused(`the target sent ${what}`, null, options) };
}

function asPairs(keys: readonly (readonly [string, string])[]): TextPair[] {
  return keys.map(([key, value]) => ({ key, value }));
}
