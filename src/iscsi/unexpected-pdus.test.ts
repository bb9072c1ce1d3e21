import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UnexpectedPdus } from './unexpected-pdus.js';

describe('UnexpectedPdus', () => {
  it('are as many as the peer has room for, until it confirms them', () => {
    const pdus = new UnexpectedPdus(3);
    for (const number of [7, 7, 8]) pdus.sent(number);
    assert.equal(pdus.room, 0);
    pdus.retire(7);
    assert.equal(pdus.room, 0);
    pdus.retire(8);
    assert.equal(pdus.room, 2);
    pdus.retire(9);
    assert.equal(pdus.room, 3);
  });

  it('are confirmed across the end of the numbers', () => {
    const pdus = new UnexpectedPdus(2);
    pdus.sent(0xffff_ffff);
    pdus.sent(0);
    pdus.retire(0);
    assert.equal(pdus.room, 1);
    pdus.retire(1);
    assert.equal(pdus.room, 2);
  });

  it('have no limit where the peer declares none', () => {
    const pdus = new UnexpectedPdus(0);
    for (let i = 0; i < 1000; i++) pdus.sent(1);
    assert.equal(pdus.room, Infinity);
  });
});
