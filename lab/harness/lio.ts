/** The kernel's own target, LIO, in the guest; set up through configfs, for targetcli would want dbus. */

import type { Guest } from './guest.js';

export interface LioOptions {
  /** Where it listens, such as `127.0.0.1:3260`. */
  portal: string;
  /** iSER over the RDMA device that has the portal's address, instead of iSCSI over TCP; default false. */
  iser?: boolean;
  /** Size of LUN 0, as truncate takes it; default 256M. */
  size?: string;
  /** Attributes of LUN 0's backstore, such as `emulate_tpu`: what configfs has below `attrib`. */
  attributes?: Readonly<Record<string, number>>;
  /** The highest ErrorRecoveryLevel that it agrees on; default 0. */
  errorRecoveryLevel?: 0 | 1 | 2;
  /** Users and secrets of CHAP; without, nobody is authenticated. */
  chap?: { initiator: LioUser; target: LioUser };
}

export interface LioUser {
  user: string;
  secret: string;
}

export interface Lio {
  /** Name of its only target. Every initiator may log in and write, if it can authenticate as told. */
  readonly target: string;
  readonly portal: string;
  readonly lun: 0;
  /** Take the target away, with its LUN and what is on it. */
  stop: () => Promise<void>;
}

const NAME = 'iqn.2026-11.lab:lio';
/** LUN 0 is a file in the guest's memory: a file can do more of SBC than LIO's RAM disk. */
const IMAGE = '/dev/shm/lio.img';

const BACKSTORE = '/sys/kernel/config/target/core/fileio_0/lio';
const FABRIC = '/sys/kernel/config/target/iscsi';
const GROUP = `${FABRIC}/${NAME}/tpgt_1`;

/** Let LIO serve one LUN at one portal; there can be one such target at a time. */
export async function startLio(
  guest: Guest,
  { portal, iser = false, size = '256M', attributes = {}, errorRecoveryLevel = 0, chap }: LioOptions,
): Promise<Lio> {
  const settings = Object.entries(attributes).map(
    ([name, value]) => `echo ${value} >${BACKSTORE}/attrib/${name}`,
  );
  await guest.sh(`
    modprobe -a target_core_file iscsi_target_mod ${iser ? 'ib_isert' : ''}
    mkdir -p ${FABRIC} ${BACKSTORE}
    truncate -s ${size} ${IMAGE}
    echo fd_dev_name=${IMAGE},fd_dev_size=$(stat -c %s ${IMAGE}) >${BACKSTORE}/control
    echo 5ca1ab1e-0000-4000-8000-000000000001 >${BACKSTORE}/wwn/vpd_unit_serial
    echo 1 >${BACKSTORE}/enable
    ${settings.join('\n')}

    mkdir -p ${GROUP}/lun/lun_0
    ln -s ${BACKSTORE} ${GROUP}/lun/lun_0/disk
    cd ${GROUP}/attrib
    echo ${chap === undefined ? 0 : 1} >authentication
    echo 1 >generate_node_acls
    echo 1 >cache_dynamic_acls
    echo 0 >demo_mode_write_protect
    echo ${errorRecoveryLevel} >default_erl
    ${chap === undefined ? '' : authenticate(chap)}
    ${listen(portal, iser)}
    echo 1 >${GROUP}/enable`);
  return {
    target: NAME,
    portal,
    lun: 0,
    stop: async () => {
      await guest.sh(`
        echo 0 >${GROUP}/enable
        rmdir ${GROUP}/np/*
        rm ${GROUP}/lun/lun_0/disk
        rmdir ${GROUP}/lun/lun_0 ${GROUP} ${FABRIC}/${NAME} ${BACKSTORE}
        rm ${IMAGE}`);
    },
  };
}

/**
 * A portal listens on TCP when it is made, and on RDMA besides when it is told so. Over iWARP both would be the
 * same TCP port, and the second to come fails; so the first listens in a network namespace without any link.
 */
function listen(portal: string, iser: boolean): string {
  const folder = `${GROUP}/np/${portal}`;
  return iser ? `unshare --net mkdir ${folder}\necho 1 >${folder}/iser` : `mkdir ${folder}`;
}

function authenticate({ initiator, target }: NonNullable<LioOptions['chap']>): string {
  return `
    cd ${GROUP}/auth
    echo -n ${initiator.user} >userid
    echo -n ${initiator.secret} >password
    echo -n ${target.user} >userid_mutual
    echo -n ${target.secret} >password_mutual`;
}
