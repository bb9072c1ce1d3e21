/**
 * Makes `src/iscsi/stringprep-tables.ts` of the text of RFC 3454:
 *
 *     node --import tsx test/support/make-stringprep-tables.ts rfc3454.txt >src/iscsi/stringprep-tables.ts
 */

import { readFileSync } from 'node:fs';

type Range = [first: number, last: number];

const text = readFileSync(process.argv[2]!, 'utf8');
const hex = (code: number): string => code.toString(16);

/** The entries of a table: a code point or a range, and what follows it. */
function entries(table: string): { range: Range; rest: string }[] {
  const [, body] = text.split(new RegExp(`----- (?:Start|End) Table ${table.replaceAll('.', '\\.')} -----`));
  return [...body!.matchAll(/^\s+([0-9A-F]{4,6})(?:-([0-9A-F]{4,6}))?(?:; ?(.*))?$/gm)].map(
    ([, first, last = first, rest = '']) => ({ range: [parseInt(first!, 16), parseInt(last!, 16)], rest }),
  );
}

/** Ranges of several tables in order, those that touch as one. */
function ranges(...tables: string[]): Range[] {
  const all = tables.flatMap((table) => entries(table).map(({ range }) => range));
  const merged: Range[] = [];
  for (const [first, last] of all.sort(([a], [b]) => a - b)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

const writeRanges = (list: readonly Range[]): string =>
  list.map(([first, last]) => (first === last ? hex(first) : `${hex(first)}-${hex(last)}`)).join(' ');

interface Run {
  first: number;
  last: number;
  step: number;
  distance: number;
}

function writeRun({ first, last, step, distance }: Run): string {
  const shift = `${distance < 0 ? '-' : '+'}${hex(Math.abs(distance))}`;
  return `${hex(first)}-${hex(last)}/${step}${shift}`;
}

/** `first-last/step+distance` for code points that are mapped to one each at that distance, else `code=code.code...`. */
function writeMappings(): string {
  const words: (Run | string)[] = [];
  for (const { range, rest } of entries('B.2')) {
    const [code] = range;
    const [target] = rest.split(';');
    const to = target!.trim().split(' ');
    if (to.length > 1) {
      words.push(`${hex(code)}=${to.map((each) => hex(parseInt(each, 16))).join('.')}`);
      continue;
    }
    const distance = parseInt(to[0]!, 16) - code;
    const run = words.at(-1);
    if (typeof run === 'object' && run.distance === distance) {
      const step = code - run.last;
      if (step <= 2 && (run.step === step || run.first === run.last)) {
        Object.assign(run, { last: code, step });
        continue;
      }
    }
    words.push({ first: code, last: code, step: 1, distance });
  }
  return words.map((word) => (typeof word === 'string' ? word : writeRun(word))).join(' ');
}

/** In lines of 110 characters at most. */
function constant(name: string, comment: string, value: string): string {
  const lines = value.replace(/(.{1,110})(?: |$)/g, '$1\n');
  return `\n/** ${comment} */\nexport const ${name} = \`\n${lines}\`;\n`;
}

process.stdout.write(
  [
    '/** Tables of RFC 3454, made by `test/support/make-stringprep-tables.ts`: hexadecimal code points and ranges of them. */\n',
    constant('UNASSIGNED', 'A.1: not in Unicode 3.2.', writeRanges(ranges('A.1'))),
    constant('MAPPED_TO_NOTHING', 'B.1.', writeRanges(ranges('B.1'))),
    constant(
      'CASE_FOLDING',
      'B.2: `first-last/step+distance` maps each to one code point, `code=code.code` one to several.',
      writeMappings(),
    ),
    constant(
      'PROHIBITED',
      'C.1.2 and C.2.2 to C.9, of which none is in ASCII: spaces, controls, private use and the like.',
      writeRanges(ranges('C.1.2', 'C.2.2', 'C.3', 'C.4', 'C.5', 'C.6', 'C.7', 'C.8', 'C.9')),
    ),
    constant('RIGHT_TO_LEFT', 'D.1: RandALCat.', writeRanges(ranges('D.1'))),
    constant('LEFT_TO_RIGHT', 'D.2: LCat.', writeRanges(ranges('D.2'))),
  ].join(''),
);
