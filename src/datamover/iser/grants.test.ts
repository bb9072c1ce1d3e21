import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { IwarpDevice } from '../../rdma/iwarp/device.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { InitiatorTransfer } from '../datamover.js';
import { Grants } from './grants.js';
import { RegisteredMemory } from './registered-memory.js';

class Reading extends InitiatorTransfer {
  readonly buffer = new ScatterList();
  override isRead = true;
}

describe('Grants', () => {
  const openAndClose = (pieces: number): RegisteredMemory => {
    const registered = new RegisteredMemory(new IwarpDevice(), 1 << 20);
    const grants = new Grants(registered, () => undefined);
    const transfer = new Reading();
    for (let i = 0; i < pieces; i++) transfer.buffer.add(Memory.allocate(4096), 0, 4096);
    const grant = grants.open(transfer);
    assert.equal(registered.regions, 1);
    grants.close(grant, 0);
    return registered;
  };

  it('keeps memory registered that may be used again', () => {
    assert.equal(openAndClose(1).regions, 1);
  });

  it('lets go of a copy, which will not be used again', () => {
    assert.equal(openAndClose(2).regions, 0);
  });
});
