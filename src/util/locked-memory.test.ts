import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { describe, it } from 'node:test';
import { lockableBytes, lockedMemoryLimit } from './locked-memory.js';

function machine(soft: string, capabilities: string): (path: string) => string | null {
  return (path) =>
    path.endsWith('limits')
      ? `Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         ${soft} unlimited            bytes\n`
      : `Name:\tnode\nCapEff:\t${capabilities}\n`;
}

describe('lockableBytes', () => {
  const share = Math.floor(totalmem() / 4);

  it('leaves a part of the limit', () => {
    assert.equal(lockableBytes(machine('8388608', '0000000000000000')), 6291456);
    assert.equal(lockableBytes(machine('0', '0000000000000000')), 0);
  });

  it("is a share of the machine's memory where there is no limit, or it does not hold", () => {
    assert.equal(lockableBytes(machine('unlimited', '0000000000000000')), share);
    assert.equal(lockableBytes(machine('8388608', '0000000000004000')), share);
    assert.equal(
      lockableBytes(() => null),
      share,
    );
  });

  it('does not guess', () => {
    assert.equal(lockedMemoryLimit('Max locked memory  many'), null);
  });
});
