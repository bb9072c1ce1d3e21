import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CommandWindow } from './command-window.js';

/** Commands that may be sent now. */
function room(window: CommandWindow): number {
  let sent = 0;
  for (; window.isOpen; sent++) window.take();
  return sent;
}

describe('command window', () => {
  it('is open up to MaxCmdSN, over the end of the numbers', () => {
    const window = new CommandWindow(0xffff_fffe, 1);
    assert.deepEqual(
      [0, 1, 2, 3].map(() => window.take()),
      [0xffff_fffe, 0xffff_ffff, 0, 1],
    );
    assert.equal(window.isOpen, false);
  });

  it('grows by what the target tells, and never shrinks', () => {
    const window = new CommandWindow(10, 12);
    assert.equal(window.update(10, 14), true);
    assert.equal(window.update(10, 13), false);
    assert.equal(room(window), 5);
  });

  it('does not believe numbers that contradict each other', () => {
    const window = new CommandWindow(10, 9);
    assert.equal(window.update(20, 18), false);
    assert.equal(room(window), 0);
    // MaxCmdSN may be one less than ExpCmdSN: the window is closed.
    assert.equal(window.update(10, 9), false);
    assert.equal(window.update(10, 10), true);
  });
});
