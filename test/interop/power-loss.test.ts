/**
 * What was acknowledged as stable survives: writes with FUA, and writes that a SYNCHRONIZE CACHE followed.
 *
 * SIGKILL loses what the process holds, and not what the page cache holds. So a second test watches the
 * system calls: before each acknowledgement goes out, the kernel has confirmed that the data is stable.
 */

import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { createImage } from '../../src/block/index.js';
import { CliProcess } from '../support/cli-process.js';
import { Initiator } from '../support/initiator.js';
import { ConnectionClosed } from '../support/pdu-socket.js';
import { peer } from '../support/peers.js';
import { temporaryFolder } from '../support/temporary.js';

const SERVED_NAME = 'iqn.2026-01.example.test:served';
const SIZE = 64 * 1024 * 1024;
const CHUNK = 4096;
const BLOCKS = CHUNK / 512;
const WRITERS = 4;
/** Each writer goes round its own chunks, so that old contents are overwritten too. */
const CHUNKS_PER_WRITER = 64;

/** What each chunk has to hold at least: the highest stamp that was acknowledged as stable. */
type StableStamps = Map<number, number>;

describe('loss of power', { skip: process.platform === 'win32' && 'Windows has no SIGKILL' }, () => {
  const folder = temporaryFolder();

  for (const mode of ['FUA', 'SYNCHRONIZE CACHE'] as const) {
    test(`kill -9 during writes with ${mode} loses nothing acknowledged`, async () => {
      const image = join(folder, `${mode}.img`);
      await createImage(image, SIZE);
      const stable: StableStamps = new Map();
      for (let run = 0; run < 3; run++) {
        const riser = serve(image);
        const enough = stable.size + 40 * (run + 1);
        let acknowledged = 0;
        const onStable = (chunk: number, stamp: number): void => {
          stable.set(chunk, stamp);
          if (++acknowledged === enough) void riser.stop('SIGKILL');
        };
        const write = mode === 'FUA' ? writeWithFua : writeAndSynchronize;
        const initiators = await Promise.all(Array.from({ length: WRITERS }, () => login(riser)));
        await Promise.all(initiators.map((initiator, i) => untilKilled(write(initiator, i, run, onStable))));
        await riser.stop('SIGKILL');
        checkImage(image, stable);
      }
      await checkThroughRiser(image, stable);
    });
  }

  const strace = peer('strace', 'strace');
  test('the kernel has made the data stable before it is acknowledged', { skip: strace.skip }, async () => {
    const image = join(folder, 'traced.img');
    const trace = join(folder, 'trace');
    await createImage(image, SIZE);
    const calls = 'trace=fdatasync,fsync,pwritev2,write,writev,sendto,sendmsg';
    // -D: the tracer is the child, so that signals reach the server itself.
    const options = ['-D', '-f', '-q', '-xx', '-s', '64', '-e', calls, '-e', 'signal=none', '-o', trace];
    const riser = serve(image, [strace.path, ...options]);
    /** Whether the response has to wait for the medium, command by command. */
    const mustBeStable: boolean[] = [];
    try {
      const initiator = await login(riser);
      const run = async (isStable: boolean, command: Promise<{ status: number }>): Promise<void> => {
        assert.equal((await command).status, 0);
        mustBeStable.push(isStable);
      };
      for (let i = 0; i < 10; i++) {
        await run(false, initiator.write(0, i * BLOCKS, stampedChunk(i, 1)));
        await run(true, initiator.write(0, i * BLOCKS, stampedChunk(i, 2), true));
        await run(false, initiator.write(0, i * BLOCKS, stampedChunk(i, 3)));
        await run(true, initiator.synchronizeCache(0));
      }
      initiator.destroy();
    } finally {
      await riser.stop();
    }
    const responses = responsesIn(await wholeTrace(trace));
    assert.equal(responses.length, mustBeStable.length, 'responses seen by strace');
    mustBeStable.forEach((isStable, i) => {
      assert.ok(!isStable || responses[i]!.isStable, `response ${i} went out before the data was stable`);
    });
    // Were every command followed by a flush, the test above would show nothing about FUA.
    assert.ok(responses.some((response) => !response.isStable));
  });
});

function serve(image: string, wrapper: readonly string[] = []): CliProcess {
  const args = ['serve', image, '--portal', '127.0.0.1:0', '--name', SERVED_NAME, '--json-logs'];
  return new CliProcess(args, { wrapper });
}

async function login(riser: CliProcess): Promise<Initiator> {
  return Initiator.login({ port: await riser.port(), targetName: SERVED_NAME });
}

async function writeWithFua(
  initiator: Initiator,
  writer: number,
  run: number,
  onStable: (chunk: number, stamp: number) => void,
): Promise<never> {
  for (let i = 0; ; i++) {
    const chunk = writer * CHUNKS_PER_WRITER + (i % CHUNKS_PER_WRITER);
    const stamp = run * 1_000_000 + i + 1;
    const { status } = await initiator.write(0, chunk * BLOCKS, stampedChunk(chunk, stamp), true);
    assert.equal(status, 0);
    onStable(chunk, stamp);
  }
}

async function writeAndSynchronize(
  initiator: Initiator,
  writer: number,
  run: number,
  onStable: (chunk: number, stamp: number) => void,
): Promise<never> {
  for (let i = 0; ; i += 8) {
    const written = Array.from({ length: 8 }, (_, j) => ({
      chunk: writer * CHUNKS_PER_WRITER + ((i + j) % CHUNKS_PER_WRITER),
      stamp: run * 1_000_000 + i + j + 1,
    }));
    const results = await Promise.all(
      written.map(({ chunk, stamp }) => initiator.write(0, chunk * BLOCKS, stampedChunk(chunk, stamp))),
    );
    for (const { status } of results) assert.equal(status, 0);
    assert.equal((await initiator.synchronizeCache(0)).status, 0);
    for (const { chunk, stamp } of written) onStable(chunk, stamp);
  }
}

/** Writers go on until the connection breaks. */
async function untilKilled(writer: Promise<never>): Promise<void> {
  await assert.rejects(writer, ConnectionClosed);
}

/** A chunk that says which it is and how new, in every block of it. */
function stampedChunk(chunk: number, stamp: number): Buffer {
  const data = Buffer.alloc(CHUNK, stamp & 0xff);
  for (let at = 0; at < CHUNK; at += 512) {
    data.writeUInt32BE(chunk, at);
    data.writeUInt32BE(stamp, at + 4);
  }
  return data;
}

function checkChunk(data: Buffer, chunk: number, leastStamp: number): void {
  for (let at = 0; at < CHUNK; at += 512) {
    assert.equal(data.readUInt32BE(at), chunk, `chunk ${chunk} holds another one's data`);
    const stamp = data.readUInt32BE(at + 4);
    // A newer write that was under way may have reached the medium, block by block.
    assert.ok(
      stamp >= leastStamp,
      `chunk ${chunk} byte ${at} has stamp ${stamp}, acknowledged was ${leastStamp}`,
    );
    assert.deepEqual(data.subarray(at + 8, at + 512), Buffer.alloc(504, stamp & 0xff));
  }
}

function checkImage(image: string, stable: StableStamps): void {
  const file = openSync(image, 'r');
  try {
    const data = Buffer.alloc(CHUNK);
    for (const [chunk, stamp] of stable) {
      readSync(file, data, 0, CHUNK, chunk * CHUNK);
      checkChunk(data, chunk, stamp);
    }
  } finally {
    closeSync(file);
  }
}

async function checkThroughRiser(image: string, stable: StableStamps): Promise<void> {
  const riser = serve(image);
  try {
    const initiator = await login(riser);
    for (const [chunk, stamp] of stable) {
      checkChunk((await initiator.read(0, chunk * BLOCKS, BLOCKS)).data, chunk, stamp);
    }
    await initiator.logout();
  } finally {
    await riser.stop();
  }
}

/** strace ends after what it traces; the end of each thread is a line of its own. */
async function wholeTrace(path: string): Promise<string> {
  for (;;) {
    const text = readFileSync(path, 'utf8');
    const threads = new Set(text.match(/^\d+(?= )/gm));
    const ends = text.match(/\+\+\+ (?:exited|killed).*$/gm) ?? [];
    if (threads.size > 0 && ends.length >= threads.size) return text;
    await delay(50);
  }
}

/**
 * The SCSI Responses that a trace shows being sent, in order, and whether a call that makes data stable
 * completed since the one before. strace writes completions in the order in which they happened.
 */
function responsesIn(trace: string): { isStable: boolean }[] {
  const responses: { isStable: boolean }[] = [];
  /** By thread: the start of a call that another thread's line interrupted. */
  const unfinished = new Map<string, string>();
  let isStable = false;
  for (const line of trace.split('\n')) {
    const [, thread, text] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    if (thread === undefined || text === undefined) continue;
    const send = /^(?:write|writev|sendto|sendmsg)\(.*?"\\x21\\x8/.test(text);
    // The response is on its way when the call starts.
    if (send) {
      responses.push({ isStable });
      isStable = false;
    }
    if (text.endsWith('<unfinished ...>')) {
      unfinished.set(thread, text);
      continue;
    }
    const call = text.startsWith('<... ') ? (unfinished.get(thread) ?? '') + text : text;
    if (/^(?:fdatasync|fsync)\(/.test(call) && call.endsWith(' = 0')) isStable = true;
    if (/^pwritev2\(.*RWF_D?SYNC/.test(call) && / = [1-9]\d*$/.test(call)) isStable = true;
  }
  return responses;
}
