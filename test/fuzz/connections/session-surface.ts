/** Any PDUs in the full feature phase. */

import { chance, oneOf, type Random } from '../engine/pick.js';
import type { Case, Surface } from '../engine/surface.js';
import { AttackedTarget, describeAnswer } from './attacked-target.js';
import { anyPdu, mutatedPdu, type PduStep, sendPdu } from './pdus.js';

export interface SessionSetup {
  keys: Record<string, string>;
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
        ErrorRecoveryLevel: oneOf(random, ['0', '1', '2']),
        FirstBurstLength: oneOf(random, ['512', '65536']),
      },
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
    const initiator = await this.#attacked.target.login({ keys: setup.keys });
    initiator.answersPings = false;
    initiator.pdus.deliver(
      (pdu) => {
        for (const answer of describeAnswer(pdu)) outcomes.add(answer);
      },
      () => undefined,
    );
    for (const step of steps) sendPdu(initiator, step);
    await this.#attacked.leave(initiator.pdus, setup.isAbrupt);
    await this.#attacked.assertUnharmed();
    // What arrives before it is dropped is a matter of chance.
    return setup.isAbrupt ? new Set() : outcomes;
  }
}
