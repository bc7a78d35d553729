/**
 * Thousands of damaged config files, made of good ones: none may crash the parser or keep it busy, and what it takes it
 * prints so that it is taken again. `USHER_RUNS=100000` tries so many, `USHER_SEED=7` the same ones again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DRIVER_NAMES } from '../model/vm.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { ROWS } from './testing/vm-rows.ts';
import { parse } from './testing/vm-text.ts';
import { KEY_NAMES, VM_KEYS } from './vm-keys.ts';
import { printVmFile } from './xenvm-file.ts';

const RUNS = Number(process.env['USHER_RUNS'] ?? 3000);
const SEED = Number(process.env['USHER_SEED'] ?? Date.now() % 0x1_0000_0000);
/** Of a processor: ten times what the slowest takes. A pattern that goes astray takes for ever. */
const HANG_MS = 5_000;

/** What mutants are bred from: the document's examples, every key with a good and with a bad value, and what lines can be. */
const SEEDS: readonly string[] = [
  `uuid = 00000000-0000-0000-0000-000000000001\nhvm = false\nkernel = /boot/vmlinuz-2.6.18-xenU
cmdline = root=/dev/sda1 ro\nmemory = 64\ndisk = /dev/vg/test:phy:sda:w:disk\nvif = `,
  `uuid = 00000000-0000-0000-0000-000000000002\nhvm = true\nmemory = 256\ndisk = /dev/vg/testhvm:phy:hda:w:disk
disk = /var/opt/xen/iso_import/w2k3eesp2.iso:file:hdd:r:cdrom\nboot = dc\npae = true\nacpi = true\napic = true`,
  `# every device twice\ndisk = /a:file:xvda:w:disk:none:cipher=aes-xts-plain64:key-size=512:key-file=/k:1
disk = /b:qcow:xvdb:r:disk\nnic = bridge=xen-br0,mac=ab:de:fe:dc:ba:ab\nnic = id=7,model=e1000\nnic = mac=random,network=x
pci = 0,bind,0000:03:00.0,msitranslate=1,power_mgmt=0\npci = 03:00.1,guest_slot=3\nusbctrl = ['version=2', "type=pv"]
usbctrl = type=qusb,version=1\nextra-hvm = a=b,,c,d\nstartup = restore-del /s\nserial = tcp:[::1]:5\ndisplay = vnc:port=5901`,
  `virtmode = pv\nkernel = /k\nusbctrl = type=devicemodel\nusbctrl = type=pv\ndisplay = sdl\nstartup = paused now
cores-per-socket = 3\nvcpus = 4\nvideoram = 17\nboot = a\ndisplay = none:port=1\ndisplay = intel\ndisplay = vnc:keymap=de
pci-msitranslate = 0\npci-power-management = 1\npower-management = 1\ndisk = /a:file:hda:x:cdrom\ndisk = /a:file:hda:w:disc
disk = /a:file:hda:w:cdrom\ndisk = b:vhd:hdb:r:disk:temporary\npci = 256,03:00.0\ninitrd = /i /\nusbctrl = none`,
  `hvm = true\nkernel = /usr/lib/xen/boot/hvmloader\nnotify = unix,/run/told\nnotify = dbus\nnotify = tcp,localhost:1
notify = unix,\nnotify = unix,/${'n'.repeat(110)}\nnotify = none\ndisplay = vnc:use-port-unused,keymap=de,port=5901
display = vnc:port=1,colour=red\nhvm = false\nvirtmode = pvh\nname = -\nmemory = 0\nvcpus = 0\nkernel = vmlinuz `,
  `memory = 64\nmemory-max = 32\ndisk = /a:qcow:xvda:w:disk:cipher=aes-xts-plain64:key-size=512:key-file=/k
disk = /a:file:xvda:w:disk:cipher=aes-xts-plain64:key-size=100:key-file=/k\ntimeoffset = -01:30\ntimeoffset = +01:30
usbctrl = ["type=qusb,ports=8", 'type=devicemodel',]\nusbctrl = version=1,ports=9\nusbctrl = version=3,ports=99
display = vnc\ndisplay = vnc:keymap\ndisplay = vnc:use-port-unused=perhaps\nextra-hvm = ,\nserial = pty\ndiskinfo-pt = 1`,
  `hvm = true\nmemory = 64\n${Array.from({ length: 260 }, (_, i) => `pci = ${i},bind,0000:0${i % 8}:00.0`).join('\n')}`,
  `hvm = true\nmemory = 64\n${Array.from({ length: 140 }, (_, i) => `extra-hvm = k${i}=v`).join('\n')}`,
  Object.entries(ROWS)
    .map(([name, { good }]) => `${name} = ${good}`)
    .join('\n'),
  Object.entries(ROWS)
    .map(([name, { bad }]) => `${name} = ${bad?.[0] ?? ''}`)
    .join('\n'),
];
const WORDS: readonly string[] = [
  ...KEY_NAMES,
  ...Object.values(ROWS).flatMap(({ good, bad }) => [good, bad?.[0] ?? '']),
  ...['=', ',', ':', '\n', '\r\n', '#', ' ', '\t', '[', ']', "'", '"', '\0', '\u{202e}', '\u{feff}', '-', '0x', '%s'],
  ...['none', 'sdl', 'intel', 'bind', 'constructor', '__proto__', 'key-file=/k', 'cipher=x', 'port=', 'vnc', 'id=31'],
  ...['xen', 'qemu', 'pv', 'pvh', 'hvm', 'true', 'no', '1', '-1', '99999999999999999999', 'x'.repeat(9000), '+01:00'],
];

test(`${RUNS} damaged files, seed ${SEED}`, () => {
  const random = generator(SEED);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  for (let run = 0; run < RUNS; run++) {
    let untrustedText = mutant(random, pick);
    const driver = pick([...DRIVER_NAMES, undefined]);
    const isStrict = random() < 0.2;
    const options = { isStrict, ...(driver === undefined ? {} : { driverOf: () => driver }) };
    const since = process.cpuUsage();
    try {
      const { settings, errors, warnings } = parse(untrustedText, options);
      assert.equal(settings === undefined, errors.length > 0);
      for (const finding of [...errors, ...warnings]) {
        assert.match(formatDiagnostic(finding), /^\/etc\/vm\/work\.vm:\d+:\d+: [^\p{Cc}\p{Cf}]+$/u);
      }
      if (settings !== undefined) {
        untrustedText = printVmFile(settings);
        const again = parse(untrustedText, { ...options, isStrict: true });
        assert.deepEqual(again.errors, []);
        assert.deepEqual(again.settings, settings);
        for (const { tell } of VM_KEYS)
          for (const value of tell?.(settings) ?? []) assert.equal(typeof value, 'string');
      }
    } catch (error) {
      throw new Error(`run ${run} of seed ${SEED} with ${driver}: ${JSON.stringify(untrustedText)}`, { cause: error });
    }
    const { user, system } = process.cpuUsage(since);
    const took = (user + system) / 1000;
    assert.ok(took < HANG_MS, `run ${run} of seed ${SEED} took ${took} ms: ${JSON.stringify(untrustedText)}`);
  }
});

type Pick = <T>(values: readonly T[]) => T;

/** Some lines of the seeds, of which a few are damaged: whole files would nearly always have an error somewhere. */
function mutant(random: () => number, pick: Pick): string {
  const lines = pick(SEEDS).split('\n');
  const kept = random() < 0.1 ? lines : lines.filter(() => random() < 4 / lines.length);
  let text = kept.join('\n');
  for (let hits = Math.floor(random() * 4); hits > 0; hits--) {
    const at = Math.floor(random() * (text.length + 1));
    const length = Math.floor(random() ** 3 * 20);
    const inserted = pick([
      () => '',
      () => pick(WORDS),
      () => `\n${pick(KEY_NAMES)} = ${pick(WORDS)}`,
      () => String.fromCharCode(Math.floor(random() * (random() < 0.8 ? 0x80 : 0x1_0000))),
      () => text.slice(at, at + 30),
    ])();
    text = text.slice(0, at) + inserted + text.slice(at + length);
  }
  return random() < 0.001 ? text.repeat(2000) : text;
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
