/** CDBs that tests send. */

/** SYNCHRONIZE CACHE(10) of the whole medium. */
export const SYNCHRONIZE_CACHE = Buffer.from([0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
export const TEST_UNIT_READY = Buffer.alloc(6);

/** INQUIRY; without `page` the standard data, with it that page of vital product data. */
export function inquiryCdb(allocationLength: number, page?: number): Buffer {
  return Buffer.from([
    0x12,
    page === undefined ? 0 : 1,
    page ?? 0,
    allocationLength >> 8,
    allocationLength & 0xff,
    0,
  ]);
}

/** CDB of READ(16) or WRITE(16). */
export function readWriteCdb(opcode: number, lba: number, blocks: number, fua: boolean): Buffer {
  const cdb = Buffer.alloc(16);
  cdb[0] = opcode;
  cdb[1] = fua ? 0x08 : 0;
  cdb.writeBigUInt64BE(BigInt(lba), 2);
  cdb.writeUInt32BE(blocks, 10);
  return cdb;
}
