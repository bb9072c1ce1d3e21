/** What ucmatose of rdma-core expects of its peer. */

import assert from 'node:assert/strict';

import { CompletionOpcode, CompletionStatus, SendOpcode } from '../../src/rdma/work.js';
import type { End } from '../../test/support/verbs-pair.js';

/** ucmatose's own port. */
export const UCMATOSE_PORT = 7471;

/** So many messages, of so many bytes, go each way. */
export const MESSAGES = 10;
export const MESSAGE = 100;
/** ucmatose's options for that. */
export const UCMATOSE_MESSAGES = ['-S', String(MESSAGE), '-C', String(MESSAGES)] as const;

/** Be ready for its messages; before it may send them. */
export function postReceives(end: End): void {
  for (let i = 0; i < MESSAGES; i++) end.receive(i, i * MESSAGE, MESSAGE);
}

/** Send what it expects, and wait for as much of it. */
export async function exchange(end: End): Promise<void> {
  for (let i = 0; i < MESSAGES; i++) end.post(end.request(SendOpcode.SEND, 100 + i, 5000, MESSAGE));
  const completions = await end.completed(2 * MESSAGES);
  assert.ok(completions.every(({ status }) => status === CompletionStatus.SUCCESS));
  const received = completions.filter(({ opcode }) => opcode === CompletionOpcode.RECEIVE);
  assert.deepEqual(
    received.map(({ id, byteLength }) => [id, byteLength]),
    Array.from({ length: MESSAGES }, (_, i) => [i, MESSAGE]),
  );
}
