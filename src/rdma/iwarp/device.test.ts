import { describe } from 'node:test';

import { verbsContract } from '../../../test/contract/verbs.js';
import { type IwarpOptions, IwarpProvider } from './device.js';

const VARIANTS: [string, IwarpOptions][] = [
  ['iwarp', {}],
  ['iwarp with CRC', { crc: true }],
  ['iwarp with CRC and markers, FPDUs of a TCP segment', { crc: true, markers: true, largeFpdus: false }],
];

describe('software iWARP', () => {
  for (const [name, options] of VARIANTS) {
    verbsContract(name, false, {
      provider: new IwarpProvider(options),
      deviceName: 'iwarp',
      address: '127.0.0.1',
    });
  }
});
