/**
 * `npm run sample -- FILE`: writes the config file of a VM that boots the small guest of tests and demo, for whoever has
 * no image of a VM at hand. Never writes over a file.
 */
import { writeFileSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { GUEST_CMDLINE, guestImage } from '../lab/guest.ts';

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error('sample: say where to: npm run sample -- work.cfg');
  process.exit(2);
}
const { kernel, initrd } = await guestImage();
const text = `# A VM with the small guest: it tells on its console what happens to its USB devices.
name = ${basename(file, extname(file))}
kernel = ${kernel}
initrd = ${initrd}
cmdline = ${GUEST_CMDLINE}
memory = 192
vcpus = 1
usbctrl = version=3,ports=8
on_crash = restart
`;
try {
  writeFileSync(file, text, { flag: 'wx' });
} catch (error) {
  console.error(`sample: ${file} cannot be written: ${(error as Error).message}`);
  process.exit(1);
}
console.log(`sample: wrote ${file}; next: usher vm create ${file}`);
