/** What a run of the benchmark does; and how a Riser client tells a Riser server of it. */

import { RiserError } from '../../util/errors.js';
import { u16, u32, u8 } from '../../util/fields.js';

export const OPERATIONS = ['write', 'read', 'send'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** The same on both sides. */
export interface Plan {
  operation: Operation;
  /** Round trips of single messages instead of bandwidth. */
  isLatency: boolean;
  /** Bytes of a message, 1 to {@link LARGEST_SIZE}. */
  size: number;
  /** Messages, {@link FEWEST_ITERATIONS} to {@link MOST_ITERATIONS}. */
  iterations: number;
}

export const LARGEST_SIZE = 64 << 20;
/** Of perftest (`-n`); with fewer than three its receiver of sends divides by zero. */
export const FEWEST_ITERATIONS = 5;
export const MOST_ITERATIONS = 10_000_000;

/** What is not given is as perftest has it. */
export function completePlan(given: Partial<Plan>): Plan {
  const { operation = 'write', isLatency = false } = given;
  const { size = isLatency ? 2 : 65_536 } = given;
  const { iterations = operation === 'write' && !isLatency ? 5000 : 1000 } = given;
  return { operation, isLatency, size, iterations };
}

/** @throws RiserError `BENCH_PLAN` */
export function checkPlan({ size, iterations }: Plan): void {
  checkWhole('size', size, 1, LARGEST_SIZE);
  checkWhole('number of iterations', iterations, FEWEST_ITERATIONS, MOST_ITERATIONS);
}

function checkWhole(what: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new RiserError('BENCH_PLAN', `a ${what} of ${value}: from ${least} to ${most} is possible`, {
    by: 'local',
    costs: 'process',
  });
}

/** As people read it: `write, latency, 2 bytes, 1000 iterations`. */
export function describePlan({ operation, isLatency, size, iterations }: Plan): string {
  return `${operation}, ${isLatency ? 'latency' : 'bandwidth'}, ${size} bytes, ${iterations} iterations`;
}

/**
 * The private data of a Riser client's request to connect. perftest sends none and ignores it, so that the options of both
 * of its sides have to be the same.
 */
const MAGIC = 0x5242_4e31;
const Field = {
  magic: u32(0),
  operation: u8(4),
  isLatency: u8(5),
  reserved: u16(6),
  size: u32(8),
  iterations: u32(12),
} as const;
const PLAN_BYTES = 16;

export function encodePlan({ operation, isLatency, size, iterations }: Plan): Buffer {
  const bytes = Buffer.alloc(PLAN_BYTES);
  Field.magic.set(bytes, MAGIC);
  Field.operation.set(bytes, OPERATIONS.indexOf(operation));
  Field.isLatency.set(bytes, isLatency ? 1 : 0);
  Field.size.set(bytes, size);
  Field.iterations.set(bytes, iterations);
  return bytes;
}

/** Null where it is none, as perftest's is. @throws RiserError `BENCH_PLAN` when it is out of bounds */
export function decodePlan(privateData: Buffer): Plan | null {
  if (privateData.length < PLAN_BYTES || Field.magic.get(privateData) !== MAGIC) return null;
  const operation = OPERATIONS[Field.operation.get(privateData)];
  if (operation === undefined) return null;
  const plan: Plan = {
    operation,
    isLatency: Field.isLatency.get(privateData) !== 0,
    size: Field.size.get(privateData),
    iterations: Field.iterations.get(privateData),
  };
  checkPlan(plan);
  return plan;
}

/** What `asked` has and `plan` has otherwise, for people; null when they agree. */
export function disagreement(asked: Partial<Plan>, plan: Plan): string | null {
  for (const key of ['operation', 'isLatency', 'size', 'iterations'] as const) {
    const value = asked[key];
    if (value !== undefined && value !== plan[key]) {
      return `the server is told to measure ${describePlan({ ...plan, ...asked })}; the client, ${describePlan(plan)}`;
    }
  }
  return null;
}
