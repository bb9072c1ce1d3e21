/** PERSISTENT RESERVE IN and OUT as tests send them. */

import type { Nexus } from '../nexus.js';
import type { FakeTarget, FakeTask } from './fake-task.js';

export const ServiceAction = {
  REGISTER: 0,
  RESERVE: 1,
  RELEASE: 2,
  CLEAR: 3,
  PREEMPT: 4,
  PREEMPT_AND_ABORT: 5,
  REGISTER_AND_IGNORE: 6,
  REGISTER_AND_MOVE: 7,
} as const;

export interface ReserveOut {
  /** RESERVATION KEY. */
  key?: number;
  /** SERVICE ACTION RESERVATION KEY. */
  newKey?: number;
  type?: number;
  /** SPEC_I_PT 8, ALL_TG_PT 4, APTPL 1. */
  flags?: number;
  /** Comes behind the 24 bytes. */
  more?: Buffer;
}

/** The parameter list of all but REGISTER AND MOVE. */
export function reserveOutList({
  key = 0,
  newKey = 0,
  flags = 0,
  more = Buffer.alloc(0),
}: ReserveOut): Buffer {
  const list = Buffer.alloc(24);
  list.writeBigUInt64BE(BigInt(key), 0);
  list.writeBigUInt64BE(BigInt(newKey), 8);
  list[20] = flags;
  return Buffer.concat([list, more]);
}

export function reserveOutCdb(serviceAction: number, type: number, length: number): number[] {
  return [0x5f, serviceAction, type, 0, 0, 0, 0, length >>> 8, length & 0xff, 0];
}

/** The task; it has ended unless tasks of others have to end first. */
export function reserveOut(
  target: FakeTarget,
  nexus: Nexus,
  serviceAction: number,
  parameters: ReserveOut,
): FakeTask {
  const dataOut = reserveOutList(parameters);
  return target.run(reserveOutCdb(serviceAction, parameters.type ?? 0, dataOut.length), { nexus, dataOut });
}

/** What PERSISTENT RESERVE IN answers. */
export function reserveIn(target: FakeTarget, serviceAction: number, nexus?: Nexus): Buffer {
  const cdb = [0x5e, serviceAction, 0, 0, 0, 0, 0, 0xff, 0xff, 0];
  return target.run(cdb, nexus === undefined ? {} : { nexus }).dataIn;
}

/** READ KEYS, in hexadecimal, behind PRGENERATION. */
export function readKeys(target: FakeTarget): { generation: number; keys: string[] } {
  const data = reserveIn(target, 0);
  const keys: string[] = [];
  for (let at = 8; at < data.length; at += 8) keys.push(data.readBigUInt64BE(at).toString(16));
  return { generation: data.readUInt32BE(0), keys };
}

/** READ RESERVATION; null where there is none. */
export function readReservation(target: FakeTarget): { key: string; type: number } | null {
  const data = reserveIn(target, 1);
  return data.length === 8 ? null : { key: data.readBigUInt64BE(8).toString(16), type: data[21]! };
}
