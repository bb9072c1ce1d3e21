/** Names of what units tell by numbers (SPC-4). */

/** PERIPHERAL DEVICE TYPE (SPC-4 6.6.2). */
const DEVICE_TYPES: Readonly<Record<number, string>> = {
  0x00: 'disk',
  0x01: 'tape',
  0x03: 'processor',
  0x05: 'CD/DVD',
  0x07: 'optical memory',
  0x08: 'medium changer',
  0x0c: 'controller',
  0x0d: 'enclosure',
  0x0e: 'reduced disk',
  0x11: 'object storage',
  0x14: 'zoned disk',
};

const VPD_PAGES: Readonly<Record<number, string>> = {
  0x00: 'Supported VPD Pages',
  0x80: 'Unit Serial Number',
  0x83: 'Device Identification',
  0x85: 'Management Network Addresses',
  0x86: 'Extended INQUIRY Data',
  0x87: 'Mode Page Policy',
  0x88: 'SCSI Ports',
  0x8f: 'Third-party Copy',
  0xb0: 'Block Limits',
  0xb1: 'Block Device Characteristics',
  0xb2: 'Logical Block Provisioning',
  0xb3: 'Referrals',
};

/** By page code, and by page and subpage code. */
const MODE_PAGES: Readonly<Record<number, string>> = {
  0x01: 'Read-Write Error Recovery',
  0x02: 'Disconnect-Reconnect',
  0x03: 'Format Device',
  0x04: 'Rigid Disk Geometry',
  0x07: 'Verify Error Recovery',
  0x08: 'Caching',
  0x0a: 'Control',
  0x18: 'Protocol Specific Logical Unit',
  0x19: 'Protocol Specific Port',
  0x1a: 'Power Condition',
  0x1c: 'Informational Exceptions Control',
  0x1c02: 'Logical Block Provisioning',
  0x1d: 'Timeout and Protect',
  0x2a: 'Capabilities and Mechanical Status',
};

const ASSOCIATIONS = ['logical unit', 'target port', 'target device'];
const DESIGNATORS: Readonly<Record<number, string>> = {
  0: 'vendor specific',
  1: 'T10 vendor ID',
  2: 'EUI-64',
  3: 'NAA',
  4: 'relative target port',
  5: 'target port group',
  6: 'logical unit group',
  7: 'MD5',
  8: 'SCSI name',
};

export const deviceTypeName = (type: number): string => DEVICE_TYPES[type] ?? `type ${hex(type)}`;
export const vpdPageName = (page: number): string =>
  VPD_PAGES[page] ?? (page >= 0xc0 ? 'vendor specific' : '');
export const modePageName = (page: number, subpage: number): string =>
  MODE_PAGES[subpage === 0 ? page : (page << 8) | subpage] ?? '';
export const associationName = (association: number): string => ASSOCIATIONS[association] ?? 'reserved';
export const designatorName = (type: number): string => DESIGNATORS[type] ?? `type ${type}`;

/** `0xb0` */
export function hex(code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`;
}
