/** The client's side of fixed newstyle negotiation, up to the transmission phase of one export. */

import { RiserError } from '../../util/errors.js';
import { isPowerOfTwo } from '../../util/power-of-two.js';
import { type Dialogue, LONGEST } from '../dialogue.js';
import { detail, violation } from '../errors.js';
import {
  BASE_ALLOCATION,
  DEFAULT_MAXIMUM_PAYLOAD,
  describeReplyType,
  Greeting,
  GREETING_LENGTH,
  HandshakeFlag,
  IHAVEOPT,
  Info,
  INFO_BLOCK_SIZE_LENGTH,
  INFO_EXPORT_LENGTH,
  InfoBlockSize,
  InfoExport,
  INIT_PASSWD,
  isErrorReply,
  MAXIMUM_STRING,
  Option,
  OPTION_HEADER_LENGTH,
  OPTION_REPLY_LENGTH,
  OPTION_REPLY_MAGIC,
  OptionHeader,
  OptionReply,
  ReplyType,
  TransmissionFlag,
} from '../wire.js';

/** What the server exports, and how it wants to be asked. */
export interface Export {
  /** Bytes. */
  size: number;
  /** {@link TransmissionFlag}s. */
  flags: number;
  /** Size constraints, bytes. */
  minimumBlock: number;
  preferredBlock: number;
  maximumPayload: number;
  /** Whether replies to READ are structured. */
  structured: boolean;
  /** The id of `base:allocation`; null when the server does not tell holes. */
  allocationContext: number | null;
}

/** Replies to one option before the last one; no honest server has that much to say. */
const MOST_REPLIES = 64;
const PREFERRED_BLOCK = 4096;

interface Reply {
  type: number;
  data: Buffer;
}

/**
 * Negotiate until the server is in the transmission phase.
 *
 * @throws RiserError `NBD_PROTOCOL` when the server breaks the rules, `NBD_REFUSED` when it will not serve the export
 */
export function* negotiate(exportName: string, send: (bytes: Uint8Array) => void): Dialogue<Export> {
  const greeting = yield GREETING_LENGTH;
  if (
    Greeting.passwordHigh.get(greeting) !== INIT_PASSWD.high ||
    Greeting.passwordLow.get(greeting) !== INIT_PASSWD.low
  ) {
    throw violation('this is not an NBD server');
  }
  const flags = Greeting.flags.get(greeting);
  if (
    Greeting.magicHigh.get(greeting) !== IHAVEOPT.high ||
    Greeting.magicLow.get(greeting) !== IHAVEOPT.low ||
    (flags & HandshakeFlag.FIXED_NEWSTYLE) === 0
  ) {
    throw refused('the server is too old: it does not know fixed newstyle negotiation');
  }
  const clientFlags = Buffer.alloc(4);
  clientFlags.writeUInt32BE(flags & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES));
  send(clientFlags);

  const structured = (yield* ask(Option.STRUCTURED_REPLY, Buffer.alloc(0), send)).last.type === ReplyType.ACK;
  const allocationContext = structured ? yield* selectAllocation(exportName, send) : null;
  return yield* go(exportName, send, structured, allocationContext);
}

function* selectAllocation(exportName: string, send: (bytes: Uint8Array) => void): Dialogue<number | null> {
  const query = Buffer.concat([string(exportName), u32(1), string(BASE_ALLOCATION)]);
  const { replies, last } = yield* ask(Option.SET_META_CONTEXT, query, send);
  if (last.type !== ReplyType.ACK) return null;
  for (const { type, data } of replies) {
    if (type !== ReplyType.META_CONTEXT || data.length < 4) {
      throw violation('the server tells a metadata context in a wrong way');
    }
    if (data.toString('utf8', 4) === BASE_ALLOCATION) return data.readUInt32BE();
  }
  return null;
}

function* go(
  exportName: string,
  send: (bytes: Uint8Array) => void,
  structured: boolean,
  allocationContext: number | null,
): Dialogue<Export> {
  const requests = Buffer.from([0, 1, 0, Info.BLOCK_SIZE]);
  const { replies, last } = yield* ask(Option.GO, Buffer.concat([string(exportName), requests]), send);
  if (last.type !== ReplyType.ACK) throw explain(exportName, last);

  let told: Buffer | null = null;
  const found: Export = {
    size: 0,
    flags: 0,
    minimumBlock: 1,
    preferredBlock: PREFERRED_BLOCK,
    maximumPayload: DEFAULT_MAXIMUM_PAYLOAD,
    structured,
    allocationContext,
  };
  for (const { type, data } of replies) {
    if (type !== ReplyType.INFO || data.length < 2)
      throw violation('the server tells of its export in a wrong way');
    const info = data.readUInt16BE();
    if (info === Info.EXPORT) told = expectLength(data, INFO_EXPORT_LENGTH);
    if (info === Info.BLOCK_SIZE) readBlockSize(expectLength(data, INFO_BLOCK_SIZE_LENGTH), found);
  }
  if (told === null) throw violation('the server does not tell the size of its export');
  found.size = InfoExport.size.get(told);
  found.flags = InfoExport.flags.get(told);
  if ((found.flags & TransmissionFlag.HAS_FLAGS) === 0)
    throw violation('the server tells no transmission flags');
  if (!Number.isSafeInteger(found.size)) throw refused('the export has 8 PiB or more');
  return found;
}

function readBlockSize(data: Buffer, found: Export): void {
  const minimum = InfoBlockSize.minimum.get(data);
  const preferred = InfoBlockSize.preferred.get(data);
  const maximum = InfoBlockSize.maximum.get(data);
  if (!isPowerOfTwo(minimum) || minimum > 65536 || !isPowerOfTwo(preferred) || preferred < minimum) {
    throw violation(`the server tells impossible block sizes: ${minimum} at least, ${preferred} preferred`);
  }
  if (maximum < minimum) throw violation(`the server takes ${maximum} bytes at most, ${minimum} at least`);
  found.minimumBlock = minimum;
  found.preferredBlock = preferred;
  found.maximumPayload = Math.min(maximum, DEFAULT_MAXIMUM_PAYLOAD);
}

/** Send an option, and take its replies up to the last: an ACK or an error. */
function* ask(
  option: number,
  data: Buffer,
  send: (bytes: Uint8Array) => void,
): Dialogue<{ replies: Reply[]; last: Reply }> {
  const header = Buffer.alloc(OPTION_HEADER_LENGTH);
  OptionHeader.magicHigh.set(header, IHAVEOPT.high);
  OptionHeader.magicLow.set(header, IHAVEOPT.low);
  OptionHeader.option.set(header, option);
  OptionHeader.length.set(header, data.length);
  send(Buffer.concat([header, data]));
  const replies: Reply[] = [];
  for (;;) {
    const reply = yield OPTION_REPLY_LENGTH;
    if (
      OptionReply.magicHigh.get(reply) !== OPTION_REPLY_MAGIC.high ||
      OptionReply.magicLow.get(reply) !== OPTION_REPLY_MAGIC.low ||
      OptionReply.option.get(reply) !== option
    ) {
      throw violation('the server answers an option that nobody sent');
    }
    const type = OptionReply.type.get(reply);
    const length = OptionReply.length.get(reply);
    if (length > LONGEST) throw violation(`the server answers an option with ${length} bytes`);
    const last = { type, data: Buffer.from(yield length) };
    if (type === ReplyType.ACK || isErrorReply(type)) return { replies, last };
    if (replies.push(last) > MOST_REPLIES) throw violation('the server answers an option without end');
  }
}

function expectLength(data: Buffer, length: number): Buffer {
  if (data.length !== length) throw violation(`the server tells ${data.length} bytes where ${length} belong`);
  return data;
}

function explain(exportName: string, { type, data }: Reply): RiserError {
  const name = exportName === '' ? 'its default export' : `the export "${exportName}"`;
  const said = detail(data.toString('utf8', 0, MAXIMUM_STRING));
  switch (type) {
    case ReplyType.ERR_UNKNOWN:
      return refused(`the server does not have ${name}${said}`);
    case ReplyType.ERR_TLS_REQD:
      return refused(`the server wants TLS for ${name}, which is not supported${said}`);
    case ReplyType.ERR_UNSUP:
      return refused('the server is too old: it does not know NBD_OPT_GO');
    default:
      return refused(`the server refuses ${name} (${describeReplyType(type)})${said}`);
  }
}

function refused(message: string): RiserError {
  return new RiserError('NBD_REFUSED', message, { by: 'peer', costs: 'connection' });
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u32(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
