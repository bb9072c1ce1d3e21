/** The limits of third-party copies: what VPD page 8Fh and the operating parameters announce, and the commands enforce. */

import { CSCD_DESCRIPTOR_LENGTH } from './cscd.js';

/** MAXIMUM CSCD DESCRIPTOR COUNT. */
export const MAXIMUM_CSCD_DESCRIPTORS = 16;
/** MAXIMUM SEGMENT DESCRIPTOR COUNT. */
export const MAXIMUM_SEGMENT_DESCRIPTORS = 64;
/** Bytes of the segment descriptor block device to block device, header included. */
export const SEGMENT_DESCRIPTOR_LENGTH = 28;
/** MAXIMUM DESCRIPTOR LIST LENGTH: of both lists together. */
export const MAXIMUM_DESCRIPTOR_LIST_LENGTH =
  MAXIMUM_CSCD_DESCRIPTORS * CSCD_DESCRIPTOR_LENGTH + MAXIMUM_SEGMENT_DESCRIPTORS * SEGMENT_DESCRIPTOR_LENGTH;
/** MAXIMUM SEGMENT LENGTH, bytes: no count of blocks in a segment descriptor comes to more. */
export const MAXIMUM_SEGMENT_LENGTH = 1 << 28;
/** MAXIMUM CONCURRENT COPIES: how many identified ones of a nexus can be under way; a one-byte identifier has no more values. */
export const MAXIMUM_IDENTIFIED_COPIES = 255;
/** DATA SEGMENT GRANULARITY: a power of two, bytes. */
export const DATA_SEGMENT_GRANULARITY = 9;
/** MAXIMUM RANGE DESCRIPTORS of POPULATE TOKEN and WRITE USING TOKEN. */
export const MAXIMUM_RANGE_DESCRIPTORS = 64;
/** OPTIMAL TRANSFER COUNT of ROD tokens, bytes: what a command is done with in good time. */
export const OPTIMAL_TOKEN_TRANSFER = 64 << 20;
