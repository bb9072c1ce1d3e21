/** What is measured: the load of each case. */

/** What a case's disk is made of. */
export type Medium = 'memory' | 'file';

/** One load that iscsi-perf puts on a server. */
export interface Case {
  /** As `--case` selects it, in part or whole. */
  name: string;
  medium: Medium;
  /** Commands outstanding at once. */
  depth: number;
  /** Blocks of 512 bytes in each READ. */
  blocks: number;
  random: boolean;
}

const LOADS = [
  { load: '4k-random-depth-1', depth: 1, blocks: 8, random: true },
  { load: '4k-random-depth-32', depth: 32, blocks: 8, random: true },
  { load: '4k-random-depth-128', depth: 128, blocks: 8, random: true },
  { load: '128k-sequential-depth-32', depth: 32, blocks: 256, random: false },
];

export const MEDIA: readonly Medium[] = ['memory', 'file'];

export const CASES: readonly Case[] = MEDIA.flatMap((medium) =>
  LOADS.map(({ load, depth, blocks, random }) => ({
    name: `${medium}-${load}`,
    medium,
    depth,
    blocks,
    random,
  })),
);
