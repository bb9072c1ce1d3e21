/**
 * How the kernel's iSER initiator fares with tgt, LIO and Riser, all in one guest and by one rdma_rxe, each with its disk in
 * memory. Prints a table and asserts nothing of speed: the processors are emulated, and what counts is how the
 * targets compare. `RISER_LAB_ROUNDS` and `RISER_LAB_SECONDS` say how often and how long; 3 rounds of 5 s take about 5 minutes.
 */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startGuestRiser } from '../harness/guest-riser.js';
import { discoverOverIser, loginOverIser, withoutMultipath } from '../harness/iser-initiator.js';
import { startLio } from '../harness/lio.js';
import { addRdmaDevices, listening, RXE } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { startTgt } from '../harness/tgt.js';

const ROUNDS = Number(process.env['RISER_LAB_ROUNDS'] ?? 3);
const SECONDS = Number(process.env['RISER_LAB_SECONDS'] ?? 5);
/** MiB that are written before, and read from. */
const SIZE = 32;
/** Seconds of load on Riser that do not count: V8 compiles what runs often, and an emulated processor is slow at that. */
const WARM_UP = 20;
/** Block size and queue depth of random reads. */
const LOADS = [
  { block: '4k', depth: 16 },
  { block: '128k', depth: 16 },
] as const;

/** A target that runs, and its process: LIO has none. */
interface Runner {
  readonly name: string;
  readonly disk: string;
  readonly pidFile: string | null;
}

/** One run of fio. */
interface Result {
  readonly name: string;
  readonly load: string;
  readonly iops: number;
  readonly mibs: number;
  /** Microseconds of CPU for an I/O: of the process, in user and in kernel mode. */
  readonly user: number | null;
  readonly system: number | null;
}

interface FioReport {
  readonly jobs: readonly {
    readonly read: { readonly iops: number; readonly bw: number; readonly total_ios: number };
  }[];
}

/** Of _SC_CLK_TCK, in which /proc/PID/stat counts. */
const TICK_US = 10_000;

scenario('native-bench', { limit: 900 }, (lab) => {
  const runners: Runner[] = [];
  const results: Result[] = [];
  const stops: (() => Promise<void>)[] = [];

  before(async () => {
    const { guest } = lab;
    await withoutMultipath(guest);
    await addRdmaDevices(guest);
    const portal = (port: number): string => `${RXE.address}:${port}`;
    const tgt = await startTgt(guest, `${SIZE}M`);
    const lio = await startLio(guest, { portal: portal(3263), iser: true, size: `${SIZE}M` });
    const riser = await startGuestRiser(guest, lab.folder, { portal: portal(3261), memory: `${SIZE}M` });
    stops.push(tgt.stop, lio.stop, riser.stop);
    for (const port of [3260, 3261, 3263]) await guest.sh(listening(port));
    const places = [
      { name: 'tgt', pidFile: '/run/tgtd.pid', target: tgt.target, lun: tgt.lun, portal: portal(3260) },
      { name: 'LIO', pidFile: null, target: lio.target, lun: lio.lun, portal: lio.portal },
      {
        name: 'Riser',
        pidFile: '/run/riser.pid',
        target: riser.target,
        lun: riser.lun,
        portal: riser.portal,
      },
    ];
    for (const { name, pidFile, ...lun } of places) {
      await discoverOverIser(guest, lun.portal);
      const disk = await loginOverIser(guest, lun);
      await guest.sh(`dd if=/dev/urandom of=${disk} bs=1M count=${SIZE} oflag=direct status=none`);
      runners.push({ name, pidFile, disk });
    }
    for (const { block, depth } of LOADS) await run(runners.at(-1)!, block, depth, WARM_UP);
    assert.match(riser.log(), new RegExp(`session opened: .* over iSER by ${RXE.name}`));
  });

  for (let round = 1; round <= ROUNDS; round++) {
    test(`round ${round}`, async () => {
      for (const { block, depth } of LOADS) {
        for (const runner of runners) results.push(await run(runner, block, depth));
      }
    });
  }

  async function run(
    { name, disk, pidFile }: Runner,
    block: string,
    depth: number,
    seconds = SECONDS,
  ): Promise<Result> {
    const times = pidFile === null ? 'echo' : `cut -d ' ' -f 14,15 /proc/$(cat ${pidFile})/stat`;
    const [before, after, ...report] = (
      await lab.guest.sh(`
        before=$(${times})
        fio --output=/tmp/fio.json --output-format=json --name=load --filename=${disk} --rw=randread --bs=${block} \\
          --iodepth=${depth} --ioengine=libaio --direct=1 --time_based --runtime=${seconds} --size=${SIZE}m
        echo "$before"; ${times}; cat /tmp/fio.json`)
    ).split('\n');
    const { read } = (JSON.parse(report.join('\n')) as FioReport).jobs[0]!;
    assert.ok(read.total_ios > 0);
    const cost = (field: 0 | 1): number | null => {
      if (pidFile === null) return null;
      const ticks = [before!, after!].map((line) => Number(line.split(' ')[field]));
      return ((ticks[1]! - ticks[0]!) * TICK_US) / read.total_ios;
    };
    return { name, load: block, iops: read.iops, mibs: read.bw / 1024, user: cost(0), system: cost(1) };
  }

  test('what each has done', (t) => {
    const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;
    const lines = LOADS.flatMap(({ block, depth }) =>
      runners.map(({ name }) => {
        const own = results.filter((result) => result.name === name && result.load === block);
        const of = (field: 'iops' | 'mibs' | 'user' | 'system'): string => {
          const values = own.map((result) => result[field]).filter((value) => value !== null);
          return (values.length === 0 ? '-' : median(values).toFixed(field === 'mibs' ? 1 : 0)).padStart(9);
        };
        const all = own.map(({ iops }) => iops.toFixed(0)).join(' ');
        return `${block.padEnd(5)}x${depth} ${name.padEnd(6)}${of('iops')}${of('mibs')}${of('user')}${of('system')}   ${all}`;
      }),
    );
    t.diagnostic('random reads; medians; CPU time of the process for an I/O, us');
    t.diagnostic('          target     IOPS    MiB/s     user   system   IOPS of the rounds');
    for (const line of lines) t.diagnostic(line);
  });

  after(async () => {
    await lab.guest.run('udevadm settle; iscsiadm -m node --logoutall=all');
    for (const stop of stops) await stop();
  });
});
