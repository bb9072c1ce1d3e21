/** Any PDUs in the full feature phase. */

import { chance, oneOf, type Random } from '../engine/pick.js';
import type { Case, Surface } from '../engine/surface.js';
import type { Pdu } from '../../support/pdu-socket.js';
import { AttackedTarget, describeAnswer } from './attacked-target.js';
import { anyPdu, mutatedPdu, type PduStep, sendPdu } from './pdus.js';

export interface SessionSetup {
  keys: Record<string, string>;
  connections: 1 | 2;
  /** The connection is dropped while answers are under way. */
  isAbrupt: boolean;
}

export class SessionSurface implements Surface<SessionSetup, PduStep> {
  readonly name = 'session';
  readonly longest = 20;
  #attacked!: AttackedTarget;

  async open(): Promise<void> {
    this.#attacked = await AttackedTarget.start();
  }

  close(): Promise<void> {
    return this.#attacked.close();
  }

  setup(random: Random): SessionSetup {
    return {
      keys: {
        HeaderDigest: oneOf(random, ['None', 'CRC32C']),
        DataDigest: oneOf(random, ['None', 'CRC32C']),
        InitialR2T: oneOf(random, ['Yes', 'No']),
        ImmediateData: oneOf(random, ['Yes', 'No']),
        ErrorRecoveryLevel: oneOf(random, ['0', '1', '1', '2']),
        MaxConnections: '2',
        MaxRecvDataSegmentLength: oneOf(random, ['512', '65536']),
        FirstBurstLength: oneOf(random, ['512', '65536']),
      },
      connections: oneOf(random, [1, 2]),
      isAbrupt: chance(random, 0.3),
    };
  }

  step(random: Random): PduStep {
    return anyPdu(random);
  }

  mutate(step: PduStep, random: Random): PduStep {
    return mutatedPdu(step, random);
  }

  async run({ setup, steps }: Case<SessionSetup, PduStep>): Promise<Set<string>> {
    const outcomes = new Set<string>();
    const connections = [await this.#attacked.target.login({ keys: setup.keys })];
    const { isid, tsih } = connections[0]!;
    if (setup.connections === 2)
      connections.push(await this.#attacked.target.login({ isid, joins: { tsih, cid: 1 } }));
    for (const { pdus } of connections) {
      const take = (pdu: Pdu): void => {
        for (const answer of describeAnswer(pdu)) outcomes.add(answer);
      };
      pdus.deliver(take, () => undefined);
    }
    let { cmdSN } = connections[0]!;
    for (const step of steps) {
      const sender = connections[step.bySecond ? connections.length - 1 : 0]!;
      sender.cmdSN = cmdSN;
      sendPdu(sender, step);
      ({ cmdSN } = sender);
    }
    await Promise.all(connections.map(({ pdus }) => this.#attacked.leave(pdus, setup.isAbrupt)));
    await this.#attacked.assertUnharmed();
    // What arrives before it is dropped is a matter of chance.
    return setup.isAbrupt ? new Set() : outcomes;
  }
}
