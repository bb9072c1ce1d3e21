/** The server of the benchmark: one run at a time. */

import { RiserError } from '../../util/errors.js';
import type { Established, RdmaConnection, RdmaDevice, RdmaListener } from '../verbs.js';
import { Control } from './control.js';
import { DataEnd } from './data-end.js';
import { checkPlan, completePlan, decodePlan, disagreement, type Plan } from './plan.js';
import { agree, depthsFor, measure, meet, type Result, sendDepth } from './session.js';

/** Until a client that said it would has connected for the second time, milliseconds. */
const PATIENCE_MS = 30_000;

export interface ServerOptions {
  address: string;
  port: number;
  /** What the client has to want, if it is Riser's; what it is taken to want if it is perftest's, which does not say. */
  plan: Partial<Plan>;
  depth: number;
}

/** A run that went well. `result` is null where this side only answers: that is latency of reads. */
export interface ServedRun {
  remoteAddress: string;
  plan: Plan;
  result: Result | null;
}

/** Someone waits for a request to connect: of anyone, or `from` an address. */
interface Awaited {
  from: string | null;
  take: (request: Request) => void;
  fail: (error: Error) => void;
}

interface Request {
  connection: RdmaConnection;
  parameters: Established;
}

export class BenchServer {
  readonly #device: RdmaDevice;
  readonly #options: ServerOptions;
  #listener!: RdmaListener;
  #awaited: Awaited | null = null;
  #abort: (error: Error) => void = () => undefined;
  #closedBy: Error | null = null;

  private constructor(device: RdmaDevice, options: ServerOptions) {
    this.#device = device;
    this.#options = options;
  }

  /** @throws RiserError `BENCH_PLAN`, `ADDRESS_IN_USE`, ... */
  static async listen(device: RdmaDevice, options: ServerOptions): Promise<BenchServer> {
    checkPlan(completePlan(options.plan));
    const server = new BenchServer(device, options);
    const { address, port } = options;
    server.#listener = await device.listen(
      { address, port },
      {
        requested: (connection, parameters) => {
          server.#requested({ connection, parameters });
        },
      },
    );
    return server;
  }

  get port(): number {
    return this.#listener.port;
  }

  /**
   * Wait for a client, and do with it what it wants.
   *
   * @throws RiserError `BENCH_REJECTED` for a client that wants something else than is to be; `BENCH_PEER`, `BENCH_ENDED`,
   * `BENCH_WORK`; what {@link close} was given. After all but the last the next run may come.
   */
  async serve(): Promise<ServedRun> {
    const request = await this.#next(null, Infinity);
    const plan = this.#planOf(request);
    const control = new Control(this.#device, request.connection, 'server');
    let end: DataEnd | null = null;
    this.#abort = (error) => {
      control.fail(error);
      end?.fail(error);
    };
    try {
      await request.connection.accept();
      const { remoteAddress } = control;
      const page = await agree(control);
      end = new DataEnd(this.#device, plan, sendDepth(plan, this.#options.depth), page);
      // Before the client knows that it may connect.
      const second = this.#next(remoteAddress, PATIENCE_MS);
      await Promise.all([this.#connect(second, end), meet(control)]);
      end.connected((error) => {
        control.fail(error);
      });
      await meet(control);
      const result = await measure(control, end, 'server');
      await end.ended();
      return { remoteAddress, plan, result };
    } catch (error) {
      this.#awaited?.fail(error as Error);
      throw error;
    } finally {
      this.#abort = () => undefined;
      end?.close();
      control.close();
    }
  }

  async #connect(second: Promise<Request>, end: DataEnd): Promise<void> {
    const { connection } = await second;
    end.attach(connection);
    await connection.accept(depthsFor(end.plan, this.#device));
  }

  #planOf({ connection, parameters }: Request): Plan {
    const { plan: wanted } = this.#options;
    try {
      const plan = decodePlan(parameters.privateData);
      const problem = plan === null ? null : disagreement(wanted, plan);
      if (problem !== null)
        throw new RiserError('BENCH_REJECTED', problem, { by: 'peer', costs: 'connection' });
      return plan ?? completePlan(wanted);
    } catch (error) {
      refuse(connection, (error as Error).message);
      throw error;
    }
  }

  /** The next request to connect: of anyone, or of `from`. */
  #next(from: string | null, patience: number): Promise<Request> {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== null) {
        reject(this.#closedBy);
        return;
      }
      const timer = Number.isFinite(patience)
        ? setTimeout(() => this.#awaited?.fail(missing(patience)), patience)
        : undefined;
      const settled = (): void => {
        clearTimeout(timer);
        this.#awaited = null;
      };
      this.#awaited = {
        from,
        take: (request) => {
          settled();
          resolve(request);
        },
        fail: (error) => {
          settled();
          reject(error);
        },
      };
    });
  }

  #requested(request: Request): void {
    const { connection } = request;
    const awaited = this.#awaited;
    if (awaited !== null && (awaited.from === null || awaited.from === connection.remoteAddress))
      awaited.take(request);
    else refuse(connection, 'the server is busy with another client');
  }

  /** Stop to listen; a run that is on ends with `error`. */
  async close(error: Error): Promise<void> {
    this.#closedBy = error;
    this.#awaited?.fail(error);
    this.#abort(error);
    await this.#listener.close();
  }
}

function refuse(connection: RdmaConnection, reason: string): void {
  connection.reject(Buffer.from(reason));
  connection.close();
}

function missing(patience: number): RiserError {
  const message = `the client did not connect for the second time within ${patience / 1000} s`;
  return new RiserError('BENCH_ENDED', message, { by: 'peer', costs: 'connection' });
}
