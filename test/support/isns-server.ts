/**
 * An iSNS server with one Discovery Domain for all registered nodes, as strict as RFC 4171 lets it be. For tests
 * only: it never expires anything, and sends an Entity Status Inquiry when it is told to.
 */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

import {
  type Attribute,
  attribute,
  decodeAttributes,
  EID,
  encodeAttributes,
  ENTITY_PROTOCOL,
  ESI_PORT,
  find,
  ISCSI_NAME,
  PG_ADDRESS,
  PG_ISCSI_NAME,
  PG_PORT,
  PG_TAG,
  PORTAL_ADDRESS,
  PORTAL_PORT,
  REGISTRATION_PERIOD,
  TIMESTAMP,
} from '../../src/isns/wire/attributes.js';
import { Flag, FunctionId, RESPONSE, Status } from '../../src/isns/wire/codes.js';
import { decodeRequest, encodeResponse, type Message, type Request } from '../../src/isns/wire/message.js';
import { encodeMessage, MessageReader } from '../../src/isns/wire/pdu.js';

/** By tag. */
type Attributes = Map<number, Attribute>;

interface Entity {
  /** By name. */
  nodes: Map<string, Attributes>;
  /** By `address port`. */
  portals: Map<string, Attributes>;
  /** Tags by `name address port`; 1 where nobody said otherwise, null where the portal does not lead there. */
  groups: Map<string, number | null>;
}

/** A request as it came. */
export interface Received extends Request {
  functionId: number;
  replace: boolean;
}

const FIRST_KEYS = [EID, PORTAL_ADDRESS, ISCSI_NAME].map(({ tag }) => tag);
const INVALID_REGISTRATION = 3;

export class IsnsServer {
  /** By Entity Identifier. */
  readonly entities = new Map<string, Entity>();
  readonly received: Received[] = [];
  /** What the next requests of a function are refused with. */
  readonly refusals: { functionId: number; status: number }[] = [];
  /** Seconds, which a registration is answered with. */
  period = 600;
  hasEsi = true;
  /** Answer those who are not registered, too. */
  answersAll = false;
  /** After the last node comes the first one again. */
  goesRound = false;
  /** Bytes that are sent instead of the next answer. */
  instead: Uint8Array | null = null;
  port = 0;
  #server: Server = createServer();
  readonly #sockets = new Set<Socket>();
  #made = 0;

  static async start(): Promise<IsnsServer> {
    const server = new IsnsServer();
    await server.listen();
    return server;
  }

  /** Listen, on the port that it had if it did before. */
  async listen(): Promise<void> {
    this.#server = createServer((socket) => {
      this.#accept(socket);
    });
    this.#server.listen(this.port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = (this.#server.address() as AddressInfo).port;
  }

  /** Be gone, with or without all that was registered. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** `EID: names; address port tag ...` for each entity: what there is, in the order of its registration. */
  describe(): string[] {
    return [...this.entities].map(([eid, { nodes, portals }]) => {
      const where = [...portals.keys()].map((portal) => {
        const tags = new Set([...nodes.keys()].map((name) => this.#tag(eid, name, portal)));
        return `${portal} ${[...tags].map(String).join('|')}`;
      });
      return `${eid}: ${[...nodes.keys()].join(', ')}; ${where.join(', ')}`;
    });
  }

  /** Send an Entity Status Inquiry to the one portal of an entity, and tell the answer's status and attributes. */
  async inquire(eid: string): Promise<{ status: number; attributes: Attribute[] }> {
    const [portal] = [...this.entities.get(eid)!.portals.values()];
    const asked = [
      attribute(TIMESTAMP, 1_700_000_000),
      attribute(EID, eid),
      portal!.get(PORTAL_ADDRESS.tag)!,
      portal!.get(PORTAL_PORT.tag)!,
    ];
    const port = find([...portal!.values()], ESI_PORT)!;
    const answer = await ask(port, { functionId: FunctionId.ESI, attributes: asked });
    return {
      status: answer.payload.readUInt32BE(0),
      attributes: decodeAttributes(answer.payload.subarray(4)),
    };
  }

  #accept(socket: Socket): void {
    const reader = new MessageReader(1 << 20);
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      for (const message of reader.push(bytes)) socket.write(this.instead ?? this.#answer(message));
    });
  }

  #answer({ functionId, flags, transactionId, payload }: Message): Uint8Array {
    const request = decodeRequest(payload);
    this.received.push({ ...request, functionId, replace: (flags & Flag.REPLACE) !== 0 });
    const refusal = this.refusals.findIndex((refused) => refused.functionId === functionId);
    let status: number = refusal < 0 ? Status.SUCCESSFUL : this.refusals.splice(refusal, 1)[0]!.status;
    let key: readonly Attribute[] = request.key;
    let operating: Attribute[] = [];
    if (status === Status.SUCCESSFUL) {
      try {
        ({ key = request.key, operating } = this.#do(functionId, flags, request));
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        status = error.status;
      }
    }
    return encodeMessage({
      functionId: functionId | RESPONSE,
      flags: Flag.SERVER,
      transactionId,
      payload: encodeResponse({ status, key, operating }),
    });
  }

  #do(functionId: number, flags: number, request: Request): { key?: Attribute[]; operating: Attribute[] } {
    const source = find([request.source], ISCSI_NAME) ?? refuse(Status.MESSAGE_FORMAT_ERROR);
    const own = this.#entityOf(source);
    if (functionId === FunctionId.DEV_ATTR_REG)
      return this.#register(request, source, (flags & Flag.REPLACE) !== 0);
    if (own === null && !this.answersAll) refuse(Status.SOURCE_UNKNOWN);
    switch (functionId) {
      case FunctionId.DEV_ATTR_QRY:
        return {
          operating: this.#query(
            request.key[0]!,
            request.operating.map(({ tag }) => tag),
          ),
        };
      case FunctionId.DEV_GET_NEXT:
        return this.#next(request.key[0]!);
      case FunctionId.DEV_DEREG:
        this.#deregister(request.operating, own);
        return { operating: [] };
      default:
        return refuse(Status.NOT_SUPPORTED);
    }
  }

  #register({ key, operating }: Request, source: string, replace: boolean) {
    const eid = find(operating, EID) ?? `isns:${++this.#made}`;
    const before = this.entities.get(eid);
    if (before !== undefined && !before.nodes.has(source)) refuse(Status.SOURCE_UNAUTHORIZED);
    if (key.length > 0 && find(key, EID) !== eid) refuse(INVALID_REGISTRATION);
    const objects = objectsOf(operating);
    if (before === undefined && objects.length < 2) refuse(INVALID_REGISTRATION);
    for (const [first] of objects) {
      const name = find([first!], ISCSI_NAME);
      const taken = name === null ? null : this.#entityOf(name);
      if (taken !== null && taken !== eid) refuse(INVALID_REGISTRATION);
    }
    if (!this.hasEsi && find(operating, ESI_PORT) !== null) refuse(Status.ESI_NOT_AVAILABLE);

    const isNew = before === undefined || replace;
    const entity = isNew ? { nodes: new Map(), portals: new Map(), groups: new Map() } : before;
    this.entities.set(eid, entity);
    for (const object of objects) addTo(entity, object);
    const answer = [
      attribute(EID, eid),
      attribute(ENTITY_PROTOCOL, 2),
      attribute(REGISTRATION_PERIOD, this.period),
    ];
    return {
      key: [attribute(EID, eid)],
      operating: [...answer, ...objects.flat().filter(({ tag }) => tag !== EID.tag)],
    };
  }

  #query(key: Attribute, wanted: readonly number[]): Attribute[] {
    const eid = find([key], EID) ?? this.#entityOf(find([key], ISCSI_NAME) ?? refuse(5));
    const entity = eid === null ? undefined : this.entities.get(eid);
    if (eid === null || entity === undefined) return [];
    const found = [attribute(EID, eid), attribute(REGISTRATION_PERIOD, this.period)];
    const name = find([key], ISCSI_NAME);
    if (name !== null) found.push(...entity.nodes.get(name)!.values());
    for (const [portal, attributes] of entity.portals) {
      if (name === null) {
        found.push(...attributes.values());
        continue;
      }
      const tag = this.#tag(eid, name, portal);
      if (tag === null) continue;
      found.push(...attributes.values());
      found.push(attribute(PG_ISCSI_NAME, name));
      found.push({ ...attributes.get(PORTAL_ADDRESS.tag)!, tag: PG_ADDRESS.tag });
      found.push({ ...attributes.get(PORTAL_PORT.tag)!, tag: PG_PORT.tag }, attribute(PG_TAG, tag));
    }
    return found.filter(({ tag }) => wanted.includes(tag));
  }

  #next(key: Attribute): { key: Attribute[]; operating: Attribute[] } {
    const nodes = [...this.entities.values()].flatMap((entity) => [...entity.nodes]);
    const after = find([key], ISCSI_NAME);
    const at = after === null ? 0 : nodes.findIndex(([name]) => name === after) + 1;
    const [name, attributes] = nodes[this.goesRound ? at % nodes.length : at] ?? refuse(Status.NO_SUCH_ENTRY);
    return { key: [attribute(ISCSI_NAME, name)], operating: [...attributes.values()] };
  }

  #deregister(operating: readonly Attribute[], own: string | null): void {
    for (const object of objectsOf([...operating])) {
      const eid = find(object, EID);
      const name = find(object, ISCSI_NAME);
      const address = find(object, PORTAL_ADDRESS);
      for (const [id, entity] of this.entities) {
        const portal = address === null ? '' : `${address} ${find(object, PORTAL_PORT)}`;
        const isHere = id === eid || (name !== null && entity.nodes.has(name)) || entity.portals.has(portal);
        if (!isHere) continue;
        if (id !== own) refuse(Status.SOURCE_UNAUTHORIZED);
        if (name !== null) entity.nodes.delete(name);
        entity.portals.delete(portal);
        if (id === eid || entity.nodes.size + entity.portals.size === 0) this.entities.delete(id);
      }
    }
  }

  #entityOf(name: string): string | null {
    return [...this.entities].find(([, { nodes }]) => nodes.has(name))?.[0] ?? null;
  }

  #tag(eid: string, name: string, portal: string): number | null {
    const tag = this.entities.get(eid)!.groups.get(`${name} ${portal}`);
    return tag === undefined ? 1 : tag;
  }
}

class Refused extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`status ${status}`);
    this.status = status;
  }
}

function refuse(status: number): never {
  throw new Refused(status);
}

function objectsOf(attributes: readonly Attribute[]): Attribute[][] {
  const objects: Attribute[][] = [];
  for (const attribute of attributes) {
    if (FIRST_KEYS.includes(attribute.tag)) objects.push([]);
    (objects.at(-1) ?? refuse(Status.MESSAGE_FORMAT_ERROR)).push(attribute);
  }
  return objects;
}

/** Add an object, with the Portal Groups that follow a node. */
function addTo({ nodes, portals, groups }: Entity, object: readonly Attribute[]): void {
  const name = find(object, ISCSI_NAME);
  const own = object.filter(({ tag }) => ![PG_TAG.tag, PG_ADDRESS.tag, PG_PORT.tag].includes(tag));
  const attributes: Attributes = new Map(own.map((attribute) => [attribute.tag, attribute]));
  const address = find(object, PORTAL_ADDRESS);
  if (address !== null) portals.set(`${address} ${find(object, PORTAL_PORT)}`, attributes);
  if (name === null) return;
  nodes.set(name, attributes);
  let tag: number | null = 1;
  object.forEach((attribute, i) => {
    if (attribute.tag === PG_TAG.tag) tag = find([attribute], PG_TAG);
    const portal = find([attribute], PG_ADDRESS);
    if (portal !== null) groups.set(`${name} ${portal} ${find(object.slice(i), PG_PORT)}`, tag);
  });
}

/** Send a request of a server to a client's port, and wait for the answer. */
export async function ask(
  port: number,
  { functionId, attributes }: { functionId: number; attributes: readonly Attribute[] },
): Promise<{ functionId: number; payload: Buffer }> {
  const payload = encodeAttributes(attributes);
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    socket.write(encodeMessage({ functionId, flags: Flag.SERVER, transactionId: 7, payload }));
    const reader = new MessageReader(65_536);
    for await (const bytes of socket) {
      const [answer] = reader.push(bytes as Uint8Array);
      if (answer !== undefined)
        return { functionId: answer.functionId, payload: Buffer.from(answer.payload) };
    }
    throw new Error('closed without an answer');
  } finally {
    socket.destroy();
  }
}
