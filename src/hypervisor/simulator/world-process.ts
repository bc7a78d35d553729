/**
 * A simulated world as a process of its own, so that it outlives the daemon: kill tests and benchmarks.
 *
 *     node world-process.ts --socket PATH [--vms N] [--devices N] [--boot-ms N] [--shutdown-ms N]
 *                           [--max-controllers N] [--latency METHOD=MS]... [--attended]
 *
 * Prints `sim-world: listening on PATH` when clients may come. Ends on SIGTERM, SIGINT, and with `--attended` when its
 * standard input closes.
 */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { asFault, EXIT, Fault, messageOf } from '../../lib/fault.ts';
import { populate } from './population.ts';
import { World } from './world.ts';
import type { WorldMethod } from './world-port.ts';
import { serveWorld } from './world-server.ts';
import { isWorldMethod } from './world-session.ts';

async function main(): Promise<void> {
  const options = readOptions();
  const world = new World(options);
  populate(world, options);
  const server = await serveWorld(world, options.socket);
  const end = () => void server.close().then(() => process.exit(EXIT.ok));
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  if (options.isAttended) process.stdin.resume().once('end', end).once('error', end);
  process.stdout.write(`sim-world: listening on ${options.socket}\n`);
}

function readOptions() {
  const { values } = parseWords();
  if (values.socket === undefined) throw new Fault('usage', { what: 'give --socket PATH' });
  return {
    socket: values.socket,
    vms: readCount(values.vms),
    devices: readCount(values.devices),
    bootMs: readCount(values['boot-ms']),
    shutdownMs: readCount(values['shutdown-ms']),
    maxControllers: readCount(values['max-controllers']),
    latencyMs: Object.fromEntries(values.latency.map(readLatency)),
    isAttended: values.attended,
  };
}

function parseWords() {
  const options = {
    socket: { type: 'string' },
    vms: { type: 'string', default: '0' },
    devices: { type: 'string', default: '0' },
    'boot-ms': { type: 'string', default: '0' },
    'shutdown-ms': { type: 'string', default: '0' },
    'max-controllers': { type: 'string', default: '0' },
    latency: { type: 'string', multiple: true, default: [] },
    attended: { type: 'boolean', default: false },
  } as const satisfies ParseArgsOptionsConfig;
  try {
    return parseArgs({ options });
  } catch (error) {
    throw new Fault('usage', { what: messageOf(error) }, { cause: error });
  }
}

function readLatency(text: string): [WorldMethod, number] {
  const [method, ms = ''] = text.split('=');
  if (!isWorldMethod(method)) throw new Fault('usage', { what: `"${text}" is not METHOD=MS` });
  return [method, readCount(ms)];
}

function readCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Fault('usage', { what: `"${text}" is not a number` });
  return Number(text);
}

main().catch((error: unknown) => {
  const fault = asFault(error);
  process.stderr.write(`sim-world: ${fault.message}\n`);
  process.exitCode = fault.exit;
});
