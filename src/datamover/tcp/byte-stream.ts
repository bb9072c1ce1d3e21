/** Streams as the TCP Datamover uses them: what they release is transfers. */

import type * as stream from '../../stream/index.js';
import type { DataTransfer } from '../datamover.js';

export type ByteStream = stream.ByteStream<DataTransfer>;
export type ByteStreamEvents = stream.ByteStreamEvents<DataTransfer>;
export type SendQueue = stream.SendQueue<DataTransfer>;
