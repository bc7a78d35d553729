/** The QMP socket of a device model for tests: it knows the commands that USB needs, and keeps objects in a map. */
import { createServer, type Server, type Socket } from 'node:net';
import { LineSplitter } from '../../../lib/lines.ts';
import { GREETING } from '../../../wire/qmp/testing.ts';

export interface ModelObject {
  readonly driver: string;
  readonly port: string;
  readonly bus: string;
  /** The node of a device of the host. */
  readonly hostdevice?: string;
}

/** What happens to devices when they are added and removed; an error's text refuses. */
export interface ModelDevices {
  added(id: string, object: ModelObject): string | undefined;
  removed(id: string, object: ModelObject): void;
}

type Reply = { readonly return: unknown } | { readonly error: { readonly class: string; readonly desc: string } };

export class ModelQmp {
  readonly objects = new Map<string, ModelObject>();
  /** Names of block nodes and character devices. */
  readonly backings = new Set<string>();
  readonly #devices: ModelDevices;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(devices: ModelDevices) {
    this.#devices = devices;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async listen(path: string, devices: ModelDevices): Promise<ModelQmp> {
    const qmp = new ModelQmp(devices);
    await new Promise<void>((resolve) => qmp.#server.listen(path, resolve));
    return qmp;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    const splitter = new LineSplitter(1 << 20);
    const say = (message: unknown) => socket.write(`${JSON.stringify(message)}\r\n`);
    say(GREETING);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      for (const line of splitter.push(chunk)) {
        const { execute, arguments: args = {}, id } = JSON.parse(line.toString());
        say({ ...this.#answer(execute, args), id });
        if (execute !== 'device_del') continue;
        const data = { device: args.id, path: `/machine/peripheral/${args.id}` };
        say({ event: 'DEVICE_DELETED', data, timestamp: { seconds: 1, microseconds: 0 } });
      }
    });
  }

  #answer(command: string, args: Record<string, string>): Reply {
    const { id = '', path = '', property = '' } = args;
    const name = args['node-name'] ?? id;
    switch (command) {
      case 'qom-list':
        return { return: [...this.objects].map(([key, { driver }]) => ({ name: key, type: `child<${driver}>` })) };
      case 'qom-get': {
        const object = this.objects.get(path.slice('/machine/peripheral/'.length));
        if (object === undefined) return refusal('DeviceNotFound', 'no such object');
        return { return: property === 'port' ? object.port : `/machine/peripheral/xenusb-0/${object.bus}` };
      }
      case 'device_add': {
        const { driver = '', port = '', bus = '', hostdevice } = args;
        if (this.objects.has(id)) return refusal('GenericError', `Duplicate device ID '${id}'`);
        const isTaken = [...this.objects.values()].some((other) => other.bus === bus && other.port === port);
        if (isTaken) return refusal('GenericError', `usb port ${port} (bus ${bus}) not found (in use?)`);
        const object = { driver, port, bus, ...(hostdevice === undefined ? {} : { hostdevice }) };
        const refused = this.#devices.added(id, object);
        if (refused !== undefined) return refusal('GenericError', refused);
        this.objects.set(id, object);
        return { return: {} };
      }
      case 'device_del': {
        const object = this.objects.get(id);
        if (object === undefined) return refusal('DeviceNotFound', `Device '${id}' not found`);
        this.objects.delete(id);
        this.#devices.removed(id, object);
        return { return: {} };
      }
      case 'blockdev-add':
      case 'chardev-add':
        this.backings.add(name);
        return { return: {} };
      case 'blockdev-del':
      case 'chardev-remove':
        this.backings.delete(name);
        return { return: {} };
      default:
        return { return: {} };
    }
  }
}

function refusal(errorClass: string, desc: string): Reply {
  return { error: { class: errorClass, desc } };
}
