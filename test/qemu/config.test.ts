/**
 * Keys of a VM's config file on real QEMU: what they say is seen in the guest, or in the device model where the guest
 * cannot see it. The files are read as people write them.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { makeBootCdrom } from '../../lab/cdrom.ts';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, type GuestImage, guestImage } from '../../lab/guest.ts';
import { kernel } from '../../lab/kernel.ts';
import { formatDiagnostic } from '../../src/config/diagnostics.ts';
import { completeConfig, parseVmFile } from '../../src/config/xenvm-file.ts';
import type { Driver } from '../../src/hypervisor/driver.ts';
import { withEncryptedDisks } from '../../src/hypervisor/encrypted-disks.ts';
import { QemuDriver } from '../../src/hypervisor/qemu/driver.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { exec } from '../../src/lib/exec.ts';
import { isFault } from '../../src/lib/fault.ts';
import { silentLog } from '../../src/lib/log.ts';
import { newUuid } from '../../src/model/ids.ts';
import { macOf } from '../../src/model/nic-address.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { connectQmp, type QmpSession } from '../../src/wire/qmp/session.ts';
import { consoleHand } from '../contract/console-hand.ts';
import { hvmExample, pvExample } from '../support/xenvm-examples.ts';

/** Machines that test have more to do than this. */
const BOOT_TIMEOUT_MS = 300_000;
const ANSWER_TIMEOUT_MS = 60_000;
const MIB = 1024 * 1024;

describe('config files on QEMU', () => {
  let image: GuestImage;
  let folder: string;
  let driver: QemuDriver;

  before(async () => {
    image = await guestImage();
    folder = await mkdtemp(join(tmpdir(), 'usher-config-'));
    driver = makeDriver();
  });
  afterEach(async () => {
    for (const { uuid } of await driver.list()) await driver.destroy(uuid);
  });
  after(async () => {
    await driver.close();
    await rm(folder, { recursive: true });
  });

  function makeDriver(sysfsRoot?: string): QemuDriver {
    const more = sysfsRoot === undefined ? {} : { sysfsRoot };
    return new QemuDriver({ runtimeDir: join(folder, 'run'), stateDir: join(folder, 'logs'), ...more });
  }

  const runtimeOf = ({ uuid }: VmConfig) => join(folder, 'run', uuid);

  /** Reads a text as a file in the test's folder; there may be warnings, which are given too. */
  function read(text: string): { readonly config: VmConfig; readonly warnings: readonly string[] } {
    const { settings, errors, warnings } = parseVmFile(text, join(folder, 'work.cfg'), { driverOf: () => 'qemu' });
    assert.deepEqual(errors.map(formatDiagnostic), []);
    const config = completeConfig(settings ?? {}, { uuid: newUuid(), name: 'work', driver: 'qemu' });
    return { config, warnings: warnings.map(formatDiagnostic) };
  }

  /** The small guest as a config file, with lines of the test's own. */
  const guestText = (lines: string, words = '') =>
    `kernel = ${image.kernel}\ninitrd = ${image.initrd}\ncmdline = ${GUEST_CMDLINE} ${words}\nmemory = 192\n${lines}\n`;

  /** Starts the VM of a text and gives it with what the start warned of. */
  async function start(
    text: string,
    { isPaused = false, by = driver }: { isPaused?: boolean; by?: Driver } = {},
  ): Promise<{ readonly config: VmConfig; readonly said: readonly string[] }> {
    const { config } = read(text);
    const said: string[] = [];
    await by.start(config, { isPaused, onWarning: (sentence) => said.push(sentence) });
    if (!isPaused) {
      await consoleHand({
        connect: () => GuestConsole.connect(join(runtimeOf(config), 'console.sock')),
        bootTimeoutMs: BOOT_TIMEOUT_MS,
        kill: () => by.destroy(config.uuid),
      }).waitReady();
    }
    return { config, said };
  }

  /** Has the guest run commands; gives what they print. */
  async function inGuest(config: VmConfig, command: string): Promise<string> {
    const console = await GuestConsole.connect(join(runtimeOf(config), 'console.sock'));
    try {
      const { lines, status } = await console.shell(command, ANSWER_TIMEOUT_MS);
      assert.equal(status, 0, `${command}: ${lines.join('\n')}`);
      return lines.join('\n').trim();
    } finally {
      console.close();
    }
  }

  /** Asks the device model; the driver, which holds its one connection, is closed and another opened. */
  async function ask<T>(config: VmConfig, act: (session: QmpSession) => Promise<T>): Promise<T> {
    await driver.close();
    const session = await connectQmp(join(runtimeOf(config), 'qmp.sock'));
    try {
      return await act(session);
    } finally {
      session.close();
      driver = makeDriver();
    }
  }

  async function blank(name: string, sizeMiB: number): Promise<string> {
    const path = join(folder, name);
    await writeFile(path, Buffer.alloc(sizeMiB * MIB));
    return path;
  }

  test("the document's PV example boots, with kernel, disk and memory put in", async () => {
    const disk = await blank('test.img', 8);
    const text = pvExample({ ...image, cmdline: GUEST_CMDLINE, disk });
    assert.deepEqual(read(text).warnings, [
      `${folder}/work.cfg:2:1: "hvm" is ignored with qemu: its guests are always hvm.`,
    ]);
    const { config } = await start(text);
    assert.equal(config.uuid, '00000000-0000-0000-0000-000000000001');
    assert.match(await inGuest(config, 'cat /proc/cmdline'), /root=\/dev\/sda1 ro$/);
    assert.equal(await inGuest(config, 'modprobe virtio_scsi; sleep 1; cat /sys/block/sda/size'), String(8 * 2048));
    await inGuest(config, 'modprobe virtio_net; cat /sys/class/net/eth0/address');
  });

  test("the document's HVM example boots from its CD", async () => {
    const iso = join(folder, 'install.iso');
    await makeBootCdrom(iso, image, 'usher.cd');
    const { config } = await start(hvmExample({ disk: await blank('testhvm.img', 8), iso }));
    assert.match(await inGuest(config, 'cat /proc/cmdline'), /usher\.cd/);
    assert.match(await inGuest(config, 'cat /proc/cpuinfo'), /^flags.* pae .*apic /m);
    await inGuest(config, 'test -e /sys/firmware/acpi/tables/WAET');
    assert.match(await inGuest(config, 'modprobe -a ahci sr_mod isofs; sleep 2; ls /dev/sda /dev/sr0'), /sr0/);
    await inGuest(config, 'mount -t iso9660 -o ro /dev/sr0 /tmp && test -f /tmp/vmlinuz && umount /tmp');
  });

  test('kernel, initrd, cmdline, memory, vcpus, disks and cards are what the guest sees', async () => {
    const raw = await blank('raw.img', 4);
    const cow = join(folder, 'cow.qcow2');
    await exec(['qemu-img', 'create', '-q', '-f', 'qcow2', cow, '5M'], { timeoutMs: 10_000 });
    const vhd = join(folder, 'old.vhd');
    await exec(['qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'force_size', vhd, '6M'], { timeoutMs: 10_000 });
    const readOnly = await blank('ro.img', 7);
    const text = guestText(
      `vcpus = 2
disk = ${raw}:file:xvda:w:disk
disk = ${cow}:qcow:hda:w:disk
disk = ${vhd}:vhd:sda:w:disk
disk = ${readOnly}:aio:xvdb:r:disk
nic = mac=00:16:3e:12:34:56,id=3
vif =
nx = false
timeoffset = 315360000
serial = pty`,
      'usher.words',
    );
    const { config, said } = await start(text);
    assert.equal(said.filter((sentence) => /behind QEMU's own NAT/.test(sentence)).length, 2);
    assert.match(await inGuest(config, 'cat /proc/cmdline'), /usher\.words/);
    assert.equal(await inGuest(config, 'grep -c ^processor /proc/cpuinfo'), '2');
    const total = Number(/MemTotal: +(\d+) kB/.exec(await inGuest(config, 'cat /proc/meminfo'))?.[1]);
    assert.ok(total > 128 * 1024 && total <= 192 * 1024, `${total} kB`);
    assert.equal(await inGuest(config, 'grep -m1 ^flags /proc/cpuinfo | grep -cw nx; true'), '0');
    const year = Number(await inGuest(config, 'date -u +%Y'));
    assert.ok(year >= new Date().getUTCFullYear() + 9, String(year));

    await inGuest(config, 'modprobe -a ahci virtio_scsi virtio_net; sleep 2');
    const sizes = await inGuest(config, 'cat /sys/block/vda/size /sys/block/vdb/size; cat /sys/block/sd?/size | sort');
    assert.deepEqual(
      sizes.split('\n'),
      [4, 7, 5, 6].map((mib) => String(mib * 2048)),
    );
    const addresses = (await inGuest(config, 'cat /sys/class/net/eth?/address')).split('\n');
    assert.deepEqual(addresses.sort(), ['00:16:3e:12:34:56', macOf(config.uuid, { id: 0 })].sort());
    await inGuest(config, 'echo USHER-WROTE | dd of=/dev/vda conv=fsync 2> /dev/null');
    await inGuest(
      config,
      'for d in sda sdb; do echo USHER-WROTE | dd of=/dev/$d conv=fsync 2> /dev/null || exit 1; done',
    );
    await inGuest(config, '! dd if=/dev/zero of=/dev/vdb bs=512 count=1 2> /dev/null');
    assert.equal(await inGuest(config, 'cat /sys/block/vdb/ro'), '1');
    assert.match((await readFile(raw)).toString('latin1'), /^USHER-WROTE/);
    await driver.destroy(config.uuid);
    assert.match(await convert(cow, 'qcow2'), /^USHER-WROTE/);
    assert.match(await convert(vhd, 'vpc'), /^USHER-WROTE/);
    assert.ok((await readFile(readOnly)).every((byte) => byte === 0));
  });

  test('acpi and apic that are switched off are not there', async () => {
    const { config } = await start(guestText('acpi = no\napic = 0', 'nolapic'));
    // SeaBIOS has a few tables of its own when the machine has none; this one is QEMU's.
    await inGuest(config, 'test ! -e /sys/firmware/acpi/tables/WAET');
    assert.equal(await inGuest(config, 'grep -m1 ^flags /proc/cpuinfo | grep -cw apic; true'), '0');
  });

  test("tables of the host's firmware are found by the guest", async () => {
    const sysfs = join(folder, 'sys');
    const smbios = async (entry: string, bytes: Buffer) => {
      await mkdir(join(sysfs, 'firmware/dmi/entries', entry), { recursive: true });
      await writeFile(join(sysfs, 'firmware/dmi/entries', entry, 'raw'), bytes);
    };
    const strings = (...texts: string[]) => Buffer.from(`${texts.join('\0')}\0\0`, 'latin1');
    // DSP0134, 7.2: type, length, handle, maker, product, version, serial, uuid, wake-up, SKU, family.
    const system = Buffer.alloc(27);
    system.set([1, 27, 0x10, 0x01, 1, 2]);
    await smbios('1-0', Buffer.concat([system, strings('Usher Works', 'Model 7')]));
    await smbios('130-0', Buffer.concat([Buffer.from([130, 5, 0x20, 0x01, 1]), strings('USHER-OEM')]));
    const slic = Buffer.alloc(64);
    slic.write('SLIC', 0, 'latin1');
    slic.writeUInt32LE(slic.length, 4);
    slic.write('USHER USHERTAB', 10, 'latin1');
    slic[9] = (0x100 - (slic.reduce((sum, byte) => sum + byte, 0) % 0x100)) % 0x100;
    await mkdir(join(sysfs, 'firmware/acpi/tables'), { recursive: true });
    await writeFile(join(sysfs, 'firmware/acpi/tables/SLIC'), slic);
    const other = makeDriver(sysfs);
    try {
      const lines = 'smbios-pt = true\nsmbios-oem-type-pt = 130,131\nacpi-pt = true';
      const { config, said } = await start(guestText(lines), { by: other });
      assert.deepEqual(
        said.map((sentence) => sentence.slice(0, 40)),
        [0, 2, 3, 131].map((type) => `VM work gets no SMBIOS table ${type} of the host`.slice(0, 40)),
      );
      assert.equal(await inGuest(config, 'cat /sys/class/dmi/id/product_name'), 'Model 7');
      assert.equal(await inGuest(config, 'grep -c USHER-OEM /sys/firmware/dmi/tables/DMI'), '1');
      assert.equal(await inGuest(config, 'grep -c USHERTAB /sys/firmware/acpi/tables/SLIC'), '1');
      await other.destroy(config.uuid);
    } finally {
      await other.close();
    }
  });

  test('the device model has what a guest cannot see', async () => {
    const { config } = await start(
      guestText(`pae = no
hpet = no
timer-mode = 1
display = vnc:keymap=de
videoram = 32
cores-per-socket = 2
vcpus = 4
nic = bridge=no-such-br
extra-hvm = device=virtio-rng-pci,,id=dice,global=virtio-rng-pci.max-bytes=64
debug = true`),
      { isPaused: true },
    );
    const seen = await ask(config, async (session) => {
      const get = (path: string, name: string) => session.execute('qom-get', { path, property: name });
      const parts = await session.execute('qom-list', { path: '/machine/unattached' });
      const clock = parts.find(({ type }) => type.includes('mc146818rtc'));
      return {
        pae: await get('/machine/unattached/device[0]', 'pae'),
        nx: await get('/machine/unattached/device[0]', 'nx'),
        hpet: await get('/machine', 'hpet'),
        bytes: await get('/machine/peripheral/dice', 'max-bytes'),
        video: await get('/machine/peripheral/video', 'vgamem_mb'),
        mac: await get('/machine/peripheral/nic-0', 'mac'),
        ticks: await get(`/machine/unattached/${clock?.name}`, 'lost_tick_policy'),
      };
    });
    const mac = macOf(config.uuid, { id: 0 });
    assert.deepEqual(seen, { pae: false, nx: true, hpet: false, bytes: 64, video: 32, mac, ticks: 'slew' });
    const socket = join(runtimeOf(config), 'vnc.sock');
    assert.equal((await stat(socket)).mode & 0o077, 0);
    assert.match(await greetingOf(socket), /^RFB 003\.\d{3}\n/);
  });

  test('a display on a port is on the loopback alone; one that Usher cannot show is refused', async () => {
    await start(guestText('display = vnc:use-port-unused,port=5971'), { isPaused: true });
    assert.match(await greetingOf({ host: '127.0.0.1', port: 5971 }), /^RFB/);
    const { config } = read(guestText(''));
    await assert.rejects(
      driver.start({ ...config, display: { protocol: 'sdl' } }, { isPaused: true }),
      (error) => isFault(error, 'vm.start_failed') && /display = vnc/.test(error.message),
    );
  });

  test('a card on a bridge of the host is there; a PCI device that is not there is a sentence', async (t) => {
    const pci = guestText('pci = 0,0000:7e:1f.0');
    await assert.rejects(
      start(pci),
      (error) => isFault(error, 'vm.start_failed') && /no PCI device/.test(error.message),
    );
    const bridge = `ush${process.pid}`;
    const ip = (...words: string[]) => exec(['ip', 'link', ...words], { timeoutMs: 10_000 });
    const isMade = await ip('add', bridge, 'type', 'bridge').then(
      () => true,
      () => false,
    );
    if (!isMade) return t.skip('a bridge takes root, with the right to make network interfaces');
    try {
      const { config, said } = await start(guestText(`nic = bridge=${bridge}`), { isPaused: true });
      assert.deepEqual(said, []);
      const { stdout } = await ip('show', 'master', bridge);
      const tap = /(ush[0-9a-f]{12}): .*\bUP\b/.exec(stdout)?.[1] ?? '';
      assert.notEqual(tap, '');
      await driver.destroy(config.uuid);
      await assert.rejects(ip('show', 'dev', tap), 'it goes with the guest');
    } finally {
      await ip('delete', bridge);
    }
  });

  test('an encrypted disk is opened for the guest, which reads and writes through, and closed when the guest is gone', async () => {
    const mapper = join(folder, 'mapper');
    const [key, program] = [join(folder, 'key'), join(folder, 'cryptsetup')];
    await mkdir(mapper);
    await writeFile(key, Buffer.alloc(32, 1));
    // The kernel of a machine that tests may have no dm-crypt. This one "opens" a disk by a link, the last two words.
    const open = 'for word; do path=$name; name=$word; done; ln -s "$path" "$name"';
    const script = `#!/bin/sh\ncd ${mapper}\ncase $1 in open) ${open};; close) test -L $2 || exit 4; rm $2;; esac\n`;
    await writeFile(program, script, { mode: 0o755 });
    const other = withEncryptedDisks(makeDriver(), {
      ...{ folder: join(folder, 'disks'), clock: systemClock, log: silentLog },
      ...{ binary: program, mapperFolder: mapper },
    });
    const disk = await blank('secret.img', 4);
    await writeFile(disk, 'USHER-SECRET', { flag: 'r+' });
    try {
      const { config } = await start(guestText(`disk = ${disk}:file:xvda:w:disk:key-file=key`), { by: other });
      const name = `usher-${config.uuid}-xvda`;
      assert.deepEqual(await readdir(mapper), [name]);
      assert.equal(await inGuest(config, 'head -c 12 /dev/vda'), 'USHER-SECRET');
      await inGuest(config, 'echo USHER-WROTE | dd of=/dev/vda conv=fsync 2> /dev/null');
      const pid = Number(await readFile(join(runtimeOf(config), 'pid'), 'utf8'));
      process.kill(pid, 'SIGKILL');
      await pollUntil({ what: 'The end of the guest', timeoutMs: ANSWER_TIMEOUT_MS, everyMs: 50 }, async () =>
        (await other.find(config.uuid)) === undefined && (await readdir(mapper)).length === 0 ? true : undefined,
      );
      assert.match((await readFile(disk)).toString('latin1'), /^USHER-WROTE/);

      await other.start(config, { isPaused: true });
      assert.deepEqual(await readdir(mapper), [name]);
      await other.destroy(config.uuid);
      assert.deepEqual(await readdir(mapper), []);
      const broken = { ...config, kernel: join(folder, 'nowhere') };
      await assert.rejects(other.start(broken, { isPaused: true }), (error) => isFault(error, 'vm.start_failed'));
      assert.deepEqual(await readdir(mapper), []);
    } finally {
      await other.close();
    }
    const { config } = read(guestText(`disk = ${disk}:file:xvda:w:disk:key-file=key`));
    await assert.rejects(
      driver.start(config, { isPaused: true }),
      (error) => isFault(error, 'vm.start_failed') && /xvda is encrypted, and nobody opened it/.test(error.message),
    );
  });

  test('memory-max is what the machine has, and the balloon brings the guest to memory and where it is told', async () => {
    // The guest's image lacks the module: it comes on a disk.
    const { root, version } = await kernel();
    const module = await readFile(join(root, 'lib/modules', version, 'kernel/drivers/virtio/virtio_balloon.ko'));
    const disk = await blank('module.img', 1);
    await writeFile(disk, module, { flag: 'r+' });
    const text = guestText(`memory-max = 320\ndisk = ${disk}:file:xvda:r:disk`);
    const { config } = await start(text);
    const totalMiB = async () => {
      const { 1: kB } = /MemTotal: +(\d+) kB/.exec(await inGuest(config, 'cat /proc/meminfo')) ?? [];
      return Math.round(Number(kB) / 1024);
    };
    const before = await totalMiB();
    const spent = 320 - before; // By the kernel itself, whatever it has.
    assert.ok(spent > 0 && spent < 64, `${before} MiB`);
    const untilTotal = (mib: number) =>
      pollUntil({ what: `A total of ${mib} MiB`, timeoutMs: ANSWER_TIMEOUT_MS, everyMs: 200 }, async () =>
        Math.abs((await totalMiB()) - (mib - spent)) <= 1 ? true : undefined,
      );
    await inGuest(config, `head -c ${module.length} /dev/vda > /tmp/balloon.ko && insmod /tmp/balloon.ko`);
    await untilTotal(192);
    await driver.setMemoryTarget(config.uuid, 128);
    await untilTotal(128);
    await driver.setMemoryTarget(config.uuid, 320);
    await untilTotal(320);
    await assert.rejects(
      driver.setMemoryTarget(config.uuid, 321),
      (error) => isFault(error, 'vm.unsupported') && /started with 320 MiB at most/.test(error.message),
    );
    await driver.setMemoryTarget(config.uuid, 160);
    await untilTotal(160);
    const actual = await ask(config, async (session) => (await session.execute('query-balloon')).actual);
    assert.equal(actual, 160 * MIB);

    const save = join(folder, 'balloon.save');
    await driver.save(config.uuid, save, { afterwards: 'stopped' });
    await assert.rejects(
      driver.start({ ...config, memoryMaxMiB: 400 }, { isPaused: true, restoreFrom: save }),
      (error) => isFault(error, 'vm.save_invalid') && /saved with most "320 MiB"/.test(error.message),
    );
    await driver.start(config, { isPaused: false, restoreFrom: save });
    await untilTotal(160);
    await driver.setMemoryTarget(config.uuid, 200);
    await untilTotal(200);
  });

  /** Gives the content of an image as a raw one would have it. */
  async function convert(path: string, format: string): Promise<string> {
    const raw = join(folder, 'converted');
    await exec(['qemu-img', 'convert', '-f', format, '-O', 'raw', path, raw], { timeoutMs: 20_000 });
    return (await readFile(raw)).toString('latin1');
  }
});

/** Gives the first bytes that a server says. */
function greetingOf(where: string | { host: string; port: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = typeof where === 'string' ? connect(where) : connect(where);
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy(new Error('nothing was said')));
    socket.once('data', (bytes) => {
      socket.destroy();
      resolve(bytes.toString('latin1'));
    });
    socket.once('error', reject);
  });
}
