import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { errnoOf, isFault } from './fault.ts';
import { openRegularFile } from './regular-file.ts';

test('regular files are opened, through symlinks too; pipes, devices and folders are refused at once', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-regular-'));
  try {
    const [file, link, pipe] = [join(folder, 'file'), join(folder, 'link'), join(folder, 'pipe')];
    await writeFile(file, 'content');
    await symlink(file, link);
    execFileSync('mkfifo', [pipe]);
    for (const path of [file, link]) {
      await using opened = await openRegularFile(path);
      assert.equal(await opened.readFile('utf8'), 'content');
    }
    for (const path of [pipe, '/dev/null', folder]) {
      await assert.rejects(openRegularFile(path), (error) => isFault(error, 'file.unreadable'));
    }
    await assert.rejects(openRegularFile(join(folder, 'none')), (error) => errnoOf(error) === 'ENOENT');
  } finally {
    await rm(folder, { recursive: true });
  }
});
