/**
 * The stringprep profile of iSCSI names (RFC 3722, of RFC 3454): mapping, normalisation, and what a name must not have. Unicode is
 * that of version 3.2, whatever the running one. Names of ASCII alone, as nearly all are, need no table.
 */

import {
  CASE_FOLDING,
  LEFT_TO_RIGHT,
  MAPPED_TO_NOTHING,
  PROHIBITED,
  RIGHT_TO_LEFT,
  UNASSIGNED,
} from './stringprep-tables.js';

const IS_ASCII = /^[\0-\x7f]*$/;
/** RFC 3722 6.2, and 6.1. */
const PROHIBITED_BY_PROFILE = /[\0-,/;-`{-\x7f\u3002]/u;

/**
 * Decompositions that Unicode has corrected since 3.2 (Corrigendum 4): normalisation to 3.2 takes the ones in error, which are of
 * characters that do not decompose further.
 */
const CORRECTED_SINCE: Readonly<Record<string, string>> = {
  '\u{2f868}': '\u{2136a}',
  '\u{2f874}': '\u5f33',
  '\u{2f91f}': '\u43ab',
  '\u{2f95f}': '\u7aae',
  '\u{2f9bf}': '\u4d57',
};

/** First and last code point of each range in turn. */
function parseRanges(table: string): readonly number[] {
  return table
    .trim()
    .split(/\s+/)
    .flatMap((word) => {
      const [first, last = first] = word.split('-');
      return [parseInt(first!, 16), parseInt(last!, 16)];
    });
}

function parseMappings(table: string): ReadonlyMap<string, string> {
  const mappings = new Map<string, string>();
  for (const word of table.trim().split(/\s+/)) {
    const [code, to] = word.split('=');
    if (to !== undefined) {
      mappings.set(textOf(code!), to.split('.').map(textOf).join(''));
      continue;
    }
    const [, first, last, step, sign, distance] = /^(\w+)-(\w+)\/(\d)([+-])(\w+)$/.exec(word)!;
    const shift = parseInt(`${sign!}${distance!}`, 16);
    for (let from = parseInt(first!, 16); from <= parseInt(last!, 16); from += Number(step))
      mappings.set(String.fromCodePoint(from), String.fromCodePoint(from + shift));
  }
  return mappings;
}

const textOf = (hex: string): string => String.fromCodePoint(parseInt(hex, 16));

/** The tables as they are looked into; made when the first name that is not ASCII comes. */
let parsed: {
  unassigned: readonly number[];
  mappedToNothing: readonly number[];
  caseFolding: ReadonlyMap<string, string>;
  prohibited: readonly number[];
  rightToLeft: readonly number[];
  leftToRight: readonly number[];
} | null = null;

function tables(): NonNullable<typeof parsed> {
  parsed ??= {
    unassigned: parseRanges(UNASSIGNED),
    mappedToNothing: parseRanges(MAPPED_TO_NOTHING),
    caseFolding: parseMappings(CASE_FOLDING),
    prohibited: parseRanges(PROHIBITED),
    rightToLeft: parseRanges(RIGHT_TO_LEFT),
    leftToRight: parseRanges(LEFT_TO_RIGHT),
  };
  return parsed;
}

function isIn(ranges: readonly number[], character: string): boolean {
  const code = character.codePointAt(0)!;
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (code < ranges[2 * middle]!) high = middle;
    else if (code > ranges[2 * middle + 1]!) low = middle + 1;
    else return true;
  }
  return false;
}

/** Mapping and normalisation (RFC 3722 4, 5): names are the same if what this makes of them is. Code points that are unassigned stay. */
export function mapName(name: string): string {
  if (IS_ASCII.test(name)) return name.toLowerCase();
  const { mappedToNothing, caseFolding, unassigned } = tables();
  let normalized = '';
  // What Unicode 3.2 does not have neither decomposes nor composes there: it parts what does.
  let part = '';
  for (const character of name) {
    if (isIn(mappedToNothing, character)) continue;
    if (isIn(unassigned, character)) {
      normalized += part.normalize('NFKC') + character;
      part = '';
    } else part += caseFolding.get(character) ?? CORRECTED_SINCE[character] ?? character;
  }
  return normalized + part.normalize('NFKC');
}

/** Why a name is none, however it was mapped. */
export type NameFlaw =
  /** RFC 3722 6. */
  | { readonly kind: 'prohibited'; readonly character: string }
  /** RFC 3722 7, RFC 3454 6: letters from right to left beside those from left to right, or not at both ends. */
  | { readonly kind: 'bidirectional'; readonly character: string }
  /** RFC 3722 8, RFC 3454 7: it may be asked for, but nobody may have it. */
  | { readonly kind: 'unassigned'; readonly character: string };

/** The first flaw of a name that {@link mapName} has made, as a name to have (a "stored string"); null if it is one. */
export function flawOf(name: string): NameFlaw | null {
  const byProfile = PROHIBITED_BY_PROFILE.exec(name);
  if (byProfile !== null) return { kind: 'prohibited', character: byProfile[0] };
  if (IS_ASCII.test(name)) return null;
  const { prohibited, rightToLeft, leftToRight, unassigned } = tables();
  const characters = Array.from(name);
  const firstOf = (ranges: readonly number[]): string | undefined =>
    characters.find((character) => isIn(ranges, character));
  const bad = firstOf(prohibited);
  if (bad !== undefined) return { kind: 'prohibited', character: bad };
  const turned = firstOf(rightToLeft);
  if (turned !== undefined) {
    const isFramed = isIn(rightToLeft, characters[0]!) && isIn(rightToLeft, characters.at(-1)!);
    if (!isFramed || firstOf(leftToRight) !== undefined) return { kind: 'bidirectional', character: turned };
  }
  const unknown = firstOf(unassigned);
  return unknown === undefined ? null : { kind: 'unassigned', character: unknown };
}
