/**
 * Plays every fault of the table at every moment of a device's way, with a whole Usher in a simulated world: the daemon goes
 * on, or is killed in that moment. Afterwards no device is lost, none is in two VMs, no VM was disturbed, the trail is complete.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { AuditLog } from '../../src/app/audit.ts';
import { deviceKey } from '../../src/model/usb.ts';
import { FAULTS, momentsOf, type SimulatorAnswer } from './fault-table.ts';
import { MEANINGS, type Moment } from './moments.ts';
import { type PlayName, playOf } from './plays.ts';
import { FATES, type Fate, Theatre } from './theatre.ts';

/** Whether it is told or not makes a difference of time alone: that is seen where it lasts. */
const LASTING: readonly Moment[] = ['attached'];
const fatesAt = (moment: Moment): readonly Fate[] =>
  FATES.filter((fate) => fate !== 'by itself' || LASTING.includes(moment));

const canMount = process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0;
const answers = new Map<PlayName, SimulatorAnswer>(
  FAULTS.flatMap(({ simulator }) => ('play' in simulator ? [[simulator.play, simulator] as const] : [])),
);

describe('the fault table, simulated', () => {
  for (const [name, answer] of answers) {
    if (name === 'the disk is full') continue;
    test(name, () => playAll(name, answer));
  }

  test('the disk is full', { skip: canMount ? false : 'only root can make a small disk' }, async () => {
    const home = mkdtempSync(join(tmpdir(), 'usher-full-'));
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=0700', 'usher-test', home]).status, 0);
    try {
      await playAll('the disk is full', { play: 'the disk is full' }, home);
    } finally {
      spawnSync('umount', ['--lazy', home]);
      rmSync(home, { recursive: true });
    }
  });
});

describe('power is cut', () => {
  test('a journal that is torn in the last row leaves a whole trail, and at most the intent it was at', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'usher-torn-'));
    const path = join(folder, 'audit.db');
    const audit = new AuditLog(path);
    const actor = { uid: 0, pid: 1, user: 'usher' };
    const intent = audit.intend({ actor, action: 'step.attach', device: 'dom0:1-1' });
    const before = statSync(`${path}-wal`).size;
    audit.conclude(intent, 'ok');
    const { size } = statSync(`${path}-wal`);
    assert.ok(size > before);
    for (let cut = before; cut <= size; cut += Math.ceil((size - before) / 10)) {
      const torn = join(folder, `torn-${cut}`);
      mkdirSync(torn);
      for (const end of ['', '-wal']) copyFileSync(`${path}${end}`, join(torn, `audit.db${end}`));
      truncateSync(join(torn, 'audit.db-wal'), cut);
      const next = new AuditLog(join(torn, 'audit.db'));
      const open = next.openIntents().map(({ row }) => row);
      assert.deepEqual([open, next.head().row], cut < size ? [[intent], 1] : [[], 2], `cut at ${cut} of ${size}`);
      for (const row of open) next.conclude(row, 'unknown', { closedAtStart: true });
      assert.ok((await next.verify()).isIntact);
      next.close();
    }
    audit.close();
    rmSync(folder, { recursive: true });
  });
});

/** What devices say of themselves that does harm where it is not escaped. */
const HOSTILE = [
  '',
  '$(reboot)',
  '`reboot`',
  '%n%s',
  '\u001b[2J',
  '\u202egnp',
  'a\nb',
  '</script>',
  'é'.repeat(126),
  '../..',
];

describe('devices that lie', () => {
  async function withTheatre(act: (theatre: Theatre) => Promise<void>): Promise<void> {
    const theatre = new Theatre(playOf('nothing'));
    try {
      await theatre.open();
      await act(theatre);
      theatre.checkAll();
      await theatre.checkChain();
    } finally {
      await theatre.stage.clear();
    }
  }

  test('whatever a device says of itself, it goes where it belongs and can be told', () =>
    withTheatre(async ({ stage }) => {
      await stage.do('usb.assign', { vm: 'work', device: '0000:0000:*:*', mode: 'auto' });
      for (const [i, text] of HOSTILE.entries()) {
        const names = { manufacturer: text, product: text, vendorId: '0000', productId: '0000' };
        const key = deviceKey(stage.plug('1-5', `S${text}`, names));
        await stage.pass(1_000);
        assert.equal(stage.engine.router.verdictOf(key)?.outcome.is, 'attached', text);
        const told = JSON.stringify(await stage.do('usb.explain', { device: key }));
        const listed = JSON.stringify(await stage.do('usb.list', {}));
        for (const shown of [told, listed]) assert.doesNotMatch(shown, /\\u001b|\u202e|\\n/, `text ${i}`);
        stage.unplug('1-5');
        await stage.pass(1_000);
        assert.equal(stage.world.find(stage.uuidOf('work'))?.attachments.length, 0, text);
      }
    }));

  test('devices that all have the serial 0 are each where they belong, and one that is pulled takes none with it', () =>
    withTheatre(async ({ stage }) => {
      await stage.do('usb.assign', { vm: 'work', device: '0951:1666:0:*', mode: 'auto' });
      const places = ['1-2', '1-3', '1-4'];
      for (const busid of places) stage.plug(busid, '0');
      await stage.pass(1_000);
      const inWork = () =>
        stage.world
          .find(stage.uuidOf('work'))
          ?.attachments.map(({ busid }) => busid)
          .sort();
      assert.deepEqual(inWork(), places);
      stage.unplug('1-3');
      await stage.pass(1_000);
      assert.deepEqual(inWork(), ['1-2', '1-4']);
      for (const busid of ['1-2', '1-4']) stage.unplug(busid);
      await stage.pass(1_000);
    }));

  test('a device whose serial changes at each plug is known by its port alone', () =>
    withTheatre(async ({ stage }) => {
      stage.plug('1-6', 'C1');
      await stage.do('usb.assign', { vm: 'work', device: 'dom0:1-6', mode: 'auto' });
      await stage.do('usb.assign', { vm: 'spare', device: '0951:1666:C2:*', mode: 'auto' });
      for (const serial of ['C1', 'C2', 'C3']) {
        await stage.pass(1_000);
        const { outcome } = stage.engine.router.verdictOf('dom0:1-6') ?? {};
        assert.deepEqual(
          outcome,
          { is: 'attached', vm: stage.uuidOf('work'), slot: { controller: 0, port: 1 } },
          serial,
        );
        stage.unplug('1-6');
        await stage.pass(40);
        if (serial !== 'C3') stage.plug('1-6', serial === 'C1' ? 'C2' : 'C3');
      }
      await stage.pass(1_000);
    }));
});

async function playAll(name: PlayName, answer: SimulatorAnswer, home?: string): Promise<void> {
  const theatre = new Theatre(playOf(name), { home });
  try {
    await theatre.open();
    for (const moment of momentsOf(answer)) {
      for (const fate of fatesAt(moment)) {
        await theatre.play(moment, fate).catch((error: unknown) => {
          throw new Error(`${name}, at "${moment}" (${MEANINGS[moment]}); the daemon: ${fate}`, { cause: error });
        });
      }
    }
    await theatre.checkChain();
  } finally {
    await theatre.stage.clear();
  }
}
