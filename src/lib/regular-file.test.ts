import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { errnoOf, isFault } from './fault.ts';
import { openRegularFile, readRegularText } from './regular-file.ts';

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

test('text is read to its end; what is longer than it may be, and a pipe, is refused at once', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-regular-'));
  try {
    const [file, pipe] = [join(folder, 'file'), join(folder, 'pipe')];
    await writeFile(file, 'two\nlines\n');
    execFileSync('mkfifo', [pipe]);
    assert.equal(await readRegularText(file, 100), 'two\nlines\n');
    assert.equal(await readRegularText(file, 10), 'two\nlines\n');
    await assert.rejects(readRegularText(file, 9), (error) => isFault(error, 'file.unreadable'));
    await truncate(file, 3 * 1024 ** 3);
    await assert.rejects(readRegularText(file, 1000), (error) => isFault(error, 'file.unreadable'));
    await assert.rejects(readRegularText(pipe, 100), (error) => isFault(error, 'file.unreadable'));
    await assert.rejects(readRegularText('/dev/zero', 100), (error) => isFault(error, 'file.unreadable'));
    await assert.rejects(readRegularText(join(folder, 'none'), 100), (error) => errnoOf(error) === 'ENOENT');
  } finally {
    await rm(folder, { recursive: true });
  }
});
