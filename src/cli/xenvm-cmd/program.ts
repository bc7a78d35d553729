/** xenvm-cmd as a whole: its line, the way to a VM's monitor, and what the answer is to those who call it from scripts. */
import type { Socket } from 'node:net';
import { sleep, systemClock } from '../../lib/clock.ts';
import { asFault, EXIT, Fault, isFault, messageOf } from '../../lib/fault.ts';
import { LineSplitter } from '../../lib/lines.ts';
import { printable } from '../../lib/text.ts';
import { connectUnix } from '../../lib/unix-server.ts';
import { joinWords } from '../../lib/words.ts';
import { parseUuid, type VmUuid } from '../../model/ids.ts';
import type { Output } from '../command.ts';
import { type LineOptions, optionHelp, parseLine } from '../option-line.ts';
import { VERSION } from '../version.ts';

export const OPTIONS = {
  'reply-timeout': { type: 'string', value: 'SECONDS', doc: 'how long to wait for the answer (60)' },
  'use-socket': { type: 'boolean', doc: 'taken; it always speaks to the socket' },
  help: { type: 'boolean', short: 'h', doc: 'print this' },
  version: { type: 'boolean', short: 'V', doc: 'print the version' },
} as const satisfies LineOptions;

const HELP = `Sends a command to the monitor of a VM, in usherd or in a xenvm of its own.

  xenvm-cmd [options] UUID COMMAND [NAME=VALUE ...]

${optionHelp(OPTIONS)}

xenvm-cmd UUID help lists the commands. Exit status: 0 done, 1 it failed, 2 the line is wrong.`;

export interface CommandMeans {
  readonly out: Pick<Output, 'print' | 'tell'>;
  /** Where the monitor of a VM may have its socket, the likeliest first. */
  readonly socketsOf: (uuid: VmUuid) => readonly string[];
  /** Aborted when the person ends it. */
  readonly signal: AbortSignal;
}

const DEFAULT_TIMEOUT_S = 60;
const MAX_TIMEOUT_S = 86_400;
const CONNECT_MS = 5_000;
/** A setting of a config may have 8192 characters, each of which may be escaped. */
const MAX_LINE_BYTES = 256 * 1024;
/** Those that go on telling after their answer, until the person ends them. */
const ENDLESS = 'subscribe';

/** Runs one line; gives the exit status. Writes what goes wrong on standard error, and throws nothing. */
export async function runXenvmCmd(words: readonly string[], means: CommandMeans): Promise<number> {
  const { out } = means;
  try {
    return await run(words, means);
  } catch (error) {
    const fault = asFault(error);
    if (fault.code === 'timeout') out.tell('timeout');
    else out.tell(`error: ${fault.message}${fault.hint === undefined ? '' : `\n       ${fault.hint}`}`);
    return fault.code === 'usage' || fault.code === 'vm.uuid_invalid' ? EXIT.usage : EXIT.failed;
  }
}

async function run(words: readonly string[], means: CommandMeans): Promise<number> {
  const line = parseLine(words, OPTIONS);
  if (line.has('help') || line.has('version')) {
    means.out.print(line.has('help') ? HELP : `xenvm-cmd of Usher ${VERSION}`);
    return EXIT.ok;
  }
  const [untrustedUuid, command, ...rest] = line.words;
  if (untrustedUuid === undefined || command === undefined) {
    throw new Fault('usage', { what: 'A uuid and a command are expected' }, { hint: 'See: xenvm-cmd --help' });
  }
  // The monitor would take what stands behind it for a command of its own.
  if (line.words.some((word) => word.includes('\n'))) {
    throw new Fault('usage', { what: `A word of a command has no line end, as "${printable(command, 40)}" has here` });
  }
  const timeoutMs = timeoutOf(line.text('reply-timeout')) * 1000;
  const socket = await connectToMonitor(parseUuid(untrustedUuid), means);
  try {
    return await converse(socket, [command, ...rest], timeoutMs, means);
  } finally {
    socket.destroy();
  }
}

/** Finds the monitor. @throws Fault `socket.unreachable`, `timeout` */
async function connectToMonitor(uuid: VmUuid, { socketsOf }: CommandMeans): Promise<Socket> {
  const [path = '', ...others] = socketsOf(uuid);
  try {
    return await connectUnix(path, { timeoutMs: CONNECT_MS });
  } catch (error) {
    for (const other of others) {
      const socket = await connectUnix(other, { timeoutMs: CONNECT_MS }).catch(() => undefined);
      if (socket !== undefined) return socket;
    }
    if (!isFault(error, 'socket.unreachable')) throw error;
    const what = 'the VM has no monitor';
    const hint = 'Start usherd, which has the VMs of its inventory, or xenvm with the config file of that VM.';
    throw new Fault('socket.unreachable', { path, what }, { hint, cause: error });
  }
}

/** Says the command and tells the answer; gives the exit status. @throws Fault `timeout`, `wire.closed` */
async function converse(
  socket: Socket,
  words: readonly string[],
  timeoutMs: number,
  { out, signal }: CommandMeans,
): Promise<number> {
  const lines = new LineSplitter(MAX_LINE_BYTES);
  const end = Promise.withResolvers<number>();
  const closed = () => end.reject(new Fault('wire.closed', { peer: 'the monitor', what: 'it hung up' }));
  let isAnswered = false;
  const take = (text: string) => {
    const [, code, message = ''] = /^error (\S+) (.*)$/.exec(text) ?? [];
    if (isAnswered) out.print(text);
    else if (text === 'ok' && words[0] === ENDLESS) isAnswered = true;
    else if (text === 'ok') end.resolve(EXIT.ok);
    else if (code !== undefined) {
      out.tell(`error: ${message}`);
      end.resolve(EXIT.failed);
    } else if (text.startsWith('warning: ')) out.tell(text);
    else out.print(text);
  };
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const line of lines.push(chunk)) take(line.toString());
    } catch (error) {
      end.reject(new Fault('wire.broken', { peer: 'the monitor', protocol: 'xenvm', what: messageOf(error) }));
    }
  });
  socket.once('error', closed);
  socket.once('close', () => (isAnswered ? end.resolve(EXIT.ok) : closed()));
  signal.addEventListener('abort', () => end.resolve(isAnswered ? EXIT.ok : EXIT.failed), { once: true });
  socket.write(`${joinWords(words)}\n`);
  const timer = new AbortController();
  void sleep(systemClock, timeoutMs, timer.signal).then(
    () => isAnswered || end.reject(new Fault('timeout', { what: 'The answer', seconds: timeoutMs / 1000 })),
    () => undefined,
  );
  try {
    return await end.promise;
  } finally {
    timer.abort();
  }
}

function timeoutOf(text: string | undefined): number {
  const seconds = text === undefined ? DEFAULT_TIMEOUT_S : Number(text);
  if (seconds > 0 && seconds <= MAX_TIMEOUT_S) return seconds;
  throw new Fault('usage', { what: `--reply-timeout takes seconds up to ${MAX_TIMEOUT_S}, not "${text}"` });
}
