import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decodeTransportId, encodeTransportId, transportIdLength } from './transport-id.js';

const PORT = 'iqn.1993-08.org.debian:01:abc,i,0x00023d00000f';

describe('TransportIDs of iSCSI (SPC-4 7.6.4.6)', () => {
  test('a port there and back, at every length of its name', () => {
    for (let extra = 0; extra < 150; extra++) {
      const port = PORT.replace('abc', 'a'.repeat(extra));
      const id = encodeTransportId(port);
      assert.equal(id.length % 4, 0);
      assert.equal(id.at(-1), 0);
      assert.equal(transportIdLength(id, 0), id.length);
      assert.deepEqual(decodeTransportId(id), { name: port, isPort: true });
    }
    assert.equal(encodeTransportId('iqn.a:b').length, 24);
  });

  test('large digits of an ISID are the same port; a name alone is the device', () => {
    const id = encodeTransportId(PORT.replace('0x00023d00000f', '0X00023D00000F'));
    assert.deepEqual(decodeTransportId(id), { name: PORT, isPort: true });
    const device = encodeTransportId('iqn.1993-08.org.debian:01:abc');
    device[0] = 0x05;
    assert.deepEqual(decodeTransportId(device), { name: 'iqn.1993-08.org.debian:01:abc', isPort: false });
  });

  test('anything else is none', () => {
    const damages: ((id: Buffer) => Buffer | undefined)[] = [
      (id) => id.subarray(0, 3),
      (id) => id.subarray(0, 20),
      (id) => id.subarray(0, -4),
      (id) => Buffer.concat([id, Buffer.alloc(4)]),
      (id) => void (id[0] = 0x46),
      (id) => void (id[0] = 0x05),
      (id) => void (id[3]! += 1),
      (id) => void id.fill(0, 4),
      (id) => void (id[id.length - 1] = 0x41),
      (id) => void id.fill('x', 4),
      (id) => void (id[id.indexOf(',i,') + 5] = 0x67),
    ];
    for (const damage of damages) {
      const id = encodeTransportId(PORT);
      assert.equal(decodeTransportId(damage(id) ?? id), null, damage.toString());
    }
    assert.equal(decodeTransportId(encodeTransportId(`iqn.a:${'b'.repeat(300)},i,0x000000000000`)), null);
    assert.equal(transportIdLength(Buffer.from([0x45, 0, 0]), 0), 0);
  });
});
