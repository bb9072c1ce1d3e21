/** `riser rdma devices`: what RDMA can be done with here. */

import { type DeviceInfo, type Probe, providers, type RdmaProvider } from '../../rdma/index.js';
import { ExitCode } from '../failure.js';
import { print, printJson, table } from '../output.js';

interface ProviderReport extends Probe {
  provider: string;
  devices: readonly DeviceInfo[];
}

export async function runDevices({ json = false }: { json?: boolean }): Promise<number> {
  const reports = await Promise.all(providers().map(report));
  if (json) await printJson({ providers: reports });
  else await print(describeReports(reports));
  return ExitCode.SUCCESS;
}

async function report(provider: RdmaProvider): Promise<ProviderReport> {
  const { isUsable, reason } = provider.probe();
  const devices = isUsable ? await provider.devices() : [];
  return { provider: provider.name, isUsable, reason, devices };
}

/** A row for each device, a provider without any has one that says why; then their ports, a row for each GID. */
export function describeReports(reports: readonly ProviderReport[]): string {
  const rows = reports.flatMap(({ provider, isUsable, reason, devices }) => {
    if (!isUsable) return [[provider, '-', '-', 'not usable', reason]];
    if (devices.length === 0) return [[provider, '-', '-', 'no devices', reason]];
    return devices.map(({ name, transport, state, addresses }) => [
      provider,
      name,
      transport,
      state,
      addresses.join(', '),
    ]);
  });
  const devices = table([['PROVIDER', 'DEVICE', 'TRANSPORT', 'STATE', 'ADDRESSES'], ...rows]);
  const ports = reports.flatMap((report) => report.devices).flatMap(portRows);
  if (ports.length === 0) return devices;
  const head = ['DEVICE', 'PORT', 'STATE', 'MTU', 'GID INDEX', 'TYPE', 'GID', 'ADDRESS', 'INTERFACE'];
  return `${devices}\n${table([head, ...ports])}`;
}

function portRows({ name, ports = [] }: DeviceInfo): string[][] {
  return ports.flatMap(({ number, state, activeMtu, gids }) => {
    const port = [name, String(number), state, String(activeMtu ?? '-')];
    if (gids.length === 0) return [[...port, '-', '-', '-', '-', '-']];
    return gids.map(({ index, type, gid, address, interface: of }) => [
      ...port,
      String(index),
      type,
      gid,
      address ?? '-',
      of ?? '-',
    ]);
  });
}
