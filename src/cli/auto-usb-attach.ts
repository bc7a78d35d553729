/** The program `auto-usb-attach`: the command of that name for Xen, over Usher's daemon or as one itself. */
import { placesOf } from '../config/places.ts';
import { asFault, EXIT } from '../lib/fault.ts';
import { completeAutoUsbAttach, runAutoUsbAttach } from './auto-usb-attach/program.ts';
import { COMPLETE } from './completion.ts';
import { connectLazily } from './connection.ts';
import { endWithReader, terminal } from './terminal.ts';

async function main(words: readonly string[]): Promise<number> {
  if (words[0] === COMPLETE) return await answer(words.slice(1));
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
  try {
    return await runAutoUsbAttach(words, { out: terminal, places: placesOf(process.env), signal: stop.signal });
  } catch (error) {
    terminal.tell(`auto-usb-attach: ${asFault(error).message}`);
    return EXIT.failed;
  }
}

async function answer(words: readonly string[]): Promise<number> {
  const connection = connectLazily('auto-usb-attach');
  const answers = await completeAutoUsbAttach(words, async () => await connection.get()).catch(() => []);
  for (const one of answers) terminal.print(one);
  await connection.close();
  return EXIT.ok;
}

endWithReader();
void main(process.argv.slice(2)).then((status) => {
  process.exit(status);
});
