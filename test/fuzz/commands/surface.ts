/** Any commands, parameter lists, task management and mishaps against a logical unit. */

import { MemoryDevice } from '../../../src/block/memory.js';
import { LogicalUnit } from '../../../src/scsi/logical-unit.js';
import { CopyManager } from '../../../src/scsi/third-party-copy/copy-manager.js';
import { FakeCopyHost } from '../../../src/scsi/testing/fake-copies.js';
import { fakeUnit } from '../../../src/scsi/testing/fake-task.js';
import { below, chance, damaged, oneOf, type Random } from '../engine/pick.js';
import type { Case, Surface } from '../engine/surface.js';
import { anyCdb } from './cdbs.js';
import { dataOutFor } from './parameter-lists.js';
import { portGroups, Scene } from './scene.js';
import { MANAGEMENT, type CommandStep, type UnitSetup, type UnitStep } from './steps.js';

/** Of disks with all that they may have, and of drives. */
const OPERATIONS = [
  ...fakeUnit({
    removable: true,
    copyManager: new CopyManager(new FakeCopyHost()),
    targetPortGroups: portGroups(),
  }).operations.operations,
  ...new LogicalUnit(new MemoryDevice({ size: 1 << 20, blockSize: 2048 }), {
    identity: fakeUnit().configuration.identity,
    type: 'cdrom',
  }).operations.operations,
];
const LIMITS = [0, 1, 4, 18, 252, 4096, 1 << 18];

export class CommandsSurface implements Surface<UnitSetup, UnitStep> {
  readonly name = 'commands';
  readonly longest = 12;

  open(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  setup(random: Random): UnitSetup {
    const isDisc = chance(random, 0.15);
    return {
      type: isDisc ? 'cdrom' : 'disk',
      device: oneOf(random, ['memory', 'slow', 'slow']),
      blockSize: isDisc ? 2048 : oneOf(random, [512, 512, 4096]),
      provisioning: oneOf(random, ['thin', 'full']),
      removable: chance(random, 0.3),
      readOnly: chance(random, 0.1),
      keeps: chance(random, 0.5),
      isAsymmetric: chance(random, 0.3),
    };
  }

  step(random: Random): UnitStep {
    const kind = random();
    if (kind < 0.8) return command(random);
    if (kind < 0.82) return { kind: 'turn', turns: 1 + below(random, 3) };
    if (kind < 0.88)
      return {
        kind: 'device',
        operations: 1 + below(random, 4),
        status: chance(random, 0.7) ? 0 : below(random, 6),
      };
    if (kind < 0.91) return { kind: 'defer', defers: chance(random, 0.6) };
    if (kind < 0.95) return { kind: 'deliver', fails: chance(random, 0.3) };
    return { kind: 'manage', function: oneOf(random, MANAGEMENT), nexus: below(random, 2) };
  }

  mutate(step: UnitStep, random: Random): UnitStep {
    if (step.kind !== 'command') return this.step(random);
    const { cdb, dataOut } = step;
    const kind = random();
    if (kind < 0.4) {
      const changed = Buffer.from(cdb, 'hex');
      const at = 1 + below(random, changed.length - 1);
      changed[at] = damaged(random, changed.subarray(at, at + 1))[0] ?? 0;
      return { ...step, cdb: changed.toString('hex') };
    }
    if (kind < 0.65 && typeof dataOut === 'string')
      return { ...step, dataOut: damaged(random, Buffer.from(dataOut, 'hex')).toString('hex') };
    if (kind < 0.75) return { ...step, nexus: 1 - step.nexus };
    if (kind < 0.8) return { ...step, holdsData: !step.holdsData };
    if (kind < 0.85) return { ...step, attribute: below(random, 3) };
    if (kind < 0.92) return { ...step, dataInLimit: oneOf(random, LIMITS) };
    return command(random);
  }

  run({ setup, steps }: Case<UnitSetup, UnitStep>): Set<string> {
    const scene = new Scene(setup);
    for (const step of steps) scene.take(step);
    scene.finish();
    return scene.outcomes;
  }
}

function command(random: Random): CommandStep {
  const cdb = anyCdb(OPERATIONS, random);
  const dataOut = dataOutFor(cdb, 512, random);
  return {
    kind: 'command',
    cdb: cdb.toString('hex'),
    dataOut,
    dataInLimit: chance(random, 0.7) ? 1 << 18 : oneOf(random, LIMITS),
    nexus: chance(random, 0.7) ? 0 : 1,
    attribute: chance(random, 0.7) ? 0 : below(random, 3),
    holdsData: chance(random, 0.1),
  };
}
