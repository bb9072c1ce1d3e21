/**
 * Runs the table of keys for one side of a negotiation (RFC 7143 6.2), either role, sans-I/O: pairs in,
 * pairs out. One instance serves a login, or one negotiation of the full feature phase.
 */

import { quote, type TextPair } from '../wire/text.js';
import {
  allowedIn,
  type BooleanKey,
  DEFAULT_PARAMETERS,
  isSecurityKey,
  type KeyRule,
  keyRule,
  KEYS,
  type ListKey,
  type NegotiationState,
  type NumberKey,
  type OperationalParameters,
  type Role,
  type Stage,
} from './keys.js';
import type { Offer } from './offer.js';
import type { SessionType } from './policy.js';
import { formatBoolean, parseBoolean, parseList, parseNumber, VALUE_LIMIT } from './values.js';

/** Answers that are no values (RFC 7143 6.2). */
const NOT_UNDERSTOOD = 'NotUnderstood';
const IRRELEVANT = 'Irrelevant';
const REJECT = 'Reject';
const NONE = 'None';
const RESERVED: ReadonlySet<string> = new Set([NOT_UNDERSTOOD, IRRELEVANT, REJECT]);

type NegotiatedKey = BooleanKey | NumberKey | ListKey;

/** Pairs to send back in order, or the rule that the peer broke, as a sentence. */
export type Received = { readonly answers: readonly TextPair[] } | { readonly violation: string };

export interface NegotiationOptions {
  role: Role;
  offer: Offer;
  /** What takes its place once RDMAExtensions=Yes is agreed on; the same by default. */
  rdmaOffer?: Offer;
  sessionType: SessionType;
  /** On the first connection of a session: keys for leading logins are allowed. */
  leading: boolean;
  /** Values in force before; the defaults if not given. */
  parameters?: Readonly<OperationalParameters>;
}

export class Negotiation {
  /** What the peer declared as text: InitiatorName, InitiatorAlias and the like. */
  readonly declarations = new Map<string, string>();

  readonly #role: Role;
  readonly #peer: Role;
  readonly #tcpOffer: Offer;
  readonly #rdmaOffer: Offer;
  readonly #leading: boolean;
  readonly #state: { sessionType: SessionType; parameters: OperationalParameters };
  /** Keys received, with the stage they came in first. */
  readonly #received = new Map<string, Stage>();
  /** Keys this side sent unasked, with the value. */
  readonly #sent = new Map<string, string>();

  constructor(options: NegotiationOptions) {
    this.#role = options.role;
    this.#peer = options.role === 'target' ? 'initiator' : 'target';
    this.#tcpOffer = options.offer;
    this.#rdmaOffer = options.rdmaOffer ?? options.offer;
    this.#leading = options.leading;
    this.#state = {
      sessionType: options.sessionType,
      parameters: { ...(options.parameters ?? DEFAULT_PARAMETERS) },
    };
  }

  get #offer(): Offer {
    return this.#state.parameters.rdmaExtensions ? this.#rdmaOffer : this.#tcpOffer;
  }

  /** Take all pairs of one complete text. After a violation the negotiation has failed. */
  receive(pairs: readonly TextPair[], stage: Stage): Received {
    const values = new Map<string, string>();
    for (const pair of pairs) {
      const violation = values.has(pair.key) ? `${pair.key} is sent twice` : this.#check(pair, stage);
      if (violation !== null) return { violation };
      values.set(pair.key, pair.value);
    }
    const answers = new Map<string, string>();
    // In the table's order, whatever the order sent: a key's relevance hangs on keys above it.
    for (const rule of KEYS) {
      const value = values.get(rule.name);
      if (value === undefined) continue;
      const proposed = isNegotiated(rule) ? this.#sent.get(rule.name) : undefined;
      const violation = RESERVED.has(value)
        ? this.#takeRefusal(rule, value)
        : proposed !== undefined && isNegotiated(rule)
          ? this.#takeAnswer(rule, proposed, value)
          : this.#takeProposal(rule, value, answers);
      if (violation !== null) return { violation };
    }
    const inOrder: TextPair[] = [];
    for (const key of values.keys()) {
      const answer = keyRule(key) === undefined ? NOT_UNDERSTOOD : answers.get(key);
      if (answer !== undefined) inOrder.push({ key, value: answer });
    }
    return { answers: inOrder };
  }

  /** What this side has to propose or declare in `stage`, each key once. */
  propose(stage: Stage): TextPair[] {
    const pairs: TextPair[] = [];
    for (const key of this.#offer.sends) {
      const rule = keyRule(key);
      if (rule === undefined || this.#sent.has(key) || !allowedIn(rule, stage, this.#leading)) continue;
      if (isNegotiated(rule) && this.#received.has(key)) continue;
      if (rule.irrelevant?.(this.#proposedState) === true) continue;
      const value = this.#encode(rule);
      if (value === null) continue;
      this.#sent.set(key, value);
      pairs.push({ key, value });
    }
    return pairs;
  }

  /** What holds if the peer agrees to RDMAExtensions=Yes, whose answer other proposals do not wait for (RFC 7145 6.3). */
  get #proposedState(): NegotiationState {
    if (this.#sent.get('RDMAExtensions') !== 'Yes' || this.#received.has('RDMAExtensions'))
      return this.#state;
    return { ...this.#state, parameters: { ...this.#state.parameters, rdmaExtensions: true } };
  }

  /**
   * End the negotiation as the proposer: null, or which proposal lacks the answer that it needs. A boolean
   * whose result the proposal itself determines needs none (RFC 7143 6.2.2).
   */
  conclude(): string | null {
    for (const [key, value] of this.#sent) {
      const rule = keyRule(key);
      if (rule === undefined || !isNegotiated(rule) || this.#received.has(key)) continue;
      if (rule.kind !== 'boolean' || value !== formatBoolean(rule.result === 'OR'))
        return `${key} is not answered`;
      this.#state.parameters[rule.parameter] = value === 'Yes';
    }
    return null;
  }

  /** The values in force if the negotiation ends now, integrity rules applied. */
  result(): OperationalParameters {
    const result = { ...this.#state.parameters };
    // RFC 7143 13.14: FirstBurstLength MUST NOT exceed MaxBurstLength, even where one of them is a default.
    result.firstBurstLength = Math.min(result.firstBurstLength, result.maxBurstLength);
    // RFC 7143 13.19
    if (result.errorRecoveryLevel > 0 && result.dataSequenceInOrder) result.maxOutstandingR2T = 1;
    if (result.rdmaExtensions) {
      // RFC 7145 6.1 and 6.2
      result.headerDigest = false;
      result.dataDigest = false;
      result.initiatorMaxRecvDataSegmentLength = result.initiatorRecvDataSegmentLength;
      result.targetMaxRecvDataSegmentLength = result.targetRecvDataSegmentLength;
    }
    return result;
  }

  /** Whether a pair may come at all, now and from this peer; and that it came is kept. */
  #check({ key, value }: TextPair, stage: Stage): string | null {
    const earlier = this.#received.get(key);
    const rule = keyRule(key);
    if (earlier !== undefined) {
      // libiscsi repeats its names in every stage: what changes nothing, and is no negotiation, passes.
      const repeated =
        rule?.kind === 'declaredText' && earlier !== stage && this.declarations.get(key) === value;
      return repeated ? null : `${key} is sent again`;
    }
    this.#received.set(key, stage);
    // RFC 7143 6.2: these MUST NOT be proposed.
    if (RESERVED.has(value) && !this.#sent.has(key)) return `${key} proposes the reserved value ${value}`;
    if (rule === undefined) {
      return isSecurityKey(key) ? `${key} belongs to the SecurityNegotiation stage` : null;
    }
    if (rule.senders === this.#role && !this.#sent.has(key)) return `${key} is for the ${this.#role} to send`;
    // RFC 7143 6.3: a key not allowed in the current stage is a protocol error.
    if (!allowedIn(rule, stage, this.#leading)) return `${key} is not allowed in the ${stage} stage`;
    return null;
  }

  /** The peer answers with Reject, Irrelevant or NotUnderstood: the value stays as it is. */
  #takeRefusal(rule: KeyRule, value: string): string | null {
    if (value === NOT_UNDERSTOOD && rule.later !== true) return `${rule.name} MUST be understood`;
    return null;
  }

  /** The peer answers a proposal of this side: within what was proposed (RFC 7143 6.2.1, 6.2.2). */
  #takeAnswer(rule: NegotiatedKey, proposed: string, value: string): string | null {
    const parameters = this.#state.parameters;
    const inadmissible = `${rule.name}=${quote(value)} is no answer to ${proposed}`;
    if (rule.kind === 'boolean') {
      const answer = parseBoolean(value);
      if (answer === null || (proposed === formatBoolean(rule.result === 'OR') && proposed !== value)) {
        return inadmissible;
      }
      parameters[rule.parameter] = answer;
    } else if (rule.kind === 'number') {
      const answer = parseNumber(value);
      const bound = Number(proposed);
      if (answer === null || answer < rule.min || answer > rule.max) return inadmissible;
      if (rule.result === 'minimum' ? answer > bound : answer < bound) return inadmissible;
      parameters[rule.parameter] = answer;
    } else {
      if (!proposed.split(',').includes(value)) return inadmissible;
      this.#select(rule, value);
    }
    return null;
  }

  /** The peer proposes or declares: take effect, and put the answer, if one is due, into `answers`. */
  #takeProposal(rule: KeyRule, value: string, answers: Map<string, string>): string | null {
    if (rule.kind !== 'list' && Buffer.byteLength(value) > VALUE_LIMIT) {
      return `${rule.name} is longer than ${VALUE_LIMIT} bytes`;
    }
    switch (rule.kind) {
      case 'boolean':
      case 'number':
      case 'list':
        answers.set(rule.name, this.#answer(rule, value));
        return null;
      case 'obsolete':
        answers.set(rule.name, REJECT);
        return null;
      case 'declaredText':
      case 'query':
        this.declarations.set(rule.name, value);
        return null;
      case 'declaredNumber': {
        const number = parseNumber(value);
        const allowed =
          number !== null &&
          ((number >= rule.min && number <= rule.max) || (number === 0 && rule.unlimited === true));
        // RFC 7143 7.12: a declared value that is not acceptable fails the negotiation.
        if (!allowed) return `${rule.name}=${quote(value)} is not a number from ${rule.min} to ${rule.max}`;
        this.#state.parameters[rule.parameter[this.#peer]] = number;
        return null;
      }
      case 'declaredBoolean': {
        const flag = parseBoolean(value);
        if (flag === null) return `${rule.name}=${quote(value)} is neither Yes nor No`;
        this.#state.parameters[rule.parameter] = flag;
        return null;
      }
    }
  }

  #answer(rule: NegotiatedKey, value: string): string {
    if (rule.irrelevant?.(this.#state) !== true) return this.#accept(rule, value);
    // Over RDMA digests MUST be negotiated to None (RFC 7145 5.1), and initiators in the field know no other answer.
    return rule.kind === 'list' && parseList(value)?.includes(NONE) === true ? NONE : IRRELEVANT;
  }

  /** Select the result of a proposal; what is not admissible is answered Reject (RFC 7143 6.2.2). */
  #accept(rule: NegotiatedKey, value: string): string {
    const parameters = this.#state.parameters;
    if (rule.kind === 'boolean') {
      const proposed = parseBoolean(value);
      if (proposed === null) return REJECT;
      const wanted = this.#offer[rule.parameter];
      const result = rule.result === 'AND' ? proposed && wanted : proposed || wanted;
      parameters[rule.parameter] = result;
      return formatBoolean(result);
    }
    if (rule.kind === 'number') {
      const proposed = parseNumber(value);
      if (proposed === null || proposed < rule.min || proposed > rule.max) return REJECT;
      const wanted = this.#wantedNumber(rule);
      const result = rule.result === 'minimum' ? Math.min(proposed, wanted) : Math.max(proposed, wanted);
      parameters[rule.parameter] = result;
      return String(result);
    }
    const supported: readonly string[] = this.#offer[rule.parameter];
    // RFC 7143 6.2.1: the first of the originator's list that we support.
    const selected = parseList(value)?.find((candidate) => supported.includes(candidate));
    if (selected === undefined) return REJECT;
    this.#select(rule, selected);
    return selected;
  }

  #select(rule: ListKey, value: string): void {
    const parameters = this.#state.parameters;
    if (rule.parameter !== 'taskReporting') parameters[rule.parameter] = value === 'CRC32C';
    else if (value === 'ResponseFence' || value === 'FastAbort') parameters.taskReporting = value;
    else parameters.taskReporting = 'RFC3720';
  }

  /** This side's value of a key, as text; a declaration takes effect by being sent. */
  #encode(rule: KeyRule): string | null {
    switch (rule.kind) {
      case 'boolean':
        return formatBoolean(this.#offer[rule.parameter]);
      case 'number':
        return String(this.#wantedNumber(rule));
      case 'list':
        return this.#offer[rule.parameter].join(',');
      case 'declaredNumber': {
        const parameter = rule.parameter[this.#role];
        this.#state.parameters[parameter] = this.#offer[parameter];
        return String(this.#offer[parameter]);
      }
      case 'declaredBoolean':
        this.#state.parameters[rule.parameter] = this.#offer[rule.parameter];
        return formatBoolean(this.#offer[rule.parameter]);
      default:
        return null;
    }
  }

  #wantedNumber(rule: NumberKey): number {
    return Math.min(this.#offer[rule.parameter], rule.ceiling?.(this.#state) ?? rule.max);
  }
}

function isNegotiated(rule: KeyRule): rule is NegotiatedKey {
  return rule.kind === 'boolean' || rule.kind === 'number' || rule.kind === 'list';
}
