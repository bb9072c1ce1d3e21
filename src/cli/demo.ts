/** `riser demo`: a disk to try things with, and the commands that connect to it. */

import { mkdirSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { join } from 'node:path';
import type { Configuration } from './configuration.js';
import { defaultName } from './name.js';
import { formatPortal, ISCSI_PORT, type Portal } from './portal.js';

/** Bytes. Sparse, so it takes no room until it is written to. */
const DEMO_SIZE = 1 << 30;

/** The demo volume, in the user's data folder, which is made where it is missing. */
export function demoConfiguration(portal: Portal): Configuration {
  const folder = join(dataFolder(process.platform, process.env, homedir()), 'riser');
  mkdirSync(folder, { recursive: true });
  return {
    portals: [portal],
    targets: [
      {
        name: defaultName(hostname(), 'demo'),
        alias: 'Riser demo volume',
        luns: [
          {
            lun: 0,
            medium: { image: join(folder, 'demo.img'), create: DEMO_SIZE },
            readOnly: false,
            removable: false,
            provisioning: 'thin',
            type: 'disk',
            blockSize: 512,
          },
        ],
      },
    ],
  };
}

/** Where programs keep a user's data: the XDG base directory, or the platform's own folder. */
export function dataFolder(platform: NodeJS.Platform, env: NodeJS.ProcessEnv, home: string): string {
  if (platform === 'win32') return env['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local');
  if (platform === 'darwin') return join(home, 'Library', 'Application Support');
  // The XDG Base Directory Specification: a relative path is to be ignored.
  const xdg = env['XDG_DATA_HOME'];
  return xdg?.startsWith('/') ? xdg : join(home, '.local', 'share');
}

/** The commands that connect to `name`, ready to paste. */
export function connectionHelp(name: string, portal: Portal): string {
  const where = formatPortal(portal);
  const url = `iscsi://${where}/${name}/0`;
  const windowsPort = portal.port === ISCSI_PORT ? '' : ` -TargetPortalPortNumber ${portal.port}`;
  return `
Connect to it from this machine:

  Linux (open-iscsi, as root; the disk appears as /dev/sdX)
    iscsiadm -m discovery -t sendtargets -p ${where}
    iscsiadm -m node -T ${name} -p ${where} --login
    iscsiadm -m node -T ${name} -p ${where} --logout

  Windows (PowerShell as administrator; the disk appears in Disk Management)
    Start-Service MSiSCSI
    New-IscsiTargetPortal -TargetPortalAddress ${portal.address}${windowsPort}
    Connect-IscsiTarget -NodeAddress ${name}
    Disconnect-IscsiTarget -NodeAddress ${name}

  QEMU (no root; as a guest's disk, or copied with qemu-img)
    qemu-system-x86_64 -drive file=${url},format=raw,if=virtio
    qemu-img convert -n -O raw disk.img ${url}

  libiscsi (no root)
    iscsi-ls -s iscsi://${where}
    iscsi-inq ${url}
`;
}
