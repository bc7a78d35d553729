/** Stands between a daemon and its QEMU, and has something happen when a command passes. */
import { rename } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** When: as the command comes, before QEMU has it; or as its answer comes, before the daemon has that. */
export type Passage = 'asked' | 'answered';

export interface Strike {
  readonly command: string;
  readonly when: Passage;
  /** Nothing goes on before it has ended. */
  readonly strike?: () => unknown;
  /** What the daemon gets in the place of that line; then both ends are closed. */
  readonly spoil?: (line: string) => string;
}

export class QmpGate {
  /** Whether the strike has happened. */
  hasStruck = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #next: Strike | undefined;

  private constructor(real: string) {
    this.#server = createServer((client) => this.#join(client, connect(real)));
  }

  /** Takes the place of QEMU's socket; no client may be on it. */
  static async before(path: string): Promise<QmpGate> {
    await rename(path, `${path}.real`);
    const gate = new QmpGate(`${path}.real`);
    await new Promise<void>((resolve) => gate.#server.listen(path, resolve));
    return gate;
  }

  /** Has it happen once. */
  once(strike: Strike): void {
    this.hasStruck = false;
    this.#next = strike;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(client: Socket, qemu: Socket): void {
    const end = () => {
      for (const socket of [client, qemu]) {
        socket.destroy();
        this.#sockets.delete(socket);
      }
    };
    /** The command whose answer is waited for. */
    let struck: { readonly id: unknown; readonly strike: Strike } | undefined;
    const strikeAt = async ({ strike, spoil }: Strike, line: string) => {
      this.hasStruck = true;
      await strike?.();
      if (spoil === undefined) return false;
      client.end(spoil(line));
      qemu.destroy();
      return true;
    };
    passLines(client, qemu, async (line) => {
      const { execute, id } = JSON.parse(line) as { execute?: string; id?: unknown };
      const next = this.#next;
      if (next === undefined || execute !== next.command) return;
      this.#next = undefined;
      if (next.when === 'answered') struck = { id, strike: next };
      else await strikeAt(next, line);
    });
    passLines(qemu, client, async (line) => {
      if (struck === undefined || (JSON.parse(line) as { id?: unknown }).id !== struck.id) return;
      const { strike } = struck;
      struck = undefined;
      return (await strikeAt(strike, line)) ? 'spoilt' : undefined;
    });
    for (const socket of [client, qemu]) {
      this.#sockets.add(socket);
      socket.on('error', end);
      socket.on('close', end);
    }
  }
}

/** Passes lines on, each after `see` has seen it; one that is spoilt does not pass. */
function passLines(from: Socket, to: Socket, see: (line: string) => Promise<'spoilt' | undefined>): void {
  let rest = '';
  let passed = Promise.resolve();
  from.on('data', (chunk: Buffer) => {
    const lines = `${rest}${chunk.toString()}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      passed = passed.then(async () => {
        const isSpoilt = line.trim() !== '' && (await see(line)) === 'spoilt';
        if (!isSpoilt && to.writable) to.write(`${line}\n`);
      });
    }
  });
}
