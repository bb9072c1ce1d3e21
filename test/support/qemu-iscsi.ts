/** Whether QEMU's programs can speak iSCSI: the driver comes in a package of its own. */

import { type Peer, peersRequired } from './peers.js';
import { runProgram } from './run-program.js';

/**
 * The reason to skip, or false.
 *
 * @throws Error when it is missing and RISER_REQUIRE_PEERS=1
 */
export async function iscsiDriverMissing(qemuImg: Peer): Promise<false | string> {
  if (qemuImg.skip !== false) return qemuImg.skip;
  const { stderr } = await runProgram(qemuImg.path, [
    'info',
    'iscsi://127.0.0.1:1/iqn.2026-01.example.test:none/0',
  ]);
  if (!stderr.includes("Unknown protocol 'iscsi'")) return false;
  const reason = 'qemu-img has no iscsi driver: apt-get install qemu-block-extra';
  if (peersRequired) throw new Error(reason);
  return reason;
}
