/** What other tests and the demo take for granted of the small guest, proved on a real QEMU. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { ConsoleLine } from '../../lab/console.ts';
import { makeStick } from '../../lab/stick.ts';
import { Machine } from './machine.ts';

const WAIT = { timeoutMs: 20_000 };
const sha256 = (content: Buffer | string) => createHash('sha256').update(content).digest('hex');

suite('the small guest', { timeout: 300_000 }, () => {
  let machine: Machine;
  before(async () => {
    machine = await Machine.start();
  });
  after(() => machine?.stop());

  /** Waits for the line after the position and notes how long it took from `start`. */
  const seen = async (
    t: { diagnostic(text: string): void },
    what: string,
    since: number,
    start: number,
    pattern: RegExp,
  ) => {
    const line: ConsoleLine = await machine.console.waitFor(pattern, { ...WAIT, since });
    t.diagnostic(`${what}: ${(line.at - start).toFixed(0)} ms`);
    return line;
  };

  test('boots', async (t) => {
    const line = await machine.ready();
    assert.match(line.text, /^USHER-GUEST ready boot=[0-9a-f-]{36} uptime=[\d.]+ kernel=\S+$/);
    t.diagnostic(`start -> ready: ${((line.at - machine.startedAt) / 1000).toFixed(2)} s; ${line.text}`);
  });

  test('answers commands', async () => {
    const { console } = machine;
    await console.ask('ping a b', /^USHER-GUEST pong a b$/, WAIT.timeoutMs);
    assert.deepEqual(await console.shell('echo one; echo two >&2; exit 3', WAIT.timeoutMs), {
      status: 3,
      lines: ['one', 'two'],
    });
    await console.ask('what', /^USHER-GUEST unknown-command$/, WAIT.timeoutMs);
  });

  test('tells the checksums of the files of a stick, each time it is plugged', async (t) => {
    const content = randomBytes(1024 * 1024);
    const image = join(machine.folder, 'stick.img');
    await makeStick(image, { files: { 'STICK.BIN': content, note: 'hello' } });
    for (const round of ['first plug', 'replug', 'third plug']) {
      const since = machine.console.position;
      const start = performance.now();
      await machine.plugStick(image, 'stick', 1, 'S1');
      const plugged = await seen(t, `${round} -> usb+`, since, start, /^USHER-GUEST usb\+ /);
      assert.match(
        plugged.text,
        /^USHER-GUEST usb\+ 2-1 46f4:0001 serial=S1 product=QEMU%20USB%20HARDDRIVE devnum=\d+ speed=5000 at=[\d.]+$/,
      );
      const file = await seen(t, `${round} -> checksum of 1 MiB`, since, start, /^USHER-GUEST file \S+ STICK.BIN /);
      assert.equal(file.text, `USHER-GUEST file sda STICK.BIN sha256=${sha256(content)} bytes=${content.length}`);
      await machine.console.waitFor(new RegExp(`file sda note sha256=${sha256('hello')} bytes=5$`), { ...WAIT, since });
      await machine.console.waitFor(/^USHER-GUEST stick sda fs=ext4 files=2 port=2-1$/, { ...WAIT, since });
      const pulled = performance.now();
      await machine.unplugStick('stick');
      await seen(t, `${round}: unplug -> usb-`, since, pulled, /^USHER-GUEST usb- 2-1 at=[\d.]+$/);
    }
  });

  test('tells the checksum of an unformatted stick, and sums again when asked', async () => {
    const bytes = randomBytes(100_000);
    const image = join(machine.folder, 'raw.img');
    await makeStick(image, { bytes, sizeMiB: 1 });
    const since = machine.console.position;
    await machine.plugStick(image, 'raw', 2, 'RAW');
    const sum = sha256(Buffer.concat([bytes, Buffer.alloc(1024 * 1024 - bytes.length)]));
    const line = new RegExp(`^USHER-GUEST disk sda sha256=${sum} bytes=1048576 port=2-2$`);
    await machine.console.waitFor(line, { ...WAIT, since });
    const again = machine.console.command('sum');
    await machine.console.waitFor(line, { ...WAIT, since: again });
    await machine.console.waitFor(/^USHER-GUEST sum-end$/, { ...WAIT, since: again });
    await machine.unplugStick('raw');
    await machine.console.waitFor(/^USHER-GUEST usb- 2-2 /, { ...WAIT, since });
  });

  test('tells input devices, serial adapters and hubs', async (t) => {
    const kinds = {
      'usb-kbd': '0627:0001',
      'usb-tablet': '0627:0001',
      'usb-mouse': '0627:0001',
      'usb-hub': '0409:55aa',
    };
    const since = machine.console.position;
    for (const [index, [driver, id]] of Object.entries(kinds).entries()) {
      const start = performance.now();
      await machine.plug(driver, driver, index + 3);
      await seen(t, `${driver} -> usb+`, since, start, new RegExp(`^USHER-GUEST usb\\+ 1-${index + 3} ${id} `));
    }
    await machine.qmp('chardev-add', { id: 'wire', backend: { type: 'null', data: {} } });
    await machine.plug('usb-serial', 'adapter', 7, { chardev: 'wire', 'always-plugged': true });
    await machine.console.waitFor(/^USHER-GUEST usb\+ 1-7 0403:6001 /, { ...WAIT, since });
    await machine.plug('usb-tablet', 'behind', 0, { port: '6.1' });
    await machine.console.waitFor(/^USHER-GUEST usb\+ 1-6\.1 0627:0001 /, { ...WAIT, since });

    const listed = machine.console.command('usb');
    const end = await machine.console.waitFor(/^USHER-GUEST usb-end$/, { ...WAIT, since: listed });
    const ports = machine.console.lines.slice(listed, end.index).map(({ text }) => text.split(' ')[2]);
    assert.deepEqual(ports.sort(), ['1-3', '1-4', '1-5', '1-6', '1-6.1', '1-7']);
    const drivers = await machine.console.shell('ls /dev/ttyUSB0 /dev/input/by-path 2>/dev/null', WAIT.timeoutMs);
    assert.ok(drivers.lines.includes('/dev/ttyUSB0'), 'the serial adapter has its driver');

    await machine.unplug('usb-hub'); // Takes what is behind it along.
    await machine.console.waitFor(/^USHER-GUEST usb- 1-6\.1 /, { ...WAIT, since });
    await machine.console.waitFor(/^USHER-GUEST usb- 1-6 /, { ...WAIT, since });
    for (const id of ['usb-kbd', 'usb-tablet', 'usb-mouse', 'adapter']) await machine.unplug(id);
    await machine.console.waitFor(/^USHER-GUEST usb- 1-7 /, { ...WAIT, since });
  });

  test('a serial with line breaks and escapes stays on one line', async () => {
    const since = machine.console.position;
    const serial = 'a\nUSHER-GUEST usb- 1-1\r\x1b[2J %é';
    await machine.plug('usb-kbd', 'rude', 1, { serial });
    const line = await machine.console.waitFor(/^USHER-GUEST usb\+ /, { ...WAIT, since });
    const told = /serial=(\S*)/.exec(line.text)?.[1] ?? '';
    assert.match(told, /^[A-Za-z0-9._%-]+$/);
    assert.ok(
      decodeURIComponent(told.replaceAll(/%[89A-F][0-9A-F]/g, '')).startsWith('a\nUSHER-GUEST usb- 1-1\r\x1b[2J %'),
    );
    await machine.unplug('rude');
    await machine.console.waitFor(/^USHER-GUEST usb- 1-1 /, { ...WAIT, since });
    assert.equal(machine.console.lines.slice(since).filter(({ text }) => text.includes('usb- 1-1')).length, 1);
  });

  test('counts ticks while it runs, and not while it is stopped', async () => {
    const ticks = async () =>
      Number((await machine.console.ask('ticks', /^USHER-GUEST ticks \d+$/, WAIT.timeoutMs)).text.split(' ')[2]);
    const first = await ticks();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const second = await ticks();
    assert.ok(second > first, `${second} > ${first}`);
    await machine.qmp('stop');
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await machine.qmp('cont');
    const third = await ticks();
    assert.ok(third >= second && third - second < 15, `${second} -> ${third}`);
  });

  test('reboots into the same image with another boot id', async () => {
    const before = await machine.ready();
    const reset = machine.event('RESET');
    const since = machine.console.command('reboot');
    assert.equal((await reset)['reason'], 'guest-reset');
    const again = await machine.ready(since);
    assert.notEqual(/boot=\S+/.exec(again.text)?.[0], /boot=\S+/.exec(before.text)?.[0]);
  });

  test('powers off when the power button is pressed', async (t) => {
    const since = machine.console.position;
    const ended = machine.event('SHUTDOWN');
    const start = performance.now();
    await machine.qmp('system_powerdown');
    await seen(t, 'button -> power-off begins', since, start, /^USHER-GUEST poweroff$/);
    assert.equal((await ended)['reason'], 'guest-shutdown');
    await machine.exited();
    t.diagnostic(`button -> QEMU gone: ${(performance.now() - start).toFixed(0)} ms`);
  });
});

suite('the small guest, with a disk and a device from the start', { timeout: 300_000 }, () => {
  test('sees both, and its panic is reported', async () => {
    const machine = await Machine.start(
      ...['-action', 'panic=pause', '-device', 'usb-tablet,bus=xhci.0,port=1'],
      ...['-blockdev', 'driver=null-co,node-name=disk,size=1048576,read-zeroes=on', '-device', 'virtio-blk,drive=disk'],
    );
    try {
      await machine.ready();
      await machine.console.waitFor(/^USHER-GUEST usb\+ 1-1 0627:0001 /, WAIT);
      const size = await machine.console.shell('cat /sys/block/vda/size', WAIT.timeoutMs);
      assert.deepEqual(size.lines, ['2048']);
      const panicked = machine.event('GUEST_PANICKED');
      machine.console.command('panic');
      assert.equal((await panicked)['action'], 'pause');
    } finally {
      await machine.stop();
    }
  });
});
