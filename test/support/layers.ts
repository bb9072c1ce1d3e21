/**
 * The layering rule as a program: which folder of src/ may import which, and what protocol code may
 * not touch. docs/ARCHITECTURE.md has the picture; {@link ALLOWED} is its arrows.
 */

import { posix } from 'node:path';
import ts from 'typescript';

/** One folder's import of another that the picture does not have, or a forbidden name. */
export interface Violation {
  /** Path from the repository's root, with forward slashes. */
  file: string;
  /** Counted from 1. */
  line: number;
  message: string;
}

/**
 * A layer may import itself and these. `iscsi/wire` is a layer of its own, because datamover needs it too;
 * `rdma/iwarp/mpa`, because it is sans-I/O; and the files `rdma/providers` and
 * `rdma/index`, because the contract in their folder is below all of the providers that there are.
 */
const ALLOWED: Record<string, readonly string[]> = {
  util: [],
  block: ['util'],
  nbd: ['block', 'stream', 'util'],
  scsi: ['block', 'util'],
  'iscsi/wire': ['util'],
  stream: ['util'],
  isns: ['isns/wire', 'stream', 'util'],
  'isns/wire': ['util'],
  rdma: ['util'],
  'rdma/iwarp': ['rdma', 'rdma/iwarp/mpa', 'stream', 'util'],
  'rdma/iwarp/mpa': ['stream', 'util'],
  'rdma/native': ['rdma', 'util'],
  'rdma/ping': ['rdma', 'util'],
  'rdma/providers': ['rdma', 'rdma/iwarp', 'rdma/native', 'util'],
  'rdma/index': ['rdma', 'rdma/iwarp', 'rdma/native', 'rdma/ping', 'rdma/providers'],
  'rdma/bench': ['rdma', 'util'],
  datamover: ['datamover/iser', 'iscsi/wire', 'stream', 'util'],
  'datamover/iser': ['datamover', 'rdma', 'iscsi/wire', 'util'],
  iscsi: ['datamover', 'iscsi/wire', 'util'],
  target: ['scsi', 'iscsi', 'iscsi/wire', 'datamover', 'rdma/index', 'rdma/iwarp', 'stream', 'block', 'util'],
  initiator: [
    'scsi',
    'iscsi',
    'iscsi/wire',
    'datamover',
    'rdma',
    'rdma/index',
    'rdma/iwarp',
    'stream',
    'block',
    'util',
  ],
  cli: [
    'target',
    'initiator',
    'isns',
    'nbd',
    'rdma/index',
    'scsi',
    'iscsi',
    'iscsi/wire',
    'datamover',
    'rdma',
    'rdma/bench',
    'block',
    'util',
  ],
};

/** Layers of protocol code: bytes, events and the time come in, bytes and events go out. */
const SANS_IO = new Set(['scsi', 'iscsi', 'iscsi/wire', 'isns/wire', 'rdma/iwarp/mpa']);

/** What protocol code may import of Node: pure functions only. */
const PURE_MODULES = new Set(['node:crypto', 'node:buffer', 'node:assert']);

/** Globals and methods that read a clock, own a timer or create a promise. */
const IMPURE_NAMES = new Set([
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'nextTick',
  'hrtime',
  'Date',
  'performance',
  'Promise',
  'fetch',
]);

const FOREIGN_FUNCTIONS = 'koffi';
const FOREIGN_FUNCTIONS_FILE = 'src/util/posix/libc.ts';

/**
 * What is wrong with one source file.
 *
 * @param file its path from the repository's root, such as `src/scsi/task.ts`
 * @param text its content
 */
export function checkFile(file: string, text: string): Violation[] {
  const violations: Violation[] = [];
  const layer = layerOf(file);
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const report = (position: number, message: string): void => {
    violations.push({ file, line: source.getLineAndCharacterOfPosition(position).line + 1, message });
  };
  if (layer === null) {
    report(0, 'is in no layer: give its folder a row in test/support/layers.ts');
    return violations;
  }

  for (const imported of ts.preProcessFile(text, true, true).importedFiles) {
    const problem = problemOfImport(file, layer, imported.fileName);
    if (problem !== null) report(imported.pos, problem);
  }
  if (SANS_IO.has(layer)) {
    visit(source, (node) => {
      if (ts.isIdentifier(node) && IMPURE_NAMES.has(node.text)) {
        report(node.getStart(source), `protocol code uses ${node.text}`);
      } else if (node.kind === ts.SyntaxKind.AsyncKeyword) {
        report(node.getStart(source), 'protocol code is asynchronous');
      } else if (ts.isAwaitExpression(node)) {
        report(node.getStart(source), 'protocol code waits');
      }
    });
  }
  return violations;
}

/** `src/scsi/task.ts:12: message` */
export function describeViolation({ file, line, message }: Violation): string {
  return `${file}:${line}: ${message}`;
}

function problemOfImport(file: string, layer: string, specifier: string): string | null {
  if (specifier.startsWith('.')) {
    const target = posix.join(posix.dirname(file), specifier);
    const targetLayer = layerOf(target);
    if (targetLayer === null) return `imports ${specifier}, which is in no layer`;
    if (targetLayer === layer || ALLOWED[layer]!.includes(targetLayer)) return null;
    return `${layer} imports ${targetLayer} (${specifier}): imports point downward only`;
  }
  if (specifier === FOREIGN_FUNCTIONS && file !== FOREIGN_FUNCTIONS_FILE) {
    return `imports koffi: only ${FOREIGN_FUNCTIONS_FILE} does`;
  }
  if (SANS_IO.has(layer) && !PURE_MODULES.has(specifier)) {
    return `protocol code imports ${specifier}`;
  }
  return null;
}

/** The layer with the longest name that holds `file` or is it, or null. */
function layerOf(file: string): string | null {
  let found: string | null = null;
  for (const layer of Object.keys(ALLOWED)) {
    if (isOf(file, `src/${layer}`) && layer.length > (found?.length ?? 0)) found = layer;
  }
  return found;
}

function isOf(file: string, path: string): boolean {
  return file.startsWith(`${path}/`) || file === `${path}.ts` || file === `${path}.js`;
}

function visit(node: ts.Node, look: (node: ts.Node) => void): void {
  look(node);
  ts.forEachChild(node, (child) => visit(child, look));
}
