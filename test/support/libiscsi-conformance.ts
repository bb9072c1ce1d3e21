/**
 * libiscsi's conformance suite, `iscsi-test-cu --dataloss` of version 1.19, against LUNs of every kind.
 *
 * The suite counts a test that skipped itself as passed. Here a skip is a failure unless {@link LEGITIMATE}
 * explains it for that LUN, and every test has to run without any skip on at least one LUN.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';

import { createImage, FileDevice, type FileDeviceOptions, MemoryDevice } from '../../src/block/index.js';
import { type CUnitTest, parseCUnit, parseTestList } from './cunit.js';
import { peer } from './peers.js';
import { runProgram } from './run-program.js';
import { type TestLun, TestTarget, type Transport } from './target.js';
import { temporaryFolder } from './temporary.js';

/** Small enough for READ(6), whose addresses end at 1 GiB: its tests skip themselves on larger LUNs. */
const SIZE = 100 * 1024 * 1024;
const FAMILY_TIMEOUT_MS = 120_000;

/** The LUNs in order of their numbers. */
export const LUNS = ['thin', 'full', 'removable', 'readOnly', 'thin4096', 'thin512e', 'cd'] as const;
export type Lun = (typeof LUNS)[number];

const ALL_KINDS = ['thin', 'full', 'removable', 'readOnly', 'thin4096'] as const;
/** The other families are of commands that a CD drive lacks, or skip all of their tests on what is no disk. */
const WITH_CD = [...ALL_KINDS, 'cd'] as const;
const WRITABLE = ['thin', 'full', 'thin4096'] as const;
/** With some tests that need several logical blocks in a physical one. */
const WRITABLE_AND_512E = [...WRITABLE, 'thin512e'] as const;
/** What concerns the session and not the LUN, and takes seconds, runs once. */
const ONCE = ['thin'] as const;

const SANITIZED = ['thin', 'full', 'thin4096'] as const;

/** Which LUNs each family of tests runs on, or a single test of one, `Family.Test`. */
const FAMILIES: Record<string, readonly Lun[]> = {
  CompareAndWrite: WRITABLE_AND_512E,
  ExtendedCopy: WRITABLE_AND_512E,
  GetLBAStatus: WRITABLE,
  Inquiry: WITH_CD,
  Mandatory: WITH_CD,
  ModeSense6: WITH_CD,
  NoMedia: ['removable'],
  OrWrite: WRITABLE,
  PrinReadKeys: WRITABLE,
  PrinReportCapabilities: ALL_KINDS,
  PrinServiceactionRange: ALL_KINDS,
  ProutClear: WRITABLE,
  ProutPreempt: WRITABLE,
  ProutRegister: WRITABLE,
  ProutReserve: WRITABLE,
  Prefetch10: ALL_KINDS,
  Prefetch16: ALL_KINDS,
  PreventAllow: ['thin', 'removable'],
  Read6: ALL_KINDS,
  Read10: WITH_CD,
  Read12: WITH_CD,
  Read16: ALL_KINDS,
  ReadCapacity10: WITH_CD,
  ReadCapacity16: ALL_KINDS,
  ReadDefectData10: ALL_KINDS,
  ReadDefectData12: ALL_KINDS,
  ReadOnly: ['readOnly'],
  // It copies onto the LUN.
  ReceiveCopyResults: [...WRITABLE, 'removable'],
  ReportSupportedOpcodes: WITH_CD,
  Reserve6: ONCE,
  'Sanitize.BlockErase': SANITIZED,
  'Sanitize.BlockEraseReserved': SANITIZED,
  'Sanitize.CryptoErase': SANITIZED,
  'Sanitize.CryptoEraseReserved': SANITIZED,
  'Sanitize.ExitFailureMode': SANITIZED,
  'Sanitize.InvalidServiceAction': SANITIZED,
  'Sanitize.Overwrite': SANITIZED,
  'Sanitize.OverwriteReserved': SANITIZED,
  'Sanitize.Readonly': SANITIZED,
  'Sanitize.Reservations': SANITIZED,
  // It looks for an operation that is still under way after some seconds, and looks again a minute later.
  'Sanitize.Reset': ['full'],
  StartStopUnit: ['thin', 'removable', 'cd'],
  TestUnitReady: WITH_CD,
  Unmap: WRITABLE_AND_512E,
  Verify10: WRITABLE,
  Verify12: WRITABLE,
  Verify16: WRITABLE,
  Write10: WRITABLE,
  Write12: WRITABLE,
  Write16: WRITABLE,
  // Memory has it; the images have not, and the suite must see it nowhere half.
  WriteAtomic16: ['full', 'thin4096', 'thin512e'],
  WriteSame10: WRITABLE_AND_512E,
  WriteSame16: WRITABLE_AND_512E,
  WriteVerify10: WRITABLE,
  WriteVerify12: WRITABLE,
  WriteVerify16: WRITABLE,
  iSCSIcmdsn: ONCE,
  iSCSIdatasn: ONCE,
  iSCSIResiduals: ['thin', 'full'],
  iSCSITMF: ['thin', 'full'],
};

interface LegitimateSkip {
  luns: readonly Lun[];
  /** `Family.Test`. */
  tests: RegExp;
  reason: RegExp;
  /** Whether the test counts as run all the same: only a part of it was skipped, or it runs on no target. */
  countsAsRun?: boolean;
}

const LEGITIMATE: readonly LegitimateSkip[] = [
  // A fully provisioned unit refuses to unmap.
  {
    luns: ['full'],
    tests:
      /^(Unmap|GetLBAStatus|WriteSame1[06])\.|^CompareAndWrite\.InvalidDataOutSize$|^Inquiry\.BlockLimits$/,
    reason: /fully provisioned/,
  },
  { luns: ['full'], tests: /^Unmap\.VPD$/, reason: /UNMAP is not implemented/ },
  { luns: ['thin'], tests: /^(PreventAllow|StartStopUnit)\./, reason: /not removable/ },
  // What these look at is a disk's alone.
  {
    luns: ['cd'],
    tests:
      /^(Inquiry\.(BlockLimits|MandatoryVPDSBC)|Mandatory\.MandatorySBC|ModeSense6\.Control-SWP|Read10\.Async|Read1[02]\.(ReadProtect|DpoFua))$/,
    reason: /Not SBC device/,
  },
  // It provokes its sense data by a READ(16), which no drive has.
  { luns: ['cd'], tests: /^ModeSense6\.Control-D_SENSE$/, reason: /READ16 is not implemented/ },
  // These transfer 8000 blocks, more bytes than one command may when a block has 4096.
  { luns: ['thin4096'], tests: /^(Read10|Write10)\.Async$/, reason: /the test did nothing/ },
  // No image promises what WRITE ATOMIC does; where it is, it takes any place and any length.
  { luns: ['full'], tests: /^WriteAtomic16\./, reason: /not (implemented|supported)/i },
  {
    luns: ['thin4096', 'thin512e'],
    tests: /^WriteAtomic16\.VPD$/,
    reason: /No (alignment|granularity) restrictions/,
    countsAsRun: true,
  },
  // No medium has a key.
  {
    luns: SANITIZED,
    tests: /^Sanitize\.(CryptoErase|Readonly|Reservations)$/,
    reason: /CRYPTO_ERASE is not implemented/,
    countsAsRun: true,
  },
  {
    luns: ['full'],
    tests: /^Sanitize\.(BlockErase|Readonly|Reservations)$/,
    reason: /BLOCK_ERASE is not implemented/,
  },
  // Their logical blocks are physical ones, so none can be misaligned.
  {
    luns: ['thin', 'thin4096'],
    tests: /^WriteSame1[06]\.(UnmapUnaligned|InvalidDataOutSize)$|^CompareAndWrite\.InvalidDataOutSize$/,
    reason: /LBPPB < 2/,
  },
  // Broken in 1.19: the test before it leaves no session, and run alone it asserts an answer to a request
  // that it has not sent yet. Riser's own tests reset logical units.
  {
    luns: ALL_KINDS,
    tests: /^iSCSITMF\.LUNResetSimpleAsync$/,
    reason: /the test did nothing/,
    countsAsRun: true,
  },
];

const tool = peer('iscsi-test-cu', 'libiscsi-bin');

/** What of the suite is run. */
export interface Selection {
  /** All by default. */
  luns?: readonly Lun[];
  /** Families that are left out. */
  without?: readonly string[];
}

/** The suite's tests against a target that is reached by `transport`. */
export function libiscsiConformance(
  transport: Transport,
  { luns: wanted = LUNS, without = [] }: Selection = {},
): void {
  const families = Object.entries(FAMILIES).filter(([family]) => !without.includes(family));

  describe(`libiscsi conformance suite over ${transport}`, { skip: tool.skip }, () => {
    const folder = temporaryFolder();
    let target: TestTarget;
    /** Tests that ran whole on some LUN, as `Family.Test`. */
    const ran = new Set<string>();

    before(async () => {
      const file = async (name: string, options: FileDeviceOptions = {}): Promise<FileDevice> => {
        const path = join(folder, name);
        await createImage(path, SIZE);
        return FileDevice.open(path, options);
      };
      const luns: TestLun[] = [
        { device: await file('thin.img') },
        { device: await file('full.img', { thin: false }), provisioning: 'full' },
        { device: new MemoryDevice({ size: SIZE, blockSize: 512 }), removable: true },
        { device: await file('read-only.img', { readOnly: true }) },
        { device: new MemoryDevice({ size: SIZE, blockSize: 4096 }) },
        { device: new MemoryDevice({ size: SIZE, blockSize: 512 }), physicalBlockSize: 4096 },
        { device: new MemoryDevice({ size: SIZE, blockSize: 2048 }), type: 'cdrom' },
      ];
      target = await TestTarget.start(luns, { transport });
    });
    after(() => target.close());

    for (const [family, luns] of families) {
      for (const lun of luns.filter((kind) => wanted.includes(kind))) {
        test(`${family} on ${lun}`, async (t) => {
          const args = [
            '--dataloss',
            '--allow-sanitize',
            '-v',
            '-V',
            '-t',
            `ALL.${family}`,
            target.url(LUNS.indexOf(lun)),
          ];
          const { status, stdout, stderr } = await runProgram(tool.path, args, FAMILY_TIMEOUT_MS);
          const tests = parseCUnit(stdout);
          assert.notEqual(tests.length, 0, `no test ran: ended with ${status}\n${stdout}${stderr}`);
          for (const result of tests) await t.test(result.name, (sub) => judge(sub, family, lun, result));
        });
      }
    }

    test('every test of the families ran without a skip on some LUN', async () => {
      const list = parseTestList((await runProgram(tool.path, ['--list'])).stdout);
      const missing = families
        .flatMap(([family]) => {
          if (family.includes('.')) return [family];
          return list.get(family)?.map((name) => `${family}.${name}`) ?? [`${family}: unknown`];
        })
        .filter((name) => !ran.has(name));
      assert.deepEqual(missing, []);
    });

    test(`every session was over ${transport}`, () => {
      assert.deepEqual([...target.transports], [transport]);
    });

    function judge(
      t: TestContext,
      family: string,
      lun: Lun,
      { name, outcome, lines, skips }: CUnitTest,
    ): void {
      const fullName = `${family.split('.')[0]}.${name}`;
      assert.equal(outcome, 'passed', lines.slice(-40).join('\n'));
      let isWhole = true;
      for (const skip of skips) {
        const rule = LEGITIMATE.find(
          ({ luns, tests, reason }) => luns.includes(lun) && tests.test(fullName) && reason.test(skip),
        );
        assert.ok(
          rule !== undefined,
          `skipped on a LUN configured for it: ${skip}\n${lines.slice(-40).join('\n')}`,
        );
        isWhole &&= rule.countsAsRun === true;
        t.diagnostic(skip);
      }
      if (isWhole) ran.add(fullName);
    }
  });
}
