/** What `riser doctor` finds. */

/** What is looked at, in the order in which it is shown. */
export const SUBJECTS = [
  'Riser',
  'RDMA devices',
  'kernel modules',
  'locked memory',
  'RoCE and GIDs',
  'network',
  'open-iscsi',
  'portal',
  'not looked at',
] as const;
export type Subject = (typeof SUBJECTS)[number];

/**
 * - `good`: as it should be, or in nobody's way;
 * - `notice`: works without, or might be slower than it could be;
 * - `problem`: what is there, or was asked for, does not work.
 */
export type FindingState = 'good' | 'notice' | 'problem';

/** One point. */
export interface Finding {
  readonly subject: Subject;
  readonly state: FindingState;
  /** One sentence, without a full stop. */
  readonly says: string;
  /** What to do about it: sentences, or a command. */
  readonly remedy?: string;
}

/** Makers of findings about one subject. */
export function findingsAbout(subject: Subject) {
  const make =
    (state: FindingState) =>
    (says: string, remedy?: string): Finding => ({
      subject,
      state,
      says,
      ...(remedy !== undefined && { remedy }),
    });
  return { good: make('good'), notice: make('notice'), problem: make('problem') };
}
