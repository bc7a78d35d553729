import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT, isFault } from '../../lib/fault.ts';
import { VM_CONFIG_COMMANDS } from './vm-config.ts';

/** Runs a command without a daemon; gives its status and what it printed. */
async function run(verb: string, words: string[], options: Record<string, string | boolean> = {}, isJson = false) {
  const printed: string[] = [];
  const out = {
    columns: undefined,
    isTerminal: false,
    print: (text: string) => void printed.push(text),
    tell: () => undefined,
    progress: () => undefined,
  };
  const spec = VM_CONFIG_COMMANDS.find((command) => command.verb === verb);
  const daemon = () => Promise.reject(new Error('the daemon was asked'));
  const status = await spec?.run({ words, options, isJson, out, daemon });
  return { status, text: printed.join('\n') };
}

test('vm check tells of each line what the driver makes of it, and what is wrong', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-check-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'work.cfg');
  await writeFile(file, 'driver = xen\nhvm = true\nvif =\ninject-sci = 1\nmemroy = 64\n');
  const named = await run('check', [file]);
  assert.equal(named.status, EXIT.ok);
  assert.match(named.text, /^3 +vif +honoured +xl: vif$/m);
  assert.match(named.text, /^4 +inject-sci +1 +ignored +neither Xen nor xl has such a thing$/m);
  assert.match(named.text, /:5:1: There is no key "memroy"\. Did you mean "memory"\? \(warning\)$/m);
  assert.match(named.text, /is good for the driver xen\.$/);

  assert.match((await run('check', [file], { driver: 'qemu' })).text, /^2 +hvm +true +honoured/m);
  const strict = await run('check', [file], { strict: true });
  assert.equal(strict.status, EXIT.usage);
  assert.match(strict.text, /:5:1: There is no key "memroy"\. Did you mean "memory"\?$/m);
  const { lines, isGood, driver } = JSON.parse((await run('check', [file], {}, true)).text);
  assert.deepEqual([lines.length, lines[3].does, isGood, driver], [4, 'ignored', true, 'xen']);
  await writeFile(file, 'disk = /x:file:hda:w:disk:key-file=gone\n');
  const keyless = await run('check', [file]);
  assert.equal(keyless.status, EXIT.usage);
  assert.match(keyless.text, /:1:27: The disk hda cannot be opened: the key file .*\/gone is not there\.$/m);
  await assert.rejects(run('check', [join(folder, 'none')]), (error) => isFault(error, 'file.unreadable'));
});

test('vm keys tells all of the table', async () => {
  const { text } = await run('keys', []);
  assert.match(text, /^timeoffset, time-offset = seconds, or hours and minutes as \+02:00$/m);
  assert.match(text, /^ {4}qemu: -rtc base=$/m);
  assert.ok(text.split('\n').every((line) => line.length <= 100));
  const rows = JSON.parse((await run('keys', [], {}, true)).text);
  assert.deepEqual(rows.find(({ key }: { key: string }) => key === 'nic').aliases, ['vif']);
});
