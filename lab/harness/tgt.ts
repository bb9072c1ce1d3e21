/** tgt, the target in user space, in the guest; it serves over iSER, at port 3260 of every RDMA device. */

import type { Guest } from './guest.js';

export interface Tgt {
  /** Name of its only target. Every initiator may log in, and write. */
  readonly target: string;
  /** The LUN that is a disk; LUN 0 is tgt's controller. */
  readonly lun: 1;
  /** End it; its LUN is gone then. */
  stop: () => Promise<void>;
}

const NAME = 'iqn.2026-11.lab:tgt';
const IMAGE = '/dev/shm/tgt.img';
const PID_FILE = '/run/tgtd.pid';

/** MiB of buffers that tgt takes for the RDMA device that it is reached through, in huge pages of 2 MiB. */
const POOL_SIZE = 128;

/**
 * Let tgt serve one LUN of `size`, as truncate takes it. Its log is `tgtd.log` of the scenario's folder. There
 * can be one tgt at a time, and nothing else may use port 3260 then.
 */
export async function startTgt(guest: Guest, size = '256M'): Promise<Tgt> {
  // An address or name must be allowed to log in by -I, and over iSER the initiator's name by -Q besides.
  await guest.sh(`
    echo ${POOL_SIZE / 2} >/proc/sys/vm/nr_hugepages
    truncate -s ${size} ${IMAGE}
    ulimit -l unlimited
    tgtd --foreground --iser pool_sz_mb=${POOL_SIZE} --iscsi portal=127.0.0.1:3262 >>/lab/tgtd.log 2>&1 &
    echo $! >${PID_FILE}
    until tgtadm --op show --mode system >/dev/null 2>&1; do kill -0 $!; sleep 0.1; done
    source /etc/iscsi/initiatorname.iscsi
    tgt() { tgtadm --lld iser --tid 1 "$@"; }
    tgt --op new --mode target --targetname ${NAME}
    tgt --op new --mode logicalunit --lun 1 --backing-store ${IMAGE}
    tgt --op bind --mode target --initiator-address ALL
    tgt --op bind --mode target --initiator-name "$InitiatorName"`);
  return {
    target: NAME,
    lun: 1,
    stop: async () => {
      await guest.sh(`
        pid=$(cat ${PID_FILE})
        kill -KILL $pid
        tail --pid=$pid --sleep-interval=0.1 --follow /dev/null
        rm ${IMAGE} ${PID_FILE}`);
    },
  };
}
