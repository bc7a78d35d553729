/** A client of a monitor's text dialect that asks for the state of a VM that runs, again and again over one connection. */
import { connect, type Socket } from 'node:net';

/** What a monitor answers to `status`. */
export const ANSWER = 'running\nok\n';

/** One client; one request at a time. */
export class TextClient {
  readonly #socket: Socket;
  #heard = '';
  #answered: { resolve(): void; reject(error: Error): void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#hear(chunk));
    socket.on('close', () => this.#answered?.reject(new Error('the server hung up')));
  }

  static connect(path: string): Promise<TextClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new TextClient(socket)));
      socket.once('error', reject);
    });
  }

  /** Asks for the state; resolves at the last byte of the answer. @throws Error with another answer, or none */
  ask(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#heard = '';
      this.#answered = { resolve, reject };
      this.#socket.write('status\n');
    });
  }

  close(): void {
    this.#answered = undefined;
    this.#socket.destroy();
  }

  #hear(chunk: Buffer): void {
    this.#heard += chunk.toString();
    if (this.#heard.length < ANSWER.length) return;
    if (this.#heard === ANSWER) this.#answered?.resolve();
    else this.#answered?.reject(new Error(`the answer was ${JSON.stringify(this.#heard.slice(0, 200))}`));
  }
}

/** Gives a measure of `count` requests, one in flight, of which each round goes on with the next clients; in milliseconds each. */
export function oneAtATime(clients: readonly TextClient[], count: number): (round: number) => Promise<number[]> {
  return async (round) => {
    const samples: number[] = [];
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      await (clients[(round * count + i) % clients.length] as TextClient).ask();
      samples.push(performance.now() - start);
    }
    return samples;
  };
}
