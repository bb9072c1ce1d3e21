/**
 * Log pages (SPC-4 7.3, SBC-3): what LOG SENSE tells and LOG SELECT resets. Nothing is saved, and no counter has a threshold.
 * Built anew for each command: this is a control path.
 */

import { putU16, putU32, putU64 } from '../util/fields.js';
import type { LogicalUnit } from './logical-unit.js';
import { THRESHOLD_SET_BYTES, ThresholdResource } from './provisioning-thresholds.js';

export const LogPageCode = {
  SUPPORTED: 0x00,
  WRITE_ERROR_COUNTERS: 0x02,
  READ_ERROR_COUNTERS: 0x03,
  LOGICAL_BLOCK_PROVISIONING: 0x0c,
  GENERAL_STATISTICS_AND_PERFORMANCE: 0x19,
} as const;

/** Of the supported log pages and subpages, and in LOG SELECT: all subpages. */
export const ALL_SUBPAGES = 0xff;

/** Parameter control byte: TSD, for nothing is saved, with FORMAT AND LINKING. */
const COUNTER = 0x22;
const BINARY_LIST = 0x23;

export interface LogParameter {
  readonly code: number;
  readonly control: typeof COUNTER | typeof BINARY_LIST;
  readonly value: Buffer;
}

/** A page of log parameters; those of the supported pages are made from the table. */
export interface LogPage {
  readonly code: number;
  readonly isSupported: (unit: LogicalUnit) => boolean;
  /** In ascending order of their codes. */
  readonly parameters: (unit: LogicalUnit) => readonly LogParameter[];
  /** Set the counters to zero; left out where there are none. */
  readonly reset?: (unit: LogicalUnit) => void;
}

const always = (): boolean => true;

const PAGES: readonly LogPage[] = [
  {
    code: LogPageCode.WRITE_ERROR_COUNTERS,
    isSupported: always,
    parameters: ({ statistics }) => [counter(TOTAL_UNCORRECTED_ERRORS, statistics.writeErrors)],
    reset: ({ statistics }) => (statistics.writeErrors = 0),
  },
  {
    code: LogPageCode.READ_ERROR_COUNTERS,
    isSupported: always,
    parameters: ({ statistics }) => [counter(TOTAL_UNCORRECTED_ERRORS, statistics.readErrors)],
    reset: ({ statistics }) => (statistics.readErrors = 0),
  },
  {
    code: LogPageCode.LOGICAL_BLOCK_PROVISIONING,
    isSupported: (unit) => unit.modePages.provisioning !== null,
    parameters: provisioningParameters,
  },
  {
    code: LogPageCode.GENERAL_STATISTICS_AND_PERFORMANCE,
    isSupported: always,
    parameters: statisticsParameters,
    reset: ({ statistics }) => statistics.resetPerformance(),
  },
];

/** The pages of log parameters that `unit` has, in ascending order. */
export function logPagesOf(unit: LogicalUnit): readonly LogPage[] {
  return PAGES.filter((page) => page.isSupported(unit));
}

/** Pages 00h and 00h/FFh: which pages there are, in the second with their subpages. */
export function supportedLogPages(unit: LogicalUnit, withSubpages: boolean): Buffer {
  const codes = [LogPageCode.SUPPORTED, ...logPagesOf(unit).map(({ code }) => code)];
  if (!withSubpages) return logPage(LogPageCode.SUPPORTED, 0, Buffer.from(codes));
  const pairs = codes.flatMap((code) =>
    code === LogPageCode.SUPPORTED ? [code, 0, code, ALL_SUBPAGES] : [code, 0],
  );
  return logPage(LogPageCode.SUPPORTED, ALL_SUBPAGES, Buffer.from(pairs));
}

const DS = 0x80;
const SPF = 0x40;

/** A page with `parameters`; its counters are zero with `isDefault`. */
export function parameterLogPage(
  { code }: LogPage,
  parameters: readonly LogParameter[],
  isDefault: boolean,
): Buffer {
  const parts = parameters.map(({ code: parameterCode, control, value }) => {
    const header = Buffer.from([0, 0, control, value.length]);
    putU16(header, 0, parameterCode);
    return Buffer.concat([header, isDefault && control === COUNTER ? Buffer.alloc(value.length) : value]);
  });
  const page = logPage(code, 0, Buffer.concat(parts));
  page[0]! |= DS;
  return page;
}

/** Whether thresholds could be asked for: those of data counters. */
export function hasCounters(parameters: readonly LogParameter[]): boolean {
  return parameters.some(({ control }) => control === COUNTER);
}

function logPage(code: number, subpage: number, body: Buffer): Buffer {
  const header = Buffer.from([code | (subpage === 0 ? 0 : SPF), subpage, 0, 0]);
  putU16(header, 2, body.length);
  return Buffer.concat([header, body]);
}

// ---- 02h, 03h Error counters ----

const TOTAL_UNCORRECTED_ERRORS = 0x0006;

/** A parameter of unbounded data counters of eight bytes. */
function counter(code: number, ...values: readonly number[]): LogParameter {
  const value = Buffer.alloc(8 * values.length);
  values.forEach((number, i) => putU64(value, 8 * i, number));
  return { code, control: COUNTER, value };
}

// ---- 0Ch Logical Block Provisioning (SBC-3) ----

/** SCOPE: of this unit alone; or of all who share the file system. */
const DEDICATED = 0x01;
const NOT_DEDICATED = 0x02;
const MAXIMUM_COUNT = 0xffff_ffff;

function provisioningParameters(unit: LogicalUnit): readonly LogParameter[] {
  const { space } = unit;
  if (space === null) return [];
  const { USED, AVAILABLE } = ThresholdResource;
  const used = resource(USED, Math.ceil(space.used / THRESHOLD_SET_BYTES), DEDICATED);
  if (space.available === null) return [used];
  return [resource(AVAILABLE, Math.floor(space.available / THRESHOLD_SET_BYTES), NOT_DEDICATED), used];
}

function resource(code: ThresholdResource, count: number, scope: number): LogParameter {
  const value = Buffer.alloc(8);
  putU32(value, 0, Math.min(count, MAXIMUM_COUNT));
  value[4] = scope;
  return { code, control: BINARY_LIST, value };
}

// ---- 19h General Statistics and Performance (SPC-4 7.3.6) ----

const GENERAL_ACCESS = 0x0001;
const IDLE_TIME = 0x0002;
const TIME_INTERVAL = 0x0003;
/** A time interval is 1 x 10^-6 seconds. */
const INTERVAL_EXPONENT = 6;
const INTERVALS_PER_MILLISECOND = 1000;

function statisticsParameters({ statistics, blockSize }: LogicalUnit): readonly LogParameter[] {
  const intervals = (milliseconds: number): number => Math.floor(milliseconds * INTERVALS_PER_MILLISECOND);
  const interval = Buffer.alloc(8);
  putU32(interval, 0, INTERVAL_EXPONENT);
  putU32(interval, 4, 1);
  return [
    counter(
      GENERAL_ACCESS,
      statistics.reads,
      statistics.writes,
      statistics.bytesReceived / blockSize,
      statistics.bytesTransmitted / blockSize,
      intervals(statistics.readTime),
      intervals(statistics.writeTime),
      // The weighted ones are zero: nothing is counted by priority.
      0,
      0,
    ),
    counter(IDLE_TIME, intervals(statistics.idleTime())),
    { code: TIME_INTERVAL, control: BINARY_LIST, value: interval },
  ];
}
