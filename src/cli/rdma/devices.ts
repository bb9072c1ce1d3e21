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

/** A row for each device; a provider without any has one that says why. */
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
  return table([['PROVIDER', 'DEVICE', 'TRANSPORT', 'STATE', 'ADDRESSES'], ...rows]);
}
