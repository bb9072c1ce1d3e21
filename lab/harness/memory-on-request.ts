/**
 * Loaded into Riser in front of it: on SIGUSR2 the process collects its garbage, and appends a line to the file
 * RISER_LAB_MEMORY: what is in use then, as `process.memoryUsage()` tells it.
 */

import { appendFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

process.on('SIGUSR2', () => {
  collect();
  // What finalizers let go of is free after a second one.
  setImmediate(() => {
    collect();
    appendFileSync(process.env['RISER_LAB_MEMORY']!, `${JSON.stringify(process.memoryUsage())}\n`);
  });
});
