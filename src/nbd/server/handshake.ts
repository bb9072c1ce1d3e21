/** The server's side of fixed newstyle negotiation: from the greeting to the transmission phase. */

import { type Dialogue, LONGEST } from '../dialogue.js';
import { violation } from '../errors.js';
import {
  BASE_ALLOCATION,
  BASE_NAMESPACE,
  DEFAULT_MAXIMUM_PAYLOAD,
  EXPORT_NAME_REPLY_LENGTH,
  EXPORT_NAME_ZEROES,
  ExportNameReply,
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
  MAXIMUM_STRING,
  Option,
  OPTION_HEADER_LENGTH,
  OPTION_REPLY_LENGTH,
  OPTION_REPLY_MAGIC,
  OptionHeader,
  OptionReply,
  ReplyType,
} from '../wire.js';

/** What is exported, as the handshake tells it. */
export interface ExportDescription {
  name: string;
  /** For people. */
  description: string;
  /** Bytes. */
  size: number;
  minimumBlock: number;
  preferredBlock: number;
  /** Transmission flags, given that structured replies were agreed on or not. */
  flags: (structured: boolean) => number;
}

/** What client and server agreed on. */
export interface Agreement {
  structured: boolean;
  /** Whether BLOCK_STATUS tells `base:allocation`, with {@link ALLOCATION_CONTEXT}. */
  tellsAllocation: boolean;
}

/** The id of `base:allocation`. */
export const ALLOCATION_CONTEXT = 1;

/**
 * Negotiate. The result is null when the client wants nothing more.
 *
 * @throws RiserError `NBD_PROTOCOL` for what has no answer but the end of the connection
 */
export function* negotiate(
  describe: () => ExportDescription,
  send: (bytes: Uint8Array) => void,
): Dialogue<Agreement | null> {
  send(greeting());
  const clientFlags = (yield 4).readUInt32BE();
  if ((clientFlags & ~(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)) !== 0) {
    throw violation(`the client sets unknown flags 0x${clientFlags.toString(16)}`);
  }
  const haggling = new Haggling(describe, send, (clientFlags & HandshakeFlag.NO_ZEROES) !== 0);
  for (;;) {
    const header = yield OPTION_HEADER_LENGTH;
    if (
      OptionHeader.magicHigh.get(header) !== IHAVEOPT.high ||
      OptionHeader.magicLow.get(header) !== IHAVEOPT.low
    ) {
      throw violation('the client sends an option without its magic');
    }
    const option = OptionHeader.option.get(header);
    const length = OptionHeader.length.get(header);
    if (length > LONGEST) {
      for (let left = length; left > 0; left -= Math.min(left, LONGEST)) yield Math.min(left, LONGEST);
      haggling.tooLong(option);
      continue;
    }
    const outcome = haggling.answer(option, yield length);
    if (outcome === 'transmission') return haggling.agreement;
    if (outcome === 'end') return null;
  }
}

type Outcome = 'haggle' | 'transmission' | 'end';

/** The state of option haggling, and the answer to each option. */
class Haggling {
  readonly agreement: Agreement = { structured: false, tellsAllocation: false };
  readonly #describe: () => ExportDescription;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #noZeroes: boolean;
  #option = 0;

  constructor(describe: () => ExportDescription, send: (bytes: Uint8Array) => void, noZeroes: boolean) {
    this.#describe = describe;
    this.#send = send;
    this.#noZeroes = noZeroes;
  }

  tooLong(option: number): void {
    if (option === Option.EXPORT_NAME) throw violation('the client names an impossible export');
    this.#option = option;
    this.#refuse(ReplyType.ERR_TOO_BIG, 'the option is too long');
  }

  answer(option: number, data: Buffer): Outcome {
    this.#option = option;
    switch (option) {
      case Option.EXPORT_NAME:
        return this.#exportName(data);
      case Option.ABORT:
        this.#reply(ReplyType.ACK);
        return 'end';
      case Option.LIST:
        return this.#list(data);
      case Option.INFO:
      case Option.GO:
        return this.#info(data);
      case Option.STRUCTURED_REPLY:
        if (data.length > 0) return this.#refuse(ReplyType.ERR_INVALID, 'the option has no data');
        this.agreement.structured = true;
        return this.#acknowledge();
      case Option.LIST_META_CONTEXT:
      case Option.SET_META_CONTEXT:
        return this.#metaContext(data);
      default:
        return this.#refuse(ReplyType.ERR_UNSUP, 'the option is not supported');
    }
  }

  /** The one option whose failure cannot be told. */
  #exportName(data: Buffer): Outcome {
    const description = this.#find(data.toString());
    if (description === null)
      throw violation(`the client wants the export "${shown(data)}", which is not there`);
    const reply = Buffer.alloc(EXPORT_NAME_REPLY_LENGTH + (this.#noZeroes ? 0 : EXPORT_NAME_ZEROES));
    ExportNameReply.size.set(reply, description.size);
    ExportNameReply.flags.set(reply, description.flags(this.agreement.structured));
    this.#send(reply);
    return 'transmission';
  }

  #list(data: Buffer): Outcome {
    if (data.length > 0) return this.#refuse(ReplyType.ERR_INVALID, 'the option has no data');
    const { name, description } = this.#describe();
    const length = Buffer.alloc(4);
    length.writeUInt32BE(Buffer.byteLength(name));
    this.#reply(ReplyType.SERVER, Buffer.concat([length, Buffer.from(name), text(description)]));
    return this.#acknowledge();
  }

  #info(data: Buffer): Outcome {
    const reader = new OptionReader(data);
    const name = reader.string();
    const requests = reader.list(2, () => reader.u16());
    if (name === null || requests === null || !reader.isAtEnd) {
      return this.#refuse(ReplyType.ERR_INVALID, 'the option is malformed');
    }
    const description = this.#find(name);
    if (description === null) return this.#refuse(ReplyType.ERR_UNKNOWN, 'there is no such export');

    const info = Buffer.alloc(INFO_EXPORT_LENGTH);
    InfoExport.type.set(info, Info.EXPORT);
    InfoExport.size.set(info, description.size);
    InfoExport.flags.set(info, description.flags(this.agreement.structured));
    this.#reply(ReplyType.INFO, info);
    const blockSize = Buffer.alloc(INFO_BLOCK_SIZE_LENGTH);
    InfoBlockSize.type.set(blockSize, Info.BLOCK_SIZE);
    InfoBlockSize.minimum.set(blockSize, description.minimumBlock);
    InfoBlockSize.preferred.set(blockSize, description.preferredBlock);
    InfoBlockSize.maximum.set(blockSize, DEFAULT_MAXIMUM_PAYLOAD);
    this.#reply(ReplyType.INFO, blockSize);
    if (requests.includes(Info.NAME)) this.#reply(ReplyType.INFO, typed(Info.NAME, description.name));
    if (requests.includes(Info.DESCRIPTION)) {
      this.#reply(ReplyType.INFO, typed(Info.DESCRIPTION, description.description));
    }
    this.#acknowledge();
    return this.#option === Option.GO ? 'transmission' : 'haggle';
  }

  #metaContext(data: Buffer): Outcome {
    const selects = this.#option === Option.SET_META_CONTEXT;
    // Even a failed selection replaces the one before.
    if (selects) this.agreement.tellsAllocation = false;
    if (!this.agreement.structured) {
      return this.#refuse(ReplyType.ERR_INVALID, 'structured replies come first');
    }
    const reader = new OptionReader(data);
    const name = reader.string();
    const count = reader.u32();
    const queries: string[] = [];
    for (let i = 0; i < (count ?? 0); i++) {
      const query = reader.string();
      if (query === null) break;
      queries.push(query);
    }
    if (name === null || queries.length !== count || !reader.isAtEnd) {
      return this.#refuse(ReplyType.ERR_INVALID, 'the option is malformed');
    }
    if (this.#find(name) === null) return this.#refuse(ReplyType.ERR_UNKNOWN, 'there is no such export');

    const isMatch = (query: string): boolean =>
      query === BASE_ALLOCATION || (!selects && query === BASE_NAMESPACE);
    if (queries.some(isMatch) || (!selects && queries.length === 0)) {
      const id = Buffer.alloc(4);
      id.writeUInt32BE(selects ? ALLOCATION_CONTEXT : 0);
      this.#reply(ReplyType.META_CONTEXT, Buffer.concat([id, Buffer.from(BASE_ALLOCATION)]));
      if (selects) this.agreement.tellsAllocation = true;
    }
    return this.#acknowledge();
  }

  /** The export of this name; the empty one is the default export. */
  #find(name: string): ExportDescription | null {
    const description = this.#describe();
    return name === '' || name === description.name ? description : null;
  }

  #acknowledge(): 'haggle' {
    this.#reply(ReplyType.ACK);
    return 'haggle';
  }

  #refuse(type: number, message: string): 'haggle' {
    this.#reply(type, Buffer.from(message));
    return 'haggle';
  }

  #reply(type: number, data: Uint8Array = new Uint8Array()): void {
    const header = Buffer.alloc(OPTION_REPLY_LENGTH);
    OptionReply.magicHigh.set(header, OPTION_REPLY_MAGIC.high);
    OptionReply.magicLow.set(header, OPTION_REPLY_MAGIC.low);
    OptionReply.option.set(header, this.#option);
    OptionReply.type.set(header, type);
    OptionReply.length.set(header, data.length);
    this.#send(Buffer.concat([header, data]));
  }
}

/** Takes an option's data apart; every field is null when the data ends before it. */
class OptionReader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#data.length;
  }

  u16(): number | null {
    return this.#take(2)?.readUInt16BE() ?? null;
  }

  u32(): number | null {
    return this.#take(4)?.readUInt32BE() ?? null;
  }

  /** A 32-bit length, and as many bytes of UTF-8. */
  string(): string | null {
    const length = this.u32();
    if (length === null || length > MAXIMUM_STRING) return null;
    return this.#take(length)?.toString() ?? null;
  }

  /** A 16-bit count, and as many items of `width` bytes. */
  list<T>(width: number, item: () => T | null): T[] | null {
    const count = this.u16();
    if (count === null || count * width > this.#data.length - this.#at) return null;
    return Array.from({ length: count }, () => item()!);
  }

  #take(length: number): Buffer | null {
    if (length > this.#data.length - this.#at) return null;
    this.#at += length;
    return this.#data.subarray(this.#at - length, this.#at);
  }
}

function greeting(): Buffer {
  const bytes = Buffer.alloc(GREETING_LENGTH);
  Greeting.passwordHigh.set(bytes, INIT_PASSWD.high);
  Greeting.passwordLow.set(bytes, INIT_PASSWD.low);
  Greeting.magicHigh.set(bytes, IHAVEOPT.high);
  Greeting.magicLow.set(bytes, IHAVEOPT.low);
  Greeting.flags.set(bytes, HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES);
  return bytes;
}

/** Information that is text. */
function typed(type: number, value: string): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(type);
  return Buffer.concat([bytes, text(value)]);
}

function text(value: string): Buffer {
  return Buffer.from(value).subarray(0, MAXIMUM_STRING);
}

/** What a stranger wrote, fit for a log line. */
function shown(data: Buffer): string {
  return JSON.stringify(data.toString().slice(0, 100)).slice(1, -1);
}
