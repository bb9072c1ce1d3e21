/** The kernel's initiator as open-iscsi runs it: is it there, and does anything of it go over iSER. */

import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';

const { good, notice } = findingsAbout('open-iscsi');

/** Its records are in one of these, as the distribution likes (option dbroot when it is built). */
const DATABASES = ['etc/iscsi', 'var/lib/iscsi'];
const TRANSPORT = /^iface\.transport_name\s*=\s*(\S+)/m;

export function inspectOpenIscsi(machine: Machine): Finding[] {
  if (machine.platform !== 'linux') return [];
  if (!machine.hasProgram('iscsiadm')) {
    return [
      notice(
        "open-iscsi is not installed: Riser's own initiator does without, disks of the kernel (/dev/sdX) do not",
        'apt install open-iscsi, or: dnf install iscsi-initiator-utils',
      ),
    ];
  }
  return [inspectService(machine), inspectInterface(machine), ...inspectNodes(machine)];
}

function inspectService(machine: Machine): Finding {
  if (isRunning(machine, 'iscsid')) return good('iscsid runs');
  return notice('iscsid does not run', 'systemctl start iscsid (where there is no systemd: iscsid)');
}

function isRunning(machine: Machine, name: string): boolean {
  const pid = machine.read('run/iscsid.pid');
  const pids = pid === null ? machine.list('proc').filter((entry) => /^\d+$/.test(entry)) : [pid];
  return pids.some((one) => machine.read(`proc/${one}/comm`) === name);
}

/** The interface `iser` is built into iscsiadm; more of its kind are files. */
function inspectInterface(machine: Machine): Finding {
  const own = DATABASES.flatMap((database) =>
    machine.list(`${database}/ifaces`).filter((name) => isIser(machine.read(`${database}/ifaces/${name}`))),
  );
  const names = ['iser', ...own].map((name) => `"${name}"`).join(', ');
  const users =
    own.length === 0 ? `the interface ${names} of iscsiadm uses` : `the interfaces ${names} of iscsiadm use`;
  if (machine.exists('sys/class/iscsi_transport/iser'))
    return good(`the kernel offers its transport "iser", which ${users}`);
  return notice(
    `the kernel does not offer the transport "iser" now, which ${users}`,
    'modprobe ib_iser; then: iscsiadm -m discovery -t st -p PORTAL -I iser',
  );
}

/** Records of targets: nodes/TARGET/ADDRESS,PORT,GROUP is a file, or a folder with a file for each interface. */
function inspectNodes(machine: Machine): Finding[] {
  const records = DATABASES.flatMap((database) =>
    machine.list(`${database}/nodes`).flatMap((target) =>
      machine.list(`${database}/nodes/${target}`).flatMap((portal) => {
        const path = `${database}/nodes/${target}/${portal}`;
        const interfaces = machine.list(path);
        return interfaces.length > 0
          ? interfaces.map((name) => machine.read(`${path}/${name}`))
          : [machine.read(path)];
      }),
    ),
  );
  if (records.length === 0) return [];
  const overIser = records.filter(isIser).length;
  const says = `${records.length} records of targets, ${overIser} of them over iSER`;
  if (overIser > 0) return [good(says)];
  return [
    notice(
      says,
      'For one over iSER: iscsiadm -m node -T TARGET -p PORTAL -o update -n iface.transport_name -v iser, and log in anew.',
    ),
  ];
}

function isIser(record: string | null): boolean {
  return TRANSPORT.exec(record ?? '')?.[1] === 'iser';
}
