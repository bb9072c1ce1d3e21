/** A comparison as text and as a picture. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { elementsOf, parseXml, type XmlElement } from '../../../test/support/xml.js';
import { describeComparison } from './comparison-table.js';
import { axisOf, drawPicture } from './picture.js';
import type { TargetProcesses } from './process-time.js';
import type { Run } from './rounds.js';
import { type Comparison, METRICS, type MetricKey, summaryOf } from './summary.js';

const HERE: TargetProcesses = { processes: [{ pid: 42, name: 'tgtd' }], reason: null };
const REMOTE: TargetProcesses = { processes: null, reason: '192.0.2.9 is not this machine' };

function run(round: number, iops: number, target: TargetProcesses): Run {
  const latencyUs = {
    minimum: 50,
    mean: 120,
    p50: 100 * round,
    p90: 300,
    p99: 2500,
    'p99.9': 12_000,
    maximum: 20_000,
  };
  const rates = { count: iops * 10, iops, bytesPerSecond: iops * 4096 };
  return {
    round,
    isWhole: true,
    seconds: 10,
    ...rates,
    reads: { ...rates, latencyUs },
    writes: null,
    latencyUs,
    copiedBytes: 4096,
    cpuUs: { initiator: 11.25, target: target.processes === null ? null : 7.5 },
    target,
  };
}

interface Options extends Partial<Comparison> {
  /** IOPS of the runs on each subject. */
  iops?: number[][];
  targets?: TargetProcesses[];
  urls?: string[];
}

function comparison({
  iops = [
    [1000, 3000, 2000],
    [4000, 4400],
  ],
  ...rest
}: Options = {}): Comparison {
  const { targets = [HERE, REMOTE], urls = [], ...over } = rest;
  const subjects = iops.map((each, i) => {
    const target = targets[i % targets.length]!;
    const runs = each.map((one, j) => run(j + 1, one, target));
    const summary = summaryOf(runs);
    return {
      letter: String.fromCharCode(65 + i),
      url: urls[i] ?? `${i === 1 ? 'iser' : 'iscsi'}://192.0.2.7/iqn.2026-11.com.example:disk/${i}`,
      transport: i === 1 ? ('iser' as const) : ('tcp' as const),
      lun: { name: 'naa', size: 1 << 30, blockSize: 512 },
      paths: 1,
      target: runs.length === 0 ? null : target,
      ratio: summary.iops === null ? null : summary.iops.median / 2000,
      summary,
      runs,
    };
  });
  return {
    date: '2026-11-22T14:30:40.123Z',
    blockSize: 4096,
    depth: 32,
    order: 'random',
    readPercent: 70,
    sessions: 2,
    rounds: 3,
    seconds: 10,
    rampSeconds: 1,
    isSameLun: true,
    interruptedBy: null,
    subjects,
    ...over,
  };
}

describe('the table of a comparison', () => {
  test('has a row for each URL, and says what is not known once', () => {
    const text = describeComparison(comparison({ iops: [[1000, 3000, 2000], [4000, 4400], [2000]] }));
    const lines = text.split('\n');
    assert.match(
      lines[0]!,
      /^ +TRANSPORT +IOPS +MIN +MAX +RATIO +MIB\/S +P50 +P99 +P99\.9 +INITIATOR CPU +TARGET CPU +COPIED$/,
    );
    const cells = lines.slice(1, 4).map((line) => line.split(/ {2,}/));
    assert.deepEqual(cells, [
      [
        'A',
        'TCP',
        '2000',
        '1000',
        '3000',
        '1.00',
        '7.8',
        '200 us',
        '2.50 ms',
        '12.0 ms',
        '11.3 us',
        '7.5 us',
        '4096 B',
      ],
      [
        'B',
        'iSER',
        '4200',
        '4000',
        '4400',
        '2.10',
        '16.4',
        '150 us',
        '2.50 ms',
        '12.0 ms',
        '11.3 us',
        '-',
        '4096 B',
      ],
      [
        'C',
        'TCP',
        '2000',
        '2000',
        '2000',
        '1.00',
        '7.8',
        '100 us',
        '2.50 ms',
        '12.0 ms',
        '11.3 us',
        '7.5 us',
        '4096 B',
      ],
    ]);
    assert.match(text, /\nB {2}iser:\/\/192\.0\.2\.7\/iqn\.2026-11\.com\.example:disk\/1\n/);
    assert.match(
      text,
      /\nrandom reads \(70 %\) and writes \(30 %\) of 4 KiB, 32 in flight in each of 2 sessions; medians of 1 to 3 runs of 10 s\./,
    );
    assert.equal(text.split('192.0.2.9 is not this machine').length, 2);
    assert.match(text, /\nCPU time of the target of B is not known: 192\.0\.2\.9 is not this machine\.\n/);
    assert.match(text, /\nTargets, with all else that they do: A, C: process 42 \(tgtd\)\.\n/);
    assert.doesNotMatch(text, /different LUNs|ended it early/);
  });

  test('says which LUNs are different, and what a signal cut off', () => {
    const whole = comparison({ iops: [[1000], []], isSameLun: false, interruptedBy: 'SIGINT' });
    const text = describeComparison(whole);
    assert.match(text, /\nB +iSER +- +- +- +- +- +- +- +- +- +- +-\n/);
    assert.match(text, /\nThese are different LUNs: A, B: naa of 1 GiB\.\n/);
    assert.match(text, /medians of 0 to 1 run of/);
    assert.match(text, /\nSIGINT ended it early\.\n$/);
    assert.match(describeComparison(comparison({ isSameLun: null })), /Whether it is one LUN is not known/);
  });

  test('cannot be used to command a terminal', () => {
    const text = describeComparison(comparison({ urls: ['iscsi://\x1b[2J/x/0'] }));
    assert.ok(!text.includes('\x1b'));
  });
});

describe('the picture of a comparison', () => {
  const bars = (svg: XmlElement): XmlElement[] =>
    elementsOf(svg, 'rect').filter(({ attributes }) => attributes['class']?.startsWith('bar '));
  const number = ({ attributes }: XmlElement, name: string): number => Number(attributes[name]);

  test('is XML with a bar for each URL and number, and a dot for each run', () => {
    const svg = parseXml(drawPicture(comparison()));
    assert.equal(svg.name, 'svg');
    assert.equal(svg.attributes['xmlns'], 'http://www.w3.org/2000/svg');
    const found = bars(svg).map(
      ({ attributes }) => `${attributes['data-metric']} ${attributes['data-subject']}`,
    );
    const expected = Object.keys(METRICS).flatMap((key) => [`${key} A`, `${key} B`]);
    // The target of B is remote.
    assert.deepEqual(found.sort(), expected.filter((one) => one !== 'targetCpuUs B').sort());
    assert.equal(elementsOf(svg, 'circle').length, 9 * 3 + 8 * 2);
    const texts = elementsOf(svg, 'text').map(({ text }) => text);
    for (const text of ['IOPS', 'I/Os per second', 'MiB/s', 'µs per I/O', 'µs', 'ms', '–'])
      assert.ok(texts.includes(text), text);
    const all = texts.join(' ');
    for (const part of [
      'riser bench: random reads (70 %) and writes (30 %) of 4 KiB',
      '32 in flight in each of 2 sessions',
      '2026-11-22 14:30:40 UTC',
      'B, iSER: iser://192.0.2.7/',
      '192.0.2.9 is not this machine',
    ])
      assert.ok(all.includes(part), part);
  });

  test('has bars as high as their medians, and nothing outside of it', () => {
    for (const count of [2, 4, 5, 8]) {
      const iops = Array.from({ length: count }, (_, i) => [1000 * (i + 1), 500 * (i + 1), 1500 * (i + 1)]);
      const svg = parseXml(drawPicture(comparison({ iops })));
      const [width, height] = [number(svg, 'width'), number(svg, 'height')];
      const ofIops = bars(svg).filter(
        ({ attributes }) => attributes['data-metric'] === ('iops' satisfies MetricKey),
      );
      assert.equal(ofIops.length, count);
      const first = number(ofIops[0]!, 'height');
      ofIops.forEach((bar, i) => {
        assert.ok(Math.abs(number(bar, 'height') - first * (i + 1)) < 0.05 * (i + 1));
        assert.ok(i === 0 || number(bar, 'x') >= number(ofIops[i - 1]!, 'x') + number(bar, 'width'));
      });
      for (const rect of elementsOf(svg, 'rect').slice(1)) {
        assert.ok(number(rect, 'x') >= 0 && number(rect, 'x') + number(rect, 'width') <= width);
        assert.ok(number(rect, 'y') >= 0 && number(rect, 'y') + number(rect, 'height') <= height);
      }
      for (const circle of elementsOf(svg, 'circle'))
        assert.ok(number(circle, 'cy') > 0 && number(circle, 'cy') < height);
      for (const { attributes } of elementsOf(svg, 'text')) assert.ok(Number(attributes['y']) < height);
    }
  });

  test('is XML whatever a URL has in it, and has room for the longest', () => {
    const urls = [
      'iscsi://<&">]]>\'\u0000\x1b\ufffe%/x/0',
      `iscsi://h/iqn.2026-11.com.example:${'x'.repeat(190)}/0`,
    ];
    const svg = parseXml(drawPicture(comparison({ urls })));
    const titles = elementsOf(svg, 'title').map(({ text }) => text);
    assert.ok(titles.includes(urls[1]!));
    const texts = elementsOf(svg, 'text').map(({ text }) => text);
    assert.ok(texts.some((text) => text.includes('…') && text.endsWith('xxx/0')));
    assert.ok(texts.every((text) => text.length < 150));
  });

  test('stands, also when nothing but one run was measured', () => {
    const svg = parseXml(drawPicture(comparison({ iops: [[], [5]], interruptedBy: 'SIGTERM' })));
    assert.deepEqual([...new Set(bars(svg).map(({ attributes }) => attributes['data-subject']))], ['B']);
    assert.match(svg.text, /SIGTERM ended it early/);
  });
});

test('an axis has round numbers, from 0 to what is shown or a little more', () => {
  assert.deepEqual(axisOf(100), { ticks: [0, 25, 50, 75, 100], most: 100 });
  assert.deepEqual(axisOf(252_848), { ticks: [0, 100_000, 200_000, 300_000], most: 300_000 });
  assert.deepEqual(axisOf(0), { ticks: [0, 1], most: 1 });
  for (let largest = 0.0123; largest < 1e9; largest *= 1.37) {
    const { ticks, most } = axisOf(largest);
    assert.ok(most >= largest && most <= largest * 2 && ticks.length <= 6, String(largest));
    assert.equal(ticks.at(-1), most);
  }
});
