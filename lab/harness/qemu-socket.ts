/**
 * JSON over a Unix socket, as QEMU's monitor (QMP) and the guest's agent (QGA) both speak it: a request a
 * line, a response a line, in order.
 */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

interface Response {
  return?: unknown;
  error?: { class: string; desc: string };
  /** Something that QEMU tells unasked. */
  event?: string;
  /** QMP's greeting. */
  QMP?: unknown;
}

export class QemuSocket {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error('QEMU has closed the socket'));
    });
    const lines = createInterface({ input: socket });
    lines.on('line', (line) => this.#receive(line));
    // It repeats the socket's.
    lines.on('error', () => undefined);
  }

  /** Connect to the socket at `path`, which QEMU makes a moment after it starts; gives up when `signal` is aborted. */
  static async connect(path: string, signal: AbortSignal): Promise<QemuSocket> {
    for (;;) {
      signal.throwIfAborted();
      const socket = connect(path);
      try {
        await once(socket, 'connect');
        return new QemuSocket(socket);
      } catch {
        socket.destroy();
        await delay(20);
      }
    }
  }

  /**
   * Run a command.
   *
   * @returns what QEMU or the agent returns, as it is
   * @throws Error with its description when it refuses, or when the connection ends first
   */
  request(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    if (this.#socket.destroyed) return Promise.reject(new Error('QEMU has closed the socket'));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(line: string): void {
    const response = JSON.parse(line) as Response;
    if (response.event !== undefined || response.QMP !== undefined) return;
    const waiting = this.#waiting.shift();
    if (response.error === undefined) waiting?.resolve(response.return);
    else waiting?.reject(new Error(response.error.desc));
  }
}
