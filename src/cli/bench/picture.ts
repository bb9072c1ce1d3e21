/** A comparison as a picture: a panel of bars for each number, in SVG that needs nothing else. */

import { printable } from '../log.js';
import { describeIos, describeDepth, remarksOf } from './comparison-table.js';
import { type Comparison, METRICS, type MetricKey, type Spread, type SubjectResults } from './summary.js';

interface Panel {
  key: MetricKey;
  title: string;
  /** What the axis tells, and what one of it is in that of the metric. */
  unit: string;
  divisor: number;
  /** Panels with the same word share a scale. */
  scale: string;
}

const PANELS: readonly Panel[] = [
  { key: 'iops', title: 'IOPS', unit: 'I/Os per second', divisor: 1, scale: 'iops' },
  { key: 'bytesPerSecond', title: 'Bandwidth', unit: 'MiB/s', divisor: 2 ** 20, scale: 'bandwidth' },
  { key: 'copiedBytes', title: 'Copied, initiator', unit: 'KiB per I/O', divisor: 1024, scale: 'copied' },
  { key: 'initiatorCpuUs', title: 'CPU, initiator', unit: 'µs per I/O', divisor: 1, scale: 'cpu' },
  { key: 'targetCpuUs', title: 'CPU, target', unit: 'µs per I/O', divisor: 1, scale: 'cpu' },
  { key: 'p50Us', title: 'Latency, median', unit: 'µs', divisor: 1, scale: 'p50' },
  { key: 'p90Us', title: 'Latency, 90 %', unit: 'µs', divisor: 1, scale: 'p90' },
  { key: 'p99Us', title: 'Latency, 99 %', unit: 'µs', divisor: 1, scale: 'p99' },
  { key: 'p99.9Us', title: 'Latency, 99.9 %', unit: 'µs', divisor: 1, scale: 'p99.9' },
];

/** Of each subject, on light and on dark ground; each with a contrast of 3 to 1 or more to it. */
const COLOURS: readonly (readonly [light: string, dark: string])[] = [
  ['#2368b0', '#6cb0f5'],
  ['#c4570b', '#f79c4e'],
  ['#217a45', '#5fc98a'],
  ['#a8366f', '#f08cc0'],
  ['#6a4fc0', '#b4a0fa'],
  ['#80620f', '#d9bc5a'],
  ['#0b7a85', '#4ecbd6'],
  ['#b3342c', '#f58a82'],
];

/** Lengths are in CSS pixels. */
const MARGIN = 24;
const GAP = 28;
const AXIS_WIDTH = 48;
const PLOT_HEIGHT = 150;
/** Above a plot its title and unit, below it letters and medians. */
const HEAD_HEIGHT = 44;
const FOOT_HEIGHT = 38;
const SLOT_WIDTH = 44;
const LEAST_PLOT_WIDTH = 150;
const BAR_SHARE = 0.62;
const LINE_HEIGHT = 18;
const DOT_RADIUS = 2.5;
/** Panels beside each other, and from how many subjects on there is no room for them. */
const COLUMNS = 3;
const NARROW_COLUMNS = 2;
const NARROW_FROM = 5;
/** Of a character of 12-pixel text. */
const CHARACTER_WIDTH = 7.2;
const TICKS = 4;

/** The text of an SVG file. */
export function drawPicture(comparison: Comparison): string {
  const { subjects } = comparison;
  const columns = subjects.length < NARROW_FROM ? COLUMNS : NARROW_COLUMNS;
  const plotWidth = Math.max(LEAST_PLOT_WIDTH, subjects.length * SLOT_WIDTH);
  const panelWidth = AXIS_WIDTH + plotWidth;
  const panelHeight = HEAD_HEIGHT + PLOT_HEIGHT + FOOT_HEIGHT;
  const width = 2 * MARGIN + columns * panelWidth + (columns - 1) * GAP;
  const room = Math.floor((width - 2 * MARGIN) / CHARACTER_WIDTH);

  const title = `riser bench: ${describeIos(comparison)}`;
  let y = MARGIN + LINE_HEIGHT;
  const parts = [text(MARGIN, y, title, 'title')];
  for (const line of wrapped(describeRuns(comparison), room))
    parts.push(text(MARGIN, (y += LINE_HEIGHT), line, 'quiet'));
  y += LINE_HEIGHT / 2;
  for (const subject of subjects) parts.push(legendOf(subject, (y += LINE_HEIGHT), room));
  y += LINE_HEIGHT;
  const top = y;
  PANELS.forEach((panel, i) => {
    const x = MARGIN + (i % columns) * (panelWidth + GAP) + AXIS_WIDTH;
    y = top + Math.floor(i / columns) * (panelHeight + GAP) + HEAD_HEIGHT;
    parts.push(drawPanel(panel, subjects, { x, y, width: plotWidth }));
  });
  y += PLOT_HEIGHT + FOOT_HEIGHT + LINE_HEIGHT;
  for (const remark of remarksOf(comparison))
    for (const line of wrapped(remark, room)) parts.push(text(MARGIN, (y += LINE_HEIGHT), line, 'quiet'));
  const height = y + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${width}" height="${height}"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function describeRuns(comparison: Comparison): string {
  const { date, seconds, rampSeconds } = comparison;
  const when = date.replace('T', ' ').replace(/\.\d+Z$/, ' UTC');
  const load = `${describeDepth(comparison)}, ${rampSeconds} s to warm up and then ${seconds} s counted, in turn`;
  return `${load}; bars are medians, dots the runs. ${when}`;
}

function legendOf({ letter, transport, url }: SubjectResults, y: number, room: number): string {
  const what = `${letter}, ${transport === 'tcp' ? 'iSCSI over TCP' : 'iSER'}: `;
  return [
    '<g>',
    `<title>${escaped(url)}</title>`,
    `<rect class="${classOf(letter)}" x="${MARGIN}" y="${y - 10}" width="12" height="12"/>`,
    text(MARGIN + 20, y, what + shortened(url, room - what.length - 3), 'legend'),
    '</g>',
  ].join('\n');
}

interface Place {
  /** The upper left corner of the plot. */
  x: number;
  y: number;
  width: number;
}

function drawPanel(panel: Panel, subjects: readonly SubjectResults[], { x, y, width }: Place): string {
  const { unit, divisor } = unitOf(panel, subjects);
  const { ticks, most } = axisOf(largestOf(panel, subjects) / divisor);
  const bottom = y + PLOT_HEIGHT;
  const heightOf = (value: number): number => (value / divisor / most) * PLOT_HEIGHT;
  const parts = [text(x, y - 28, panel.title, 'head'), text(x, y - 12, unit, 'quiet')];
  for (const tick of ticks) {
    const at = rounded(bottom - (tick / most) * PLOT_HEIGHT);
    parts.push(
      `<line class="${tick === 0 ? 'axis' : 'grid'}" x1="${x}" y1="${at}" x2="${x + width}" y2="${at}"/>`,
    );
    parts.push(text(x - 6, at + 4, formatValue(tick, most), 'tick'));
  }
  const slot = width / subjects.length;
  subjects.forEach(({ letter, summary, runs }, i) => {
    const middle = x + (i + 0.5) * slot;
    const spread = summary[panel.key];
    const median = spread === null ? '–' : formatValue(spread.median / divisor);
    parts.push(text(middle, bottom + 17, letter, 'letter'), text(middle, bottom + 32, median, 'value'));
    if (spread === null) return;
    const barWidth = slot * BAR_SHARE;
    const left = middle - barWidth / 2;
    const height = heightOf(spread.median);
    parts.push(
      '<g>',
      `<title>${escaped(describeBar(letter, panel, unit, divisor, spread))}</title>`,
      `<rect class="bar ${classOf(letter)}" data-metric="${panel.key}" data-subject="${letter}" x="${rounded(left)}" y="${rounded(bottom - height)}" width="${rounded(barWidth)}" height="${rounded(height)}"/>`,
    );
    // From left to right in their order, which shows what changes with time.
    runs.map(METRICS[panel.key]).forEach((value, run) => {
      if (value === null) return;
      const at = rounded(left + ((run + 1) / (runs.length + 1)) * barWidth);
      parts.push(
        `<circle class="dot" cx="${at}" cy="${rounded(bottom - heightOf(value))}" r="${DOT_RADIUS}"/>`,
      );
    });
    parts.push('</g>');
  });
  return parts.join('\n');
}

function describeBar(letter: string, panel: Panel, unit: string, divisor: number, spread: Spread): string {
  const [median, least, most] = [spread.median, spread.minimum, spread.maximum].map((value) =>
    formatValue(value / divisor),
  );
  return `${letter}, ${panel.title}: ${median} ${unit} (${least} to ${most})`;
}

/** The largest of all dots that share a scale. */
function largestOf({ scale }: Panel, subjects: readonly SubjectResults[]): number {
  const keys = PANELS.filter((panel) => panel.scale === scale).map(({ key }) => key);
  return Math.max(0, ...subjects.flatMap(({ summary }) => keys.map((key) => summary[key]?.maximum ?? 0)));
}

/** Long times are in milliseconds. */
function unitOf(panel: Panel, subjects: readonly SubjectResults[]): { unit: string; divisor: number } {
  const isLong = panel.unit.startsWith('µs') && largestOf(panel, subjects) >= 10_000;
  return isLong ? { unit: panel.unit.replace('µs', 'ms'), divisor: 1000 } : panel;
}

/** About {@link TICKS} round numbers from 0 to `most`, which is `largest` or a little more. */
export function axisOf(largest: number): { ticks: number[]; most: number } {
  if (largest <= 0) return { ticks: [0, 1], most: 1 };
  const rough = largest / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough)!;
  const count = Math.ceil(largest / step);
  return { ticks: Array.from({ length: count + 1 }, (_, i) => i * step), most: count * step };
}

/** Three digits that matter, as `81.2k`, `317`, `4.25`; in the multiple that suits `scale`. */
function formatValue(value: number, scale = value): string {
  if (value === 0) return '0';
  if (scale >= 1e6) return `${digits(value / 1e6)}M`;
  return scale >= 10_000 ? `${digits(value / 1000)}k` : digits(value);
}

function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

function classOf(letter: string): string {
  return `subject-${letter.toLowerCase()}`;
}

function text(x: number, y: number, content: string, kind: string): string {
  return `<text class="${kind}" x="${rounded(x)}" y="${rounded(y)}">${escaped(content)}</text>`;
}

function rounded(length: number): number {
  return Number(length.toFixed(2));
}

/** Without its middle, if it has more than so many characters. */
function shortened(content: string, characters: number): string {
  if (content.length <= characters) return content;
  const half = Math.max(1, Math.floor((characters - 1) / 2));
  return `${content.slice(0, half)}…${content.slice(-half)}`;
}

/** In lines of at most so many characters, where words allow. */
function wrapped(content: string, characters: number): string[] {
  const lines: string[] = [];
  for (const word of content.split(' ')) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > characters) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

/** What a URL or a target's name has in it must not become markup. */
function escaped(content: string): string {
  const names: Record<string, string> = { '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' };
  // XML 1.0 2.2 has no place for the last two either.
  const allowed = printable(content).replace(/[\ufffe\uffff]/g, '\ufffd');
  return allowed.replace(/[&<>"]/g, (character) => `&${names[character]!};`);
}

const STYLE = `
text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1f2328; }
.title { font-size: 18px; font-weight: 600; }
.head { font-size: 13px; font-weight: 600; }
.quiet, .tick { fill: #57606a; }
.tick { text-anchor: end; font-size: 11px; }
.letter, .value { text-anchor: middle; }
.value { font-size: 11px; }
.page { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.axis { stroke: #57606a; }
.dot { fill: #ffffff; stroke: #1f2328; }
${COLOURS.map(([light], i) => `.${classOf(String.fromCharCode(65 + i))} { fill: ${light}; }`).join('\n')}
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.quiet, .tick { fill: #9aa4ae; }
.page { fill: #14181d; }
.grid { stroke: #30363d; }
.axis { stroke: #9aa4ae; }
.dot { fill: #14181d; stroke: #e6edf3; }
${COLOURS.map(([, dark], i) => `.${classOf(String.fromCharCode(65 + i))} { fill: ${dark}; }`).join('\n')}
}
`;
