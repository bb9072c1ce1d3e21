/** The options that choose an RDMA device, and how it is used: `RdmaDeviceFlags`. */

import { Option } from 'commander';

export const device = (): Option =>
  new Option('--device <name>', 'as "riser rdma devices" lists it, or PROVIDER/DEVICE (default: the first)');

export const crc = (): Option =>
  new Option('--crc', "ask for a CRC of each of MPA's FPDUs (default: on connections to other machines)");

export const noCrc = (): Option =>
  new Option('--no-crc', 'ask for none; the other side may, and then there are CRCs');
