/** The stores under several processes at once, and under one that is killed in mid-sentence. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { AuditLog } from '../../src/app/audit.ts';
import { Inventory } from '../../src/inventory/inventory.ts';
import { lockFile } from '../../src/lib/native.ts';

const root = mkdtempSync(join(tmpdir(), 'usher-store-'));
after(() => rmSync(root, { recursive: true, force: true }));

const newFolder = () => mkdtempSync(join(root, 'home-'));
const write = (folder: string, name: string, count: number) =>
  spawn(process.execPath, [join(import.meta.dirname, 'writer.ts'), folder, name, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });

test('three processes make the databases at once, write them at once, and nothing is lost', async () => {
  const folder = newFolder();
  const writers = ['a', 'b', 'c'].map((name) => write(folder, name, 50));
  const ends = (await Promise.all(writers.map((writer) => once(writer, 'exit')))) as [number | null][];
  assert.deepEqual(
    ends.map(([status]) => status),
    [0, 0, 0],
  );
  const inventory = new Inventory(join(folder, 'usher.db'), { defaultDriver: 'simulator' });
  assert.equal(inventory.listVms().length, 150);
  inventory.close();
  const audit = new AuditLog(join(folder, 'audit.db'));
  assert.deepEqual(audit.openIntents(), []);
  const { rows, isIntact } = await audit.verify();
  assert.deepEqual({ rows, isIntact }, { rows: 300, isIntact: true });
  audit.close();
});

test('a writer that is killed leaves a whole chain, and at most the intent it was at', async () => {
  for (const delayMs of [0, 20, 60]) {
    const folder = newFolder();
    const writer = write(folder, 'killed', 100_000);
    await once(writer.stdout, 'data');
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    writer.kill('SIGKILL');
    await once(writer, 'exit');
    const audit = new AuditLog(join(folder, 'audit.db'));
    assert.equal((await audit.verify()).isIntact, true);
    const open = audit.openIntents();
    const done = audit.list({ limit: 100_000 }).filter((row) => row.kind === 'outcome');
    assert.ok(open.length <= 1);
    audit.close();
    const inventory = new Inventory(join(folder, 'usher.db'), { defaultDriver: 'simulator' });
    const made = inventory.listVms().length;
    assert.ok(made === done.length || made === done.length + open.length, 'what has an outcome is there');
    inventory.close();
  }
});

test('a lock ends with the process that held it, however it ended', async () => {
  const path = join(newFolder(), 'lock');
  const holder = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { lockFile } from ${JSON.stringify(join(import.meta.dirname, '../../src/lib/native.ts'))};
       console.log('release' in lockFile(${JSON.stringify(path)}));
       setInterval(() => {}, 1000);`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [said] = (await once(holder.stdout, 'data')) as [Buffer];
  assert.equal(said.toString().trim(), 'true');
  assert.deepEqual(lockFile(path), { heldBy: holder.pid });
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const lock = lockFile(path);
  assert.ok('release' in lock);
  lock.release();
});
