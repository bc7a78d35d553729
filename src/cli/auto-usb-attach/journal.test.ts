import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AutoAttachSettings } from '../../config/auto-usb-attach.ts';
import type { UsherEvent } from '../../model/event.ts';
import { asctime, Journal, type Verbosity } from './journal.ts';
import { devicePattern, hubPattern, isHubRow } from './own-assignments.ts';
import { isWatched, sayEvent } from './said-events.ts';

const now = () => new Date(2025, 10, 8, 9, 5, 7);

function journal(verbosity: Verbosity, file?: string) {
  const [said, complained]: [string[], string[]] = [[], []];
  const print = (line: string) => void said.push(line);
  const complain = (line: string) => void complained.push(line);
  return { said, complained, journal: new Journal({ verbosity, print, complain, file, now }) };
}

test('the time is written as asctime does it', () => {
  assert.equal(asctime(now()), 'Sat Nov  8 09:05:07 2025');
  assert.equal(asctime(new Date(2026, 1, 28, 23, 59, 0)), 'Sat Feb 28 23:59:00 2026');
});

test('each verbosity says what it is for, and what is wrong is said at any', () => {
  for (const verbosity of [-1, 0, 1, 2, 3] as const) {
    const { said, complained, journal: one } = journal(verbosity);
    for (const least of [0, 1, 2, 3] as const) one.say(`text ${least}`, least);
    one.warn('bad');
    assert.equal(said.length, verbosity + 1);
    assert.deepEqual(complained, ['[Sat Nov  8 09:05:07 2025] bad']);
    if (verbosity === 3) assert.equal(said.at(-1), '[Sat Nov  8 09:05:07 2025] DEBUG: text 3');
  }
});

test('what is said does no harm to a terminal, and stands in the log file, too; one that cannot be written is said once', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-journal-'));
  const file = join(folder, 'log');
  const good = journal(0, file);
  good.journal.say('one\u001b[2J');
  good.journal.warn('two');
  assert.equal(await readFile(file, 'utf8'), `${[...good.said, ...good.complained].join('\n')}\n`);
  assert.ok(!good.said.join().includes('\u001b'));
  const bad = journal(0, join(folder, 'none/log'));
  bad.journal.say('one');
  bad.journal.say('two');
  assert.equal(bad.said.length, 2);
  assert.match(bad.complained.join('\n'), /^\[.*\] The log file .* cannot be written: [^\n]*$/);
  await rm(folder, { recursive: true });
});

const SETTINGS: AutoAttachSettings = {
  ...{ domain: 'foo', hubs: ['1-1', 'usb3'], devices: ['0951:1666'] },
  ...{ isWaitingOnShutdown: false, isWaitingForDomain: true },
};

test('events of the VM and of watched devices are said, others are not', () => {
  const event = (kind: string, body: object) => ({ seq: 1, at: 0, kind, body }) as unknown as UsherEvent;
  const saidOf = (one: UsherEvent, verbosity: Verbosity = 1) => {
    const { said, journal: its } = journal(verbosity);
    sayEvent(one, SETTINGS, its);
    return said.map((line) => line.slice(27));
  };
  const attached = { device: 'dom0:1-1.2', vm: 'uuid', name: 'foo', slot: '0-1', why: 'w' };
  assert.deepEqual(saidOf(event('usb.attached', attached)), ['dom0:1-1.2 is attached to foo at 0-1']);
  assert.deepEqual(saidOf(event('usb.attached', { ...attached, name: 'bar' })), []);
  const plugged = { device: 'dom0:1-1.2', deviceId: '1:2:3:4', product: 'P' };
  assert.deepEqual(saidOf(event('usb.plugged', plugged)), ['dom0:1-1.2 is plugged: P']);
  assert.deepEqual(saidOf(event('usb.plugged', plugged), 0), []);
  assert.deepEqual(saidOf(event('usb.plugged', { ...plugged, device: 'dom0:1-2' })), []);
  assert.deepEqual(saidOf(event('usb.changed', { what: 'x' }), 3).length, 1, 'as JSON');
});

test('what is watched: below a hub of the host, or of a kind anywhere', () => {
  assert.ok(isWatched('dom0:1-1.2', 'x', SETTINGS));
  assert.ok(isWatched('dom0:3-9', 'x', SETTINGS));
  assert.ok(isWatched('usbvm:9-9', '0951:1666:S:080650', SETTINGS));
  assert.ok(!isWatched('usbvm:1-1.2', 'x', SETTINGS));
  assert.ok(!isWatched('dom0:1-10', '0951:16660:S:', SETTINGS));
});

test('patterns of hubs and kinds, and what a hub is', () => {
  assert.deepEqual(
    ['usb3', '1-1', '1-1.4'].map((hub) => hubPattern(hub)),
    ['dom0:3-*', 'dom0:1-1.*', 'dom0:1-1.4.*'],
  );
  assert.equal(devicePattern('0951:1666'), '0951:1666:*:*');
  assert.ok(isHubRow({ deviceId: '1d6b:0002::090000' }));
  assert.ok(isHubRow({ deviceId: '1d6b:0002::030101.090000' }));
  assert.ok(!isHubRow({ deviceId: '0951:1666:09:080650' }));
});
