import assert from 'node:assert/strict';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { GuestConsole } from './console.ts';

suite('a guest console', () => {
  let folder: string;
  let server: Server;
  let guest: Socket;
  let console: GuestConsole;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'usher-console-'));
    const path = join(folder, 'socket');
    const connecting = GuestConsole.connect(path); // Before anybody listens.
    await new Promise((resolve) => setTimeout(resolve, 30));
    guest = await new Promise<Socket>((resolve) => {
      server = createServer(resolve).listen(path);
    });
    console = await connecting;
  });
  after(async () => {
    console.close();
    guest.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });

  test('gives lines that came and lines to come, from a position on', async () => {
    guest.write('one\r\ntw');
    assert.equal((await console.waitFor(/^one$/, { timeoutMs: 1000 })).index, 0);
    const coming = console.waitFor(/^two/, { timeoutMs: 1000 });
    guest.write('o\none\n');
    assert.equal((await coming).text, 'two');
    const again = await console.waitFor(/one/, { timeoutMs: 1000, since: 1 });
    assert.equal(again.index, 2);
    assert.ok(performance.now() - again.at < 1000);
  });

  test('types, and gives the output and the status of a shell command', async () => {
    guest.once('data', (typed: Buffer) => {
      assert.equal(typed.toString(), 'sh uname -r\n');
      guest.write('6.1\nUSHER-GUEST usb- 1-1 at=1.0\nno line feedUSHER-GUEST exit 3\n');
    });
    assert.deepEqual(await console.shell('uname -r', 1000), { status: 3, lines: ['6.1', 'no line feed'] });
  });

  test('says what came instead of the line', async () => {
    guest.write('odd \x1b[2J line\n');
    await assert.rejects(console.waitFor(/never/, { timeoutMs: 50 }), {
      code: 'timeout',
      message: /like \/never\/ took longer than 0.05 s\. The console's last lines:\n(.|\n)*\| odd \\u\{1b\}\[2J line$/,
    });
  });

  test('does not wait for a guest that is gone', async () => {
    const waiting = console.waitFor(/never/, { timeoutMs: 10_000 });
    guest.destroy();
    await assert.rejects(waiting, { code: 'wire.closed' });
    assert.equal(console.isClosed, true);
    assert.throws(() => console.command('ping'), { code: 'wire.closed' });
  });

  test('follows a log file that comes into being and grows', async () => {
    const path = join(folder, 'log');
    const log = GuestConsole.follow(path);
    await writeFile(path, 'first\nsec');
    await log.waitFor(/^first$/, { timeoutMs: 1000 });
    await appendFile(path, 'ond\n');
    await log.waitFor(/^second$/, { timeoutMs: 1000 });
    log.close();
  });
});
