import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { isFault } from '../lib/fault.ts';
import type { ProbeAnswer } from './node-probe.ts';
import type { HostTree } from './testing/host-tree.ts';
import * as hosts from './testing/hosts.ts';
import { checkUsable, type FormerUse, formerUse, type UsableReport } from './usable.ts';

const trees: HostTree[] = [];
const FINE: UsableReport = { isGone: false, problems: [], unchecked: [] };

/** A PC with a stick at 1-1, keyboard and mouse at 1-3 and 1-4. */
function made(): HostTree {
  const tree = hosts.desktop();
  hosts.stick(tree, '1-1');
  trees.push(tree);
  return tree;
}

async function formerOf(tree: HostTree, busid: string): Promise<FormerUse> {
  const former = await formerUse(tree.roots, busid);
  assert.ok(former);
  return former;
}

/** Checks with nodes that all answer so; notes what was asked. */
async function check(tree: HostTree, former: FormerUse, answer: ProbeAnswer = 'answers') {
  const asked: string[] = [];
  const note = (node: string, bytes?: number) => {
    asked.push([node.slice(tree.roots.devRoot.length), ...(bytes === undefined ? [] : [bytes])].join(' '));
    return Promise.resolve(answer);
  };
  const probes = { open: (node: string) => note(node), sector: note };
  const report = await checkUsable(tree.roots, former, { probes, settleMs: 20 });
  return { report, asked };
}

suite('a device is usable again', () => {
  after(() => {
    for (const tree of trees) tree.remove();
  });

  test('what is noted before an attach', async () => {
    const tree = made();
    assert.deepEqual(await formerUse(tree.roots, '1-1'), {
      busid: '1-1',
      devnum: '7',
      drivers: { '1-1:1.0': 'usb-storage' },
      disks: 1,
      eventNodes: 0,
    });
    assert.equal((await formerOf(tree, '1-3')).eventNodes, 2);
    assert.equal(await formerUse(tree.roots, '1-9'), undefined);
    tree.usb('1-8', { interfaces: [['ff0000'], ['0b0000', 'usbfs'], ['030000', 'usbhid']] });
    assert.deepEqual((await formerOf(tree, '1-8')).drivers, { '1-8:1.2': 'usbhid' });
  });

  test('a disk answers its first sector, of the size that it has; a keyboard opens', async () => {
    const tree = made();
    tree.folder(`${tree.at('sdb')}/queue`, { logical_block_size: '4096' });
    assert.deepEqual(await check(tree, await formerOf(tree, '1-1')), { report: FINE, asked: ['/sdb 4096'] });
    const { report, asked } = await check(tree, await formerOf(tree, '1-4'));
    assert.deepEqual([report, asked.length], [FINE, 1]);
    assert.match(asked[0] ?? '', /^\/input\/event\d+$/);
  });

  test('a driver that is missing, another, or a program instead', async () => {
    const tree = made();
    const former = await formerOf(tree, '1-1');
    for (const [driver, words] of [
      [undefined, 'has no kernel driver'],
      ['uas', 'has the kernel driver uas'],
      ['usbfs', 'is in other hands (usbfs)'],
    ] as const) {
      tree.drive('1-1:1.0', driver);
      const { report } = await check(tree, former);
      assert.deepEqual(report.problems, [`Interface 1-1:1.0 ${words}; before it had usb-storage.`]);
    }
  });

  test('an interface that nobody had may stay so, or find a driver', async () => {
    const tree = made();
    tree.usb('1-8', { interfaces: [['ff0000'], ['030000', 'usbhid']] });
    const former = await formerOf(tree, '1-8');
    assert.deepEqual((await check(tree, former)).report, FINE);
    tree.drive('1-8:1.0', 'cdc_acm');
    assert.deepEqual((await check(tree, former)).report, FINE);
  });

  test('no disk, no event node', async () => {
    const tree = made();
    const [stick, keyboard] = [await formerOf(tree, '1-1'), await formerOf(tree, '1-3')];
    tree.delete('sys/class/block');
    assert.deepEqual((await check(tree, stick)).report.problems, ['1-1 has 0 disks; before it had 1.']);
    tree.delete('sys/class/input');
    assert.deepEqual((await check(tree, keyboard)).report.problems, ['1-3 has no event node; before it had 2.']);
  });

  test('a Bluetooth adapter is not asked for the keyboards that it had', async () => {
    const tree = made();
    hosts.bluetoothAdapter(tree, '1-9');
    const at = `${tree.at('1-9:1.0')}/bluetooth/hci0/hci0:256/0005:046D:B342.0003`;
    tree.input({ at, name: 'K380', bus: '0005', looks: 'keyboard' });
    assert.equal((await formerOf(tree, '1-9')).eventNodes, 0);
  });

  test('nodes that fail, are empty, or are forbidden', async () => {
    const tree = made();
    const former = await formerOf(tree, '1-1');
    const { problems } = (await check(tree, former, { fails: 'Input/output error' })).report;
    assert.deepEqual(problems, ['The disk sdb cannot be read: Input/output error.']);
    assert.deepEqual((await check(tree, former, 'empty')).report, FINE, 'a reader without a card works');
    const unchecked = ['The disk sdb was not tried: Usher may not read it.'];
    assert.deepEqual((await check(tree, former, 'forbidden')).report, { ...FINE, unchecked });
    const mouse = (await check(tree, await formerOf(tree, '1-4'), { fails: 'No such device' })).report.problems;
    assert.match(mouse.join(), /^The event node event\d+ cannot be opened: No such device\.$/);
  });

  test('another plug, or none, is not checked', async () => {
    const tree = made();
    const former = await formerOf(tree, '1-1');
    const gone: UsableReport = { ...FINE, isGone: true };
    assert.deepEqual(await check(tree, { ...former, devnum: '8' }), { report: gone, asked: [] });
    tree.unplug('1-1');
    assert.deepEqual(await check(tree, former), { report: gone, asked: [] });
  });

  test('drivers and disks are waited for, no longer than is said', async () => {
    const tree = made();
    const former = await formerOf(tree, '1-1');
    const clock = new ManualClock(0);
    const probes = { open: async () => 'answers' as const, sector: async () => 'answers' as const };
    tree.drive('1-1:1.0', undefined);
    const checking = checkUsable(tree.roots, former, { clock, probes, settleMs: 600 });
    assert.equal(await advance(clock, 400, checking), 'waits');
    tree.drive('1-1:1.0', 'usb-storage');
    assert.equal(await advance(clock, 700, checking), 'is over');
    assert.deepEqual(await checking, FINE);
    tree.drive('1-1:1.0', undefined);
    const late = checkUsable(tree.roots, former, { clock, probes, settleMs: 600 });
    assert.equal(await advance(clock, 700, late), 'is over');
    assert.equal((await late).problems.length, 1);
  });

  test('giving up the wait', async () => {
    const tree = made();
    const former = await formerOf(tree, '1-1');
    tree.drive('1-1:1.0', undefined);
    const signal = AbortSignal.abort();
    await assert.rejects(checkUsable(tree.roots, former, { signal }), (error) => isFault(error, 'aborted'));
  });
});

/** Moves time on until the work is over, letting files be read between two looks; the last wait is for the reads alone. */
async function advance(clock: ManualClock, ms: number, work: Promise<unknown>): Promise<'waits' | 'is over'> {
  let isOver = false;
  void work.finally(() => {
    isOver = true;
  });
  for (let at = 0; at < ms && !isOver; at += 50) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    await clock.advance(50);
  }
  for (let tries = 0; tries < 100 && !isOver && clock.waiting === 0; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return isOver ? 'is over' : 'waits';
}
