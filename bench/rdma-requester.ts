/**
 * The client of `riser rdma bench` in a process that stays, for the heap probe: it runs what its parent tells it, and says
 * `done`.
 */

import { type Plan, runClient } from '../src/rdma/bench/index.js';
import { IwarpProvider } from '../src/rdma/index.js';

const port = Number(process.argv[2]);
const device = await new IwarpProvider().open('iwarp');

process.on('message', (message) => {
  if (typeof message !== 'object' || message === null) return;
  const plan = message as Plan;
  const options = { host: '127.0.0.1', port, plan, depth: 128 };
  void runClient(device, options).then(() => process.send!('done'));
});
process.channel!.ref();
process.send!('ready');
