/** Any requests, texts and bytes before there is a session. */

import { Bhs } from '../../../src/iscsi/wire/headers.js';
import { DEFAULT_KEYS, encodeKeys, loginHeader, Stage } from '../../support/login.js';
import { PduSocket } from '../../support/pdu-socket.js';
import { TARGET_NAME } from '../../support/target.js';
import { below, bytes, chance, damaged, odd, oneOf, type Random } from '../engine/pick.js';
import type { Case, Surface } from '../engine/surface.js';
import { AttackedTarget, describeAnswer } from './attacked-target.js';

/** A Login Request, or bytes that are none. */
export type LoginStep =
  | { kind: 'login'; flags: number; tsih: number; cid: number; cmdSN: number; version: number; text: string }
  | { kind: 'bytes'; bytes: string };

export interface LoginSetup {
  isAbrupt: boolean;
}

const NAMES: Record<string, string> = {
  InitiatorName: 'iqn.2026-01.example.test:fuzz',
  TargetName: TARGET_NAME,
  SessionType: 'Normal',
};
const KEYS: Record<string, string> = {
  ...NAMES,
  ...DEFAULT_KEYS,
  AuthMethod: 'CHAP,None',
  CHAP_A: '5',
  CHAP_N: 'name',
  CHAP_R: '0x00',
  InitiatorAlias: 'alias',
  MaxConnections: '4',
  MaxOutstandingR2T: '8',
  DataPDUInOrder: 'No',
  DataSequenceInOrder: 'No',
  RDMAExtensions: 'Yes',
  TaskReporting: 'FastAbort,ResponseFence',
  iSCSIProtocolLevel: '2',
  'X-com.example.thing': 'x',
  SendTargets: 'All',
};
const VALUES = [
  '',
  'None',
  'Yes',
  'No',
  '0',
  '1',
  '4294967296',
  '-1',
  '0xffffffffffffffffff',
  '512',
  '16777216',
  'None,None',
  'a'.repeat(300),
];
/** CSG and NSG of a login that goes its usual way, and others. */
const FLAGS = [0x81, 0x87, 0x83, 0x00, 0x04, 0x44, 0x01, 0xc1];

function text(random: Random): Buffer {
  const kind = random();
  if (kind < 0.5) {
    const wanted = chance(random, 0.8) ? { ...NAMES } : {};
    const pairs: Record<string, string> = wanted;
    for (let more = below(random, 8); more > 0; more--) {
      const key = oneOf(random, Object.keys(KEYS));
      pairs[key] = chance(random, 0.6) ? KEYS[key]! : oneOf(random, VALUES);
    }
    return encodeKeys(pairs);
  }
  if (kind < 0.8) return damaged(random, encodeKeys({ ...NAMES, ...DEFAULT_KEYS }));
  if (kind < 0.9) return bytes(random, below(random, 300));
  return Buffer.alloc(0);
}

export class LoginSurface implements Surface<LoginSetup, LoginStep> {
  readonly name = 'login';
  readonly longest = 6;
  #attacked!: AttackedTarget;

  async open(): Promise<void> {
    this.#attacked = await AttackedTarget.start();
  }

  close(): Promise<void> {
    return this.#attacked.close();
  }

  setup(random: Random): LoginSetup {
    return { isAbrupt: chance(random, 0.2) };
  }

  step(random: Random): LoginStep {
    if (chance(random, 0.05))
      return { kind: 'bytes', bytes: bytes(random, 1 + below(random, 200)).toString('hex') };
    return {
      kind: 'login',
      flags: chance(random, 0.8) ? oneOf(random, FLAGS) : below(random, 256),
      tsih: chance(random, 0.85) ? 0 : odd(random, 16),
      cid: chance(random, 0.9) ? 0 : odd(random, 16),
      cmdSN: chance(random, 0.9) ? 1 : odd(random, 32),
      version: chance(random, 0.95) ? 0 : below(random, 256),
      text: text(random).toString('hex'),
    };
  }

  mutate(step: LoginStep, random: Random): LoginStep {
    if (step.kind === 'bytes')
      return { ...step, bytes: damaged(random, Buffer.from(step.bytes, 'hex')).toString('hex') };
    const kind = random();
    if (kind < 0.3) return { ...step, flags: oneOf(random, FLAGS) };
    if (kind < 0.7) return { ...step, text: damaged(random, Buffer.from(step.text, 'hex')).toString('hex') };
    if (kind < 0.8) return { ...step, text: text(random).toString('hex') };
    return this.step(random);
  }

  async run({ setup, steps }: Case<LoginSetup, LoginStep>): Promise<Set<string>> {
    const outcomes = new Set<string>();
    const socket = await PduSocket.connect(this.#attacked.target.port);
    socket.deliver(
      (pdu) => {
        for (const answer of describeAnswer(pdu)) outcomes.add(answer);
      },
      () => undefined,
    );
    for (const step of steps) {
      if (step.kind === 'bytes') {
        socket.sendBytes(Buffer.from(step.bytes, 'hex'));
        continue;
      }
      const header = loginHeader({ isid: Buffer.alloc(6, 0x80), currentStage: Stage.OPERATIONAL, ...step });
      Bhs.flags.set(header, step.flags);
      header[2] = step.version;
      header[3] = step.version;
      socket.send(header, Buffer.from(step.text, 'hex'));
    }
    await this.#attacked.leave(socket, setup.isAbrupt);
    await this.#attacked.assertUnharmed();
    return setup.isAbrupt ? new Set() : outcomes;
  }
}
