/** Streams as the TCP Datamover uses them: what they release is transfers, and it always takes all that comes. */

import type * as stream from '../../stream/index.js';
import type { DataTransfer } from '../datamover.js';

export type ByteStream = Omit<stream.ByteStream<DataTransfer>, 'pause' | 'resume'>;
export type ByteStreamEvents = stream.ByteStreamEvents<DataTransfer>;
export type SendQueue = stream.SendQueue<DataTransfer>;
