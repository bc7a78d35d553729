/** For tests only: reads the recorded transcripts, and plays a QMP server by hand over an in-memory stream. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { duplexPair } from 'node:stream';
import { LineSplitter } from '../../lib/lines.ts';
import type { QmpEvent } from './commands.ts';
import { QmpSession, type QmpSessionOptions } from './session.ts';

const FIXTURES = new URL('../../../test/fixtures/qmp/', import.meta.url);

export interface TranscriptLine {
  readonly from: 'client' | 'server';
  readonly text: string;
}

/** Reads every transcript: its name and its lines. */
export function readTranscripts(): Map<string, TranscriptLine[]> {
  const transcripts = new Map<string, TranscriptLine[]>();
  for (const file of readdirSync(FIXTURES)) {
    if (!file.endsWith('.txt')) continue;
    const lines = readFileSync(new URL(file, FIXTURES), 'utf8').split('\n');
    const spoken = lines.filter((line) => line.startsWith('> ') || line.startsWith('< '));
    transcripts.set(
      file.slice(0, -4),
      spoken.map((line) => ({ from: line[0] === '>' ? 'client' : 'server', text: line.slice(2) })),
    );
  }
  return transcripts;
}

export interface ReceivedCommand {
  readonly execute: string;
  readonly arguments?: Record<string, unknown>;
  readonly id: number;
}

export const GREETING = {
  QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: 'fake' }, capabilities: ['oob'] },
};

/** What `query-status` gives of a guest that runs. */
export const STATUS = { running: true, status: 'running' };

/** The server's end of a conversation: the test says each word itself. */
export class FakeQemu {
  readonly stream: Duplex;
  readonly #splitter = new LineSplitter(1 << 20);
  readonly #received: ReceivedCommand[] = [];
  #wake: (() => void) | undefined;

  constructor(stream: Duplex) {
    this.stream = stream;
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      for (const line of this.#splitter.push(chunk)) this.#received.push(JSON.parse(line.toString()));
      this.#wake?.();
    });
  }

  /** Gives the next command of the client, in order. */
  async next(): Promise<ReceivedCommand> {
    for (;;) {
      const command = this.#received.shift();
      if (command !== undefined) return command;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  say(...messages: unknown[]): void {
    this.stream.write(messages.map((message) => `${JSON.stringify(message)}\r\n`).join(''));
  }

  event(name: string, data?: Record<string, unknown>): void {
    this.say(eventLine(name, data));
  }

  async greet(): Promise<void> {
    this.say(GREETING);
    const { id } = await this.next();
    this.say({ return: {}, id });
  }
}

/** Makes the line of an event. */
export function eventLine(name: string, data?: Record<string, unknown>): Record<string, unknown> {
  return { timestamp: { seconds: 1, microseconds: 500_000 }, event: name, ...(data && { data }) };
}

/** Makes the test for the event that ends the removal of a device. */
export function isDeleted(id: string): (event: QmpEvent) => boolean {
  return (event) => event.name === 'DEVICE_DELETED' && event.data.device === id;
}

/** Gives a fake server and the session that is being opened to it. */
export function openFake(options: Partial<QmpSessionOptions> = {}): { qemu: FakeQemu; opening: Promise<QmpSession> } {
  const [near, far] = duplexPair();
  return { qemu: new FakeQemu(far), opening: QmpSession.open(near, { peer: 'fake', ...options }) };
}

/** Gives a fake server and an open session to it. */
export async function openedFake(
  options: Partial<QmpSessionOptions> = {},
): Promise<{ qemu: FakeQemu; session: QmpSession }> {
  const { qemu, opening } = openFake(options);
  await qemu.greet();
  return { qemu, session: await opening };
}
