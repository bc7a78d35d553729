// Saves a domain and is killed by a test in the middle of it: node save-and-die.ts RUNTIME STATE UUID FILE AFTERWARDS.
// Prints a line as soon as part of the state is written.
import { QemuDriver } from '../../src/hypervisor/qemu/driver.ts';
import { parseUuid } from '../../src/model/ids.ts';

const [runtimeDir = '', stateDir = '', uuid = '', path = '', afterwards] = process.argv.slice(2);
const driver = new QemuDriver({ runtimeDir, stateDir });
await driver.save(parseUuid(uuid), path, {
  afterwards: afterwards === 'stopped' ? 'stopped' : 'running',
  onProgress: () => console.log('some of it is written'),
});
