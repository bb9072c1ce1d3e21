/** What this Riser can do of its own, whatever the machine has. */

import { providers, type RdmaProvider } from '../../rdma/index.js';
import { type Finding, findingsAbout } from './finding.js';
import { isUp, type RdmaPort } from './rdma-ports.js';

const { good, notice } = findingsAbout('Riser');

export async function inspectRiser(
  ports: readonly RdmaPort[],
  from: readonly RdmaProvider[] = providers(),
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const used = new Set<string>();
  for (const provider of from) {
    const { isUsable, reason } = provider.probe();
    if (!isUsable) {
      findings.push(notice(`RDMA by "${provider.name}" is not usable: ${reason}`));
      continue;
    }
    const devices = await provider.devices();
    for (const { name } of devices) used.add(name);
    const transports = [...new Set(devices.map(({ transport }) => transport))].join(', ');
    findings.push(good(`RDMA by "${provider.name}": ${transports || 'no devices'}, ${reason}`));
  }
  const unused = [...new Set(ports.filter(isUp).map(({ device }) => device))].filter(
    (name) => !used.has(name),
  );
  if (unused.length > 0) {
    findings.push(
      notice(
        `it cannot use ${unused.join(', ')} as things are: in itself it speaks iWARP in software, which the kernel's siw and iWARP adapters at the other end understand, and RoCE and InfiniBand do not`,
        "The kernel's initiator uses them: see open-iscsi below.",
      ),
    );
  }
  return findings;
}
