/** A target that takes whatever is sent, and a session beside it that must not notice: the invariants of every case over a connection. */

import assert from 'node:assert/strict';
import {
  BHS_LENGTH,
  LoginResponse,
  Reject,
  ScsiResponse,
  TaskManagementResponse,
} from '../../../src/iscsi/wire/headers.js';
import { Opcode } from '../../../src/iscsi/wire/opcodes.js';
import { MemoryDevice } from '../../../src/block/index.js';
import { DEFAULT_KEYS } from '../../support/login.js';
import { Bystander, BYSTANDER_NAME } from '../../support/bystander.js';
import type { Pdu, PduSocket } from '../../support/pdu-socket.js';
import { assertCensus, census, type Census } from '../../support/rdma-census.js';
import { TestTarget } from '../../support/target.js';
import { until } from '../../support/verbs-pair.js';

/** The last blocks of the disk are the bystander's; fuzzed commands name blocks below. */
const SIZE = 16 << 20;
const BYSTANDER_LBA = SIZE / 512 - 64;
/** Of so many cases one lets its sessions wait to the end of their time, which takes a second and more. */
const CASES_TO_THE_END = 500;

export class AttackedTarget {
  readonly target: TestTarget;
  readonly #bystander: Bystander;
  readonly #idle: Census = census();
  #cases = 0;

  private constructor(target: TestTarget, bystander: Bystander) {
    this.target = target;
    this.#bystander = bystander;
  }

  static async start(): Promise<AttackedTarget> {
    const target = await TestTarget.start([{ device: new MemoryDevice({ size: SIZE }) }], {
      recovery: { errorRecoveryLevel: 2, maxConnections: 2, defaultTime2Retain: 1 },
    });
    return new AttackedTarget(target, await Bystander.arrive(target, BYSTANDER_LBA));
  }

  /** Go, at once or after everything has arrived. */
  async leave(socket: PduSocket, isAbrupt: boolean): Promise<void> {
    if (isAbrupt) socket.destroy();
    else socket.socket.end();
    await socket.closed;
  }

  /** Nobody but the bystander is there, nothing of others is in use, and its data is as it wrote it. */
  async assertUnharmed(): Promise<void> {
    if (++this.#cases % CASES_TO_THE_END !== 0) await this.#reinstateKept();
    await until(() => this.target.server.sessions().length === 1, 'the end of the sessions');
    await assertCensus(this.#idle);
    await this.#bystander.assertUndisturbed();
  }

  /** Sessions that wait for a connection to come back are over at once when their initiator port begins anew. */
  async #reinstateKept(): Promise<void> {
    for (const { initiatorName, isid, targetName } of this.target.server.sessions()) {
      if (initiatorName === BYSTANDER_NAME || targetName === null) continue;
      const initiator = await this.target.login({ initiatorName, isid: Buffer.from(isid, 'hex') });
      await initiator.logout();
      initiator.destroy();
      await initiator.closed;
    }
  }

  async close(): Promise<void> {
    await this.#bystander.leave();
    await this.target.close();
  }
}

/** What the target said, in words, without what is different in every case. */
export function describeAnswer({ opcode, header, data }: Pdu): string[] {
  switch (opcode) {
    case Opcode.LOGIN_RESPONSE: {
      const status = `${LoginResponse.statusClass.get(header)}/${LoginResponse.statusDetail.get(header)}`;
      return [
        `login ${status} flags ${header[1]!}`,
        ...data.toString('latin1').split('\0').flatMap(describeKey),
      ];
    }
    case Opcode.SCSI_RESPONSE: {
      const sense = data.length >= 16 ? data.toString('hex', 14, 16) : '';
      const status = `${ScsiResponse.response.get(header)} status ${ScsiResponse.status.get(header)}`;
      return [`response ${status} ${sense} flags ${header[1]!}`];
    }
    case Opcode.TASK_MANAGEMENT_RESPONSE:
      return [`task management ${TaskManagementResponse.response.get(header)}`];
    case Opcode.REJECT:
      assert.ok(data.length >= BHS_LENGTH, 'a Reject without the header that it is about');
      return [`reject ${Reject.reason.get(header)} of opcode ${data[0]! & 0x3f}`];
    default:
      return [`opcode ${opcode} flags ${header[1]!}`];
  }
}

/** A key that is known, and whether its value was taken. */
function describeKey(pair: string): string[] {
  const [name, value = ''] = pair.split('=', 2) as [string, string?];
  if (!(name in DEFAULT_KEYS) && value === 'NotUnderstood') return [];
  return [`key ${name} ${/^(Reject|NotUnderstood|Irrelevant)$/.test(value) ? value : 'answered'}`];
}
