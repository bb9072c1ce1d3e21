import type { LogicalUnitView } from './inventory.js';

/**
 * One I_T nexus as a logical unit inventory sees it: who is talking. The transport makes one for each
 * session (SAM-5 4.7), and gives it the same `initiatorPort` whenever the same initiator port returns.
 */
export interface Nexus {
  /** The initiator port's name, with its ISID for iSCSI: `iqn.1993-08.org.debian:01:abc,i,0x00023d000000`. */
  readonly initiatorPort: string;
  /** The initiator device's name, without the port. */
  readonly initiatorName: string;
  /** Relative target port identifier, 1 to 65535 (the portal group tag). */
  readonly relativeTargetPort: number;
  /** Version descriptor of the transport protocol in standard INQUIRY data (SPC-4 6.6.2); absent: none. */
  readonly versionDescriptor?: number;
  /** The logical units that it finds, and where; absent: all of the inventory's, each at its own LUN. */
  readonly view?: LogicalUnitView;
  /** What whoever is behind it would find at other targets by logging in there with what has been proven here; absent: nothing. */
  readonly elsewhere?: () => Iterable<LogicalUnitView>;
}
