/**
 * Carries the sessions of clients that speak iSCSI over TCP to a target over iSER, one to one and PDU by PDU, by Riser's two
 * Datamovers: numbers, tags, windows and answers are the target's own. What a command writes is fetched from the client before
 * the command is passed on, since the target reads it from memory whenever it likes; all that follows waits, so that the
 * target gets every PDU in the order of the client.
 */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import {
  acceptTcp,
  type ControlPdu,
  type DataTransfer,
  type InitiatorDatamover,
  type InitiatorTasks,
  InitiatorTransfer,
  type Numbering,
  type TargetDatamover,
  TargetTransfer,
} from '../../src/datamover/index.js';
import { openDatamover } from '../../src/initiator/dial.js';
import { Bhs, ScsiCommand, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import {
  CommandFlag,
  FINAL,
  Opcode,
  OPCODE_MASK,
  RESERVED_TAG,
  ResponseFlag,
} from '../../src/iscsi/wire/opcodes.js';
import { openStream } from '../../src/stream/index.js';
import { Memory, ScatterList } from '../../src/util/memory.js';
import { BridgedLogin } from './bridged-login.js';

const CONNECT_TIMEOUT_MS = 30_000;
/** The most that one command may transfer, bytes. */
const LONGEST_COMMAND = 64 << 20;
const SMALLEST_BUFFER = 4096;

export class IserBridge {
  readonly #server: Server;
  readonly #links = new Set<Link>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** A bridge to the iSER target on 127.0.0.1 `targetPort`. */
  static async start(targetPort: number): Promise<IserBridge> {
    const server = createServer();
    const bridge = new IserBridge(server);
    const buffers = new Buffers();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    server.on('connection', (socket) => {
      socket.setNoDelay(true);
      const stream = openStream<DataTransfer>(socket);
      const link: Link = new Link(
        buffers,
        bridge.port,
        (events) => acceptTcp(stream, events),
        () => {
          bridge.#links.delete(link);
        },
      );
      bridge.#links.add(link);
      openDatamover(
        { host: '127.0.0.1', port: targetPort },
        'iser',
        link.fromTarget,
        CONNECT_TIMEOUT_MS,
        null,
      ).then(
        (datamover) => {
          link.connected(datamover);
        },
        (error: unknown) => {
          link.end(error as Error);
        },
      );
    });
    return bridge;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const link of [...this.#links]) link.end(new Error('the bridge is closed'));
    await closed;
  }
}

/** Memory for commands, in one piece each, so that the target reaches it where it lies; used again and again. */
class Buffers {
  /** By their size, a power of two. */
  readonly #free = new Map<number, Memory[]>();

  fill(list: ScatterList, length: number): void {
    if (length === 0) return;
    const size = Math.max(SMALLEST_BUFFER, 2 ** Math.ceil(Math.log2(length)));
    list.add(this.#free.get(size)?.pop() ?? Memory.allocate(size), 0, length);
  }

  release(list: ScatterList): void {
    const memory = list.count > 0 ? list.regions[0]! : null;
    list.clear();
    if (memory === null) return;
    const free = this.#free.get(memory.length);
    if (free === undefined) this.#free.set(memory.length, [memory]);
    else free.push(memory);
  }
}

/** A command on its way: what the client gives or takes, and what the target may reach, is the same memory. */
class Command {
  readonly buffer = new ScatterList();
  readonly client = new ClientTransfer(this);
  readonly target = new BridgedTransfer(this);
  /** It has its answer, or will not get any, and what leaves of its buffer is not under way to the client. */
  isOver = false;
}

class ClientTransfer extends TargetTransfer {
  readonly command: Command;
  readonly buffer: ScatterList;

  constructor(command: Command) {
    super();
    this.command = command;
    this.buffer = command.buffer;
  }
}

class BridgedTransfer extends InitiatorTransfer {
  readonly command: Command;
  readonly buffer: ScatterList;

  constructor(command: Command) {
    super();
    this.command = command;
    this.buffer = command.buffer;
  }
}

/** A PDU of the client that the target has not got yet. */
interface Waiting {
  readonly header: Buffer;
  readonly ahs: Buffer;
  /** Empty for a command, whose buffer has it. */
  readonly data: Buffer;
  readonly command: Command | null;
  isComplete: boolean;
}

/** One session: its two connections. */
class Link implements Numbering, InitiatorTasks {
  readonly #buffers: Buffers;
  readonly #login: BridgedLogin;
  readonly #closed: () => void;
  readonly #client: TargetDatamover;
  /** Null until the target has accepted. */
  #target: InitiatorDatamover | null = null;
  #isLoggedIn = false;
  #isClientGone = false;
  #isTargetGone = false;
  readonly #waiting: Waiting[] = [];
  readonly #commands = new Map<number, Command>();
  /** What the target said last. */
  #statSN = 0;
  #nextStatSN = 0;
  #expCmdSN = 0;
  #maxCmdSN = 0;

  /** Heard of the target. */
  readonly fromTarget = {
    controlNotify: (pdu: ControlPdu): void => {
      this.#passToClient(pdu);
    },
    buffersReleased: (transfer: DataTransfer): void => {
      this.#release((transfer as BridgedTransfer).command);
    },
    connectionTerminateNotify: (reason: Error | null): void => {
      this.#isTargetGone = true;
      if (!this.#isClientGone) {
        if (reason === null) this.#client.connectionTerminate();
        else this.#client.deallocateConnectionResources(reason);
      }
      this.#cleanUp();
    },
  };

  constructor(
    buffers: Buffers,
    port: number,
    accept: (events: Parameters<typeof acceptTcp>[1]) => TargetDatamover,
    closed: () => void,
  ) {
    this.#buffers = buffers;
    this.#login = new BridgedLogin(port);
    this.#closed = closed;
    this.#client = accept({
      controlNotify: (pdu) => {
        this.#take(pdu);
      },
      dataCompletionNotify: (transfer) => {
        this.#complete((transfer as ClientTransfer).command);
      },
      dataErrorNotify: (_transfer, error) => {
        this.end(new Error(`Data-Out with a ${error} error`));
      },
      buffersReleased: (transfer) => {
        const { command } = transfer as ClientTransfer;
        command.isOver = true;
        this.#release(command);
      },
      connectionTerminateNotify: () => {
        this.#isClientGone = true;
        if (!this.#isTargetGone) this.#target?.connectionTerminate();
        this.#cleanUp();
      },
    });
  }

  connected(target: InitiatorDatamover): void {
    this.#target = target;
    if (this.#isClientGone) target.connectionTerminate();
    else this.#pass();
  }

  /** End both connections at once. */
  end(reason: Error): void {
    if (this.#target === null) this.#isTargetGone = true;
    else if (!this.#isTargetGone) this.#target.deallocateConnectionResources(reason);
    if (!this.#isClientGone) this.#client.deallocateConnectionResources(reason);
    this.#cleanUp();
  }

  /** When both connections are gone nothing touches any buffer. */
  #cleanUp(): void {
    if (!this.#isClientGone || !this.#isTargetGone) return;
    for (const { command } of this.#waiting.splice(0))
      if (command !== null) this.#buffers.release(command.buffer);
    for (const command of this.#commands.values()) this.#buffers.release(command.buffer);
    this.#commands.clear();
    this.#closed();
  }

  // ---- from the client to the target ----

  #take(pdu: ControlPdu): void {
    if (pdu.dataDigestFailed) {
      this.end(new Error('a data digest that does not match'));
      return;
    }
    const { header } = pdu;
    const opcode = header[0]! & OPCODE_MASK;
    if (this.#isLoggedIn && opcode === Opcode.SCSI_COMMAND) this.#takeCommand(pdu);
    else {
      const data =
        opcode === Opcode.LOGIN_REQUEST ? this.#login.request(header, pdu.data()) : Buffer.from(pdu.data());
      this.#waiting.push({
        header: Buffer.from(header),
        ahs: Buffer.alloc(0),
        data,
        command: null,
        isComplete: true,
      });
    }
    this.#pass();
  }

  #takeCommand(pdu: ControlPdu): void {
    const { header, dataLength } = pdu;
    const flags = Bhs.flags.get(header);
    const isWrite = (flags & CommandFlag.WRITE) !== 0;
    const isRead = (flags & CommandFlag.READ) !== 0;
    const expected = isWrite || isRead ? ScsiCommand.expectedDataTransferLength.get(header) : 0;
    // More than is expected is the target's to refuse.
    const length = Math.max(expected, dataLength);
    const command = new Command();
    if (length > LONGEST_COMMAND) {
      this.end(new Error(`a command that transfers ${length} bytes`));
      return;
    }
    this.#buffers.fill(command.buffer, length);
    const { client, target, buffer } = command;
    client.initiatorTaskTag = target.initiatorTaskTag = Bhs.initiatorTaskTag.get(header);
    client.lunHigh = target.lunHigh = Bhs.lunHigh.get(header);
    client.lunLow = target.lunLow = Bhs.lunLow.get(header);
    target.isWrite = isWrite;
    target.isRead = isRead;
    // What is more than the target takes at once it asks for.
    target.immediateLength = target.unsolicitedLength = Math.min(dataLength, this.#login.immediateLimit);
    buffer.writeFrom(0, pdu.region, pdu.dataOffset, dataLength);
    const isFetched = isWrite && (flags & FINAL) !== 0 && dataLength < expected;
    this.#waiting.push({
      header: Buffer.from(header),
      ahs: Buffer.from(pdu.ahs()),
      data: Buffer.alloc(0),
      command,
      isComplete: !isFetched,
    });
    if (!isFetched) return;
    client.unsolicitedLength = client.solicitOffset = dataLength;
    client.solicitEnd = expected;
    this.#client.getData(client);
    this.#client.flush();
  }

  #complete(command: Command): void {
    for (const waiting of this.#waiting) if (waiting.command === command) waiting.isComplete = true;
    this.#pass();
  }

  #pass(): void {
    const target = this.#target;
    if (target === null || this.#isTargetGone) return;
    while (this.#waiting[0]?.isComplete === true) {
      const { header, ahs, data, command } = this.#waiting.shift()!;
      if (command === null) target.sendControl(header, data, data.length);
      else {
        // What a task that was aborted has kept goes when its tag comes again.
        const old = this.#commands.get(command.target.initiatorTaskTag);
        if (old !== undefined) this.#forget(old);
        this.#commands.set(command.target.initiatorTaskTag, command);
        target.sendCommand(new Memory(header), ahs, command.target);
      }
    }
    target.flush();
  }

  // ---- from the target to the client ----

  #passToClient(pdu: ControlPdu): void {
    const { header } = pdu;
    const opcode = header[0]! & OPCODE_MASK;
    this.#takeNumbers(header, opcode);
    const command =
      opcode === Opcode.SCSI_RESPONSE ? this.#commands.get(Bhs.initiatorTaskTag.get(header)) : undefined;
    if (command !== undefined) this.#answer(command, pdu);
    else {
      let data = pdu.data();
      if (opcode === Opcode.LOGIN_RESPONSE) data = this.#login.response(header, data);
      else if (opcode === Opcode.TEXT_RESPONSE) data = this.#login.textResponse(data);
      this.#client.sendControl(header, data, data.length);
      if (opcode === Opcode.LOGIN_RESPONSE && BridgedLogin.isLast(header)) this.#loggedIn();
    }
    this.#client.flush();
  }

  #takeNumbers(header: Buffer, opcode: number): void {
    // A ping shows the next StatSN without taking it (RFC 7143 11.19.1).
    const isPing = opcode === Opcode.NOP_IN && Bhs.initiatorTaskTag.get(header) === RESERVED_TAG;
    this.#statSN = ScsiResponse.statSN.get(header);
    this.#nextStatSN = isPing ? this.#statSN : (this.#statSN + 1) >>> 0;
    this.#expCmdSN = ScsiResponse.expCmdSN.get(header);
    this.#maxCmdSN = ScsiResponse.maxCmdSN.get(header);
  }

  #loggedIn(): void {
    const target = this.#target!;
    this.#isLoggedIn = true;
    target.enableDatamover(this.#login.targetParameters(target.taskLimit), this);
    this.#client.enableDatamover(this.#login.clientParameters, this);
  }

  #answer(command: Command, pdu: ControlPdu): void {
    const { header } = pdu;
    const { client, target } = command;
    this.#commands.delete(target.initiatorTaskTag);
    this.#target!.deallocateTaskResources(target);
    const status = ScsiResponse.status.get(header);
    const isGood = status === 0 && ScsiResponse.response.get(header) === 0 && pdu.dataLength === 0;
    if (target.isRead && isGood && target.transferred > 0) {
      const residualFlags = Bhs.flags.get(header) & (ResponseFlag.OVERFLOW | ResponseFlag.UNDERFLOW);
      this.#client.putData(
        client,
        target.transferred,
        status,
        residualFlags,
        ScsiResponse.residualCount.get(header),
      );
      return;
    }
    ScsiResponse.expDataSN.set(header, client.dataSN);
    this.#client.sendResponse(client, header, pdu.data(), pdu.dataLength);
    command.isOver = true;
    this.#release(command);
  }

  #forget(command: Command): void {
    this.#target!.deallocateTaskResources(command.target);
    command.isOver = true;
    this.#release(command);
  }

  /** Nothing more happens to its buffer, if that is so. */
  #release(command: Command): void {
    if (command.isOver && command.target.queuedParts === 0) this.#buffers.release(command.buffer);
  }

  // ---- Numbering: what the Datamover makes for the client carries the target's numbers ----

  takeStatSN(): number {
    return this.#statSN;
  }

  peekStatSN(): number {
    return this.#nextStatSN;
  }

  expectedCmdSN(): number {
    return this.#expCmdSN;
  }

  maxCmdSN(): number {
    return this.#maxCmdSN;
  }

  // ---- InitiatorTasks ----

  findTask(initiatorTaskTag: number): InitiatorTransfer | null {
    return this.#commands.get(initiatorTaskTag)?.target ?? null;
  }

  expectedStatSN(): number {
    return this.#nextStatSN;
  }

  commandNumbersNotify(): void {
    // Every number comes in a PDU that is passed on.
  }

  statusDeferred(): void {
    // Over RDMA nothing is missing.
  }
}
