/** The program `xenvm`: one VM and its monitor in a process of their own, as OpenXT's program of that name. */
import { placesOf } from '../config/places.ts';
import { asFault, EXIT } from '../lib/fault.ts';
import { terminal } from './terminal.ts';
import { type Report, runXenvm } from './xenvm/program.ts';

async function main(words: readonly string[]): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const hups: (() => void)[] = [];
  process.on('SIGHUP', () => {
    for (const hup of hups) hup();
  });
  // A process that has just been told, and may have gone since, is no matter of ours.
  process.on('disconnect', () => undefined);
  const isBehind = process.send !== undefined;
  const report = isBehind
    ? (what: Report) => void process.send?.(what, undefined, undefined, () => undefined)
    : undefined;
  try {
    return await runXenvm(words, {
      ...{ out: terminal, places: placesOf(process.env), signal: stop.signal, report },
      onHup: (reread) => hups.push(reread),
    });
  } catch (error) {
    terminal.tell(`error: ${asFault(error).message}`);
    return EXIT.failed;
  }
}

void main(process.argv.slice(2)).then((status) => {
  // What was reported last has to leave first.
  setImmediate(() => process.exit(status));
});
