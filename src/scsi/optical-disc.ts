/**
 * What kind of disc an image makes, and how its blocks are addressed (MMC-6): one closed session with one data
 * track, from block 0 to the last. Audio, several tracks and several sessions are not there.
 */

import type { LogicalUnit } from './logical-unit.js';

/** Profiles (MMC-6); none when there is no disc. */
export const Profile = { NONE: 0x0000, CD_ROM: 0x0008, DVD_ROM: 0x0010 } as const;
export type Profile = (typeof Profile)[keyof typeof Profile];

/** Bytes of a block of user data: Mode 1 of a CD, and a DVD's sector. */
export const DISC_BLOCK_SIZE = 2048;

/** The speed that the drive tells, kB/s: 48 times a CD's. There is no limit to the real one. */
export const READ_SPEED = 48 * 176;

/** Blocks of a CD a second, and how many come before block 0. */
const FRAMES = 75;
const PREGAP = 2 * FRAMES;
/** A CD's addresses end at 99:59:74: what is longer is a DVD. */
const LONGEST_CD = 100 * 60 * FRAMES - PREGAP;
/** What stands for an address that minute, second and frame cannot tell. */
const MSF_UNKNOWN = [0xff, 0x3b, 0x4a] as const;

/** The profile of the disc in the drive. */
export function profileOf(unit: LogicalUnit): Profile {
  if (!unit.medium.isPresent) return Profile.NONE;
  return unit.blockCount > LONGEST_CD ? Profile.DVD_ROM : Profile.CD_ROM;
}

/** Minute, second and frame of a block. */
export function msfOf(lba: number): readonly [number, number, number] {
  const frames = lba + PREGAP;
  const minute = Math.floor(frames / (60 * FRAMES));
  if (minute > 0xff) return MSF_UNKNOWN;
  return [minute, Math.floor(frames / FRAMES) % 60, frames % FRAMES];
}

/** Capabilities and mechanical status (mode page 2Ah), but for {@link LOCK_STATE}. */
export const CAPABILITIES: Record<number, [number, number]> = {
  2: [0x0b, 0], // reads CD-R, CD-RW, DVD-ROM
  6: [0x29, 0], // a tray that locks and ejects
  8: [READ_SPEED >>> 8, 0],
  9: [READ_SPEED & 0xff, 0],
  14: [READ_SPEED >>> 8, 0],
  15: [READ_SPEED & 0xff, 0],
};
export const CAPABILITIES_LENGTH = 32;
/** Byte 6: the tray is locked. */
export const LOCK_STATE = 0x02;
