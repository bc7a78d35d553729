/** The program `qvm-usb`: the command of that name as PVUSB and Qubes have it, over Usher's daemon. */
import { EXIT } from '../lib/fault.ts';
import { COMPLETE } from './completion.ts';
import { connectLazily } from './connection.ts';
import { completeQvmUsb, runQvmUsb } from './qvm-usb/program.ts';
import { endWithReader, terminal } from './terminal.ts';

async function main(words: readonly string[]): Promise<number> {
  const connection = connectLazily('qvm-usb');
  const means = { out: terminal, daemon: async () => await connection.get() };
  try {
    if (words[0] !== COMPLETE) return await runQvmUsb(words, means);
    for (const answer of await completeQvmUsb(words.slice(1), means.daemon).catch(() => [])) terminal.print(answer);
    return EXIT.ok;
  } finally {
    await connection.close();
  }
}

endWithReader();
void main(process.argv.slice(2)).then((status) => {
  process.exitCode = status;
});
