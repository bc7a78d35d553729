/** The program `usherd`: the daemon, in the foreground. */
import { placesOf } from '../config/places.ts';
import { asFault, EXIT, isFault } from '../lib/fault.ts';
import { VERSION } from './version.ts';

const USAGE = `usherd ${VERSION}: the daemon of Usher; runs until SIGTERM or SIGINT, VMs go on when it ends.

  usherd             run in the foreground (as a service: usher service install)
  usherd --version   print the version
  usherd --help      print this

USHER_HOME=DIR puts settings, inventory, sockets and logs below one folder.
`;

async function main(words: readonly string[]): Promise<number> {
  const [word] = words;
  if (word === '--help' || word === '-h') return print(USAGE);
  if (word === '--version' || word === '-V') return print(`${VERSION}\n`);
  if (word !== undefined) {
    process.stderr.write(`usherd: "${word}" is not understood\n\n${USAGE}`);
    return EXIT.usage;
  }
  try {
    const { runDaemon } = await import('../app/daemon.ts');
    await runDaemon({ version: VERSION, places: placesOf(process.env) });
    return EXIT.ok;
  } catch (error) {
    const fault = asFault(error);
    process.stderr.write(`usherd: ${fault.message}\n${fault.hint === undefined ? '' : `        ${fault.hint}\n`}`);
    if (!isFault(error)) process.stderr.write(`${(error as Error).stack}\n`);
    return fault.exit;
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return EXIT.ok;
}

void main(process.argv.slice(2)).then((status) => {
  process.exit(status);
});
