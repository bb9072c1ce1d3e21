/**
 * The requests of an initiator that are no SCSI commands, each waiting for its answer: task management, text,
 * pings and logout (RFC 7143 11.5, 11.10, 11.14, 11.18). They are sent for immediate delivery as a rule, so that a closed
 * command window does not hold them up.
 */

import type { ControlPdu } from '../../datamover/datamover.js';
import { RiserError } from '../../util/errors.js';
import {
  Bhs,
  LogoutRequest,
  LogoutResponse,
  NopOut,
  TaskManagementRequest,
  TaskManagementResponse as TaskManagementResponsePdu,
  TextRequest,
  TextResponse,
} from '../wire/headers.js';
import {
  FINAL,
  isAboutSeveralTasks,
  LogoutReason,
  Opcode,
  OPCODE_MASK,
  RESERVED_TAG,
  TaskManagementFunction,
  TaskManagementResponse,
  TextFlag,
} from '../wire/opcodes.js';
import { buildText, parseText, TEXT_LIMIT, TextAssembler, type TextPair } from '../wire/text.js';
import type { InitiatorFullFeature } from './full-feature.js';
import type { InitiatorTask } from './task.js';

/** How a control request ended: what the target answered, or why there is no answer. */
export type Answer<T> = (result: T | RiserError) => void;

/** Tags of control requests have bit 31 set, which those of tasks have not. */
const FIRST_TAG = 0x8000_0000;
/** Of one connection. */
const TAGS = 0x0200_0000;
/** Pairs of one answer: as many as fit a text, for a portal may have many targets. */
const ANSWER_PAIR_LIMIT = TEXT_LIMIT / 4;
/** The longest data of a ping, bytes. */
export const PING_LIMIT = 8192;

interface Pending {
  readonly responseOpcode: Opcode;
  /** Milliseconds on the clock of `tick`; null until the first tick has seen it. */
  deadline: number | null;
  answered(pdu: ControlPdu, deadline: number | null): void;
  failed(error: RiserError): void;
  /** What was sent, if it has data, which may be damaged on the way; from ErrorRecoveryLevel 1 on. */
  sent: { header: Buffer; data: Buffer } | null;
}

/** What a target answers to a task management function. */
export interface TaskManagementAnswer {
  /** One of {@link TaskManagementResponse}. */
  readonly response: number;
  /** Additional Response Information, 24 bits, of protocol level 2 (RFC 7144 6.4.1). */
  readonly information: number;
}

export interface LogoutAnswer {
  /** See RFC 7143 11.15.1. */
  readonly response: number;
  /** Seconds to wait before tasks are reassigned. */
  readonly time2Wait: number;
}

export interface TaskManagementOptions {
  function: TaskManagementFunction;
  /** The eight bytes of the LUN as two big-endian halves. */
  lunHigh?: number;
  lunLow?: number;
  /** ABORT TASK, QUERY TASK */
  referencedTask?: InitiatorTask;
  /** TASK REASSIGN */
  expDataSN?: number;
}

export class ControlRequests {
  readonly #phase: InitiatorFullFeature;
  readonly #pending = new Map<number, Pending>();
  readonly #firstTag: number;
  #lastTag: number;
  /** The text that is under way, and those that wait for its answer. */
  readonly #texts: { readonly pairs: readonly TextPair[]; readonly answer: Answer<readonly TextPair[]> }[] =
    [];

  /** `connection`: which one of its session's, 64 at most, it is for: all share one space of tags. */
  constructor(phase: InitiatorFullFeature, connection: number) {
    this.#phase = phase;
    this.#firstTag = FIRST_TAG + connection * TAGS;
    this.#lastTag = this.#firstTag;
  }

  /** A task management function (RFC 7143 11.5, RFC 7144 6.3). */
  manageTasks(options: TaskManagementOptions, answer: Answer<TaskManagementAnswer>): void {
    const { iSCSIProtocolLevel } = this.#phase.parameters;
    // They must not be sent (RFC 7144 6.3).
    if (options.function >= TaskManagementFunction.QUERY_TASK && iSCSIProtocolLevel < 2) {
      answer(levelTooLow(iSCSIProtocolLevel));
      return;
    }
    const conclude = isAboutSeveralTasks(options.function) ? this.#phase.concluding(options) : null;
    const tag = this.#expect(
      Opcode.TASK_MANAGEMENT_RESPONSE,
      ({ header }) => {
        const response = TaskManagementResponsePdu.response.get(header);
        const information = TaskManagementResponsePdu.information.get(header);
        if (response === TaskManagementResponse.FUNCTION_COMPLETE) conclude?.();
        answer({ response, information });
      },
      answer,
    );
    const header = this.#phase.requests.beginRequest(Opcode.TASK_MANAGEMENT_REQUEST, tag);
    Bhs.flags.set(header, FINAL | options.function);
    Bhs.lunHigh.set(header, options.lunHigh ?? 0);
    Bhs.lunLow.set(header, options.lunLow ?? 0);
    TaskManagementRequest.referencedTaskTag.set(
      header,
      options.referencedTask?.initiatorTaskTag ?? RESERVED_TAG,
    );
    TaskManagementRequest.refCmdSN.set(header, options.referencedTask?.cmdSN ?? 0);
    TaskManagementRequest.expDataSN.set(header, options.expDataSN ?? 0);
    this.#send(header, null);
  }

  /** ABORT TASK; `answer` hears whether the target will not execute the task any more. */
  abortTask(task: InitiatorTask, answer: (isAborted: boolean) => void): void {
    const { lunHigh, lunLow } = task;
    const options = { function: TaskManagementFunction.ABORT_TASK, lunHigh, lunLow, referencedTask: task };
    this.manageTasks(options, (result) => {
      const response = result instanceof RiserError ? null : result.response;
      answer(
        response === TaskManagementResponse.FUNCTION_COMPLETE ||
          response === TaskManagementResponse.TASK_DOES_NOT_EXIST,
      );
    });
  }

  /** TASK REASSIGN: what is here of the task's data and R2Ts is acknowledged (RFC 7143 7.2.2). */
  reassign(task: InitiatorTask, answer: Answer<TaskManagementAnswer>): void {
    const options = { function: TaskManagementFunction.TASK_REASSIGN, referencedTask: task };
    this.manageTasks({ ...options, expDataSN: task.dataSN }, answer);
  }

  /**
   * A text request, SendTargets above all (RFC 7143 11.10): all pairs of the answer, however many PDUs it takes. There is one at a
   * time (6.2).
   */
  text(pairs: readonly TextPair[], answer: Answer<readonly TextPair[]>): void {
    if (this.#texts.push({ pairs, answer }) === 1) this.#nextText();
  }

  #nextText(): void {
    const next = this.#texts[0];
    if (next === undefined) return;
    this.#textRequest(this.#newTag(), buildText(next.pairs), null, null, new TextAssembler(), (result) => {
      this.#texts.shift();
      next.answer(result);
      this.#nextText();
    });
  }

  /**
   * All of one text have one `tag` (RFC 7143 6.4). `before`: the response that it goes on from, whose transfer tag and LUN it
   * repeats (11.10.4, 11.11.4); null for the first.
   */
  #textRequest(
    tag: number,
    data: Buffer,
    before: Buffer | null,
    deadline: number | null,
    assembler: TextAssembler,
    answer: Answer<readonly TextPair[]>,
  ): void {
    this.#pending.set(tag, {
      responseOpcode: Opcode.TEXT_RESPONSE,
      deadline,
      answered: (pdu, reached) => {
        this.#textResponse(pdu, reached, assembler, answer);
      },
      failed: answer,
      sent: null,
    });
    const header = this.#phase.requests.beginRequest(Opcode.TEXT_REQUEST, tag);
    TextRequest.targetTransferTag.set(header, RESERVED_TAG);
    if (before !== null) {
      TextRequest.lunHigh.set(header, TextResponse.lunHigh.get(before));
      TextRequest.lunLow.set(header, TextResponse.lunLow.get(before));
      TextRequest.targetTransferTag.set(header, TextResponse.targetTransferTag.get(before));
    }
    this.#send(header, data);
  }

  #textResponse(
    pdu: ControlPdu,
    deadline: number | null,
    assembler: TextAssembler,
    answer: Answer<readonly TextPair[]>,
  ): void {
    const flags = Bhs.flags.get(pdu.header);
    const transferTag = TextResponse.targetTransferTag.get(pdu.header);
    if (!assembler.append(pdu.data())) {
      answer(this.#broken('a text that is too long'));
    } else if ((flags & TextFlag.FINAL) !== 0) {
      const text = parseText(assembler.take(), ANSWER_PAIR_LIMIT);
      answer('error' in text ? this.#broken(`a text that cannot be read: ${text.error}`) : text.pairs);
    } else if (transferTag === RESERVED_TAG || pdu.dataLength === 0) {
      answer(this.#broken('a text that neither ends nor goes on'));
    } else {
      // RFC 7143 11.10.4: an empty request with the tag of the answer asks for its next part. The time is that of
      // the whole: small parts do not stretch it.
      const tag = Bhs.initiatorTaskTag.get(pdu.header);
      this.#textRequest(tag, Buffer.alloc(0), pdu.header, deadline, assembler, answer);
    }
  }

  /** NOP-Out (RFC 7143 11.18): the answer is the ping's data as it came back. */
  ping(data: Buffer, answer: Answer<Buffer>): void {
    const { parameters } = this.#phase;
    const { targetMaxRecvDataSegmentLength, initiatorMaxRecvDataSegmentLength, rdmaExtensions } = parameters;
    // Over RDMA all of it comes back (RFC 7145 6.2).
    const most = Math.min(
      targetMaxRecvDataSegmentLength,
      rdmaExtensions ? initiatorMaxRecvDataSegmentLength : Infinity,
    );
    if (data.length > most) {
      const message = `a ping may have ${most} bytes of data here, not ${data.length}`;
      answer(new RiserError('PING_TOO_LONG', message, { by: 'local', costs: 'task' }));
      return;
    }
    const tag = this.#expect(
      Opcode.NOP_IN,
      (pdu) => {
        answer(Buffer.from(pdu.data()));
      },
      answer,
    );
    const header = this.#phase.requests.beginRequest(Opcode.NOP_OUT, tag);
    NopOut.targetTransferTag.set(header, RESERVED_TAG);
    this.#send(header, data);
  }

  /** End the session (RFC 7143 11.14); the answer is one of {@link LogoutResponse}. The target closes then. */
  logout(answer: Answer<number>): void {
    const tag = this.#expect(
      Opcode.LOGOUT_RESPONSE,
      (pdu) => {
        answer(LogoutResponse.response.get(pdu.header));
      },
      answer,
    );
    const header = this.#phase.requests.beginRequest(Opcode.LOGOUT_REQUEST, tag);
    Bhs.flags.set(header, FINAL | LogoutReason.CLOSE_SESSION);
    LogoutRequest.cid.set(header, 0);
    this.#send(header, null);
  }

  /** Log out another connection of the session, which is lost; `expStatSN` is its last (RFC 7143 11.14). */
  logoutOther(cid: number, reason: LogoutReason, expStatSN: number, answer: Answer<LogoutAnswer>): void {
    const tag = this.#expect(
      Opcode.LOGOUT_RESPONSE,
      ({ header }) => {
        answer({
          response: LogoutResponse.response.get(header),
          time2Wait: LogoutResponse.time2Wait.get(header),
        });
      },
      answer,
    );
    const header = this.#phase.requests.beginRequest(Opcode.LOGOUT_REQUEST, tag);
    Bhs.flags.set(header, FINAL | reason);
    LogoutRequest.cid.set(header, cid);
    this.#phase.requests.sendRequest(header, null, expStatSN);
  }

  // ---- the connection's ----

  answered(pdu: ControlPdu): void {
    const tag = Bhs.initiatorTaskTag.get(pdu.header);
    const pending = this.#pending.get(tag);
    if (pending?.responseOpcode !== (pdu.header[0]! & OPCODE_MASK)) {
      this.#phase.violation('ANSWER_UNASKED', 'an answer to no request');
      return;
    }
    this.#pending.delete(tag);
    pending.answered(pdu, pending.deadline);
  }

  /** The data of the request with this tag was damaged on the way; false if it is not known any more. */
  sendAgain(tag: number): boolean {
    const sent = this.#pending.get(tag)?.sent ?? null;
    if (sent !== null) this.#phase.requests.sendRequest(sent.header, sent.data);
    return sent !== null;
  }

  rejected(tag: number, error: RiserError): void {
    const pending = this.#pending.get(tag);
    this.#pending.delete(tag);
    pending?.failed(error);
  }

  /** `timeoutMs`: what a target has for an answer; then the connection is given up. */
  tick(now: number, timeoutMs: number): void {
    for (const pending of this.#pending.values()) {
      pending.deadline ??= now + timeoutMs;
      if (now < pending.deadline) continue;
      this.#phase.drop(
        new RiserError('TARGET_SILENT', `no answer within ${timeoutMs / 1000} s`, {
          by: 'peer',
          costs: 'connection',
        }),
      );
      return;
    }
  }

  terminated(error: RiserError): void {
    const all = [...this.#pending.values()];
    const waiting = this.#texts.splice(1);
    this.#pending.clear();
    for (const pending of all) pending.failed(error);
    for (const { answer } of waiting) answer(error);
  }

  #newTag(): number {
    do this.#lastTag = this.#lastTag >= this.#firstTag + TAGS - 2 ? this.#firstTag : this.#lastTag + 1;
    while (this.#pending.has(this.#lastTag));
    return this.#lastTag;
  }

  #expect<T>(responseOpcode: Opcode, answered: Pending['answered'], answer: Answer<T>): number {
    const tag = this.#newTag();
    this.#pending.set(tag, { responseOpcode, deadline: null, answered, failed: answer, sent: null });
    return tag;
  }

  #send(header: Buffer, data: Buffer | null): void {
    const pending = this.#pending.get(Bhs.initiatorTaskTag.get(header));
    if (this.#phase.parameters.errorRecoveryLevel > 0 && pending !== undefined && data !== null)
      pending.sent = { header: Buffer.from(header), data };
    this.#phase.requests.sendRequest(header, data);
  }

  #broken(what: string): RiserError {
    const error = new RiserError('TEXT', `the target sent ${what}`, { by: 'peer', costs: 'connection' });
    this.#phase.drop(error);
    return error;
  }
}

function levelTooLow(level: number): RiserError {
  return new RiserError(
    'PROTOCOL_LEVEL',
    `the session has iSCSIProtocolLevel ${level}, and this function needs 2`,
    {
      by: 'peer',
      costs: 'task',
      remedy: 'Open the session with protocolLevel: 2; targets that do not know RFC 7144 stay at 1.',
    },
  );
}
