/**
 * From the node that the kernel makes in `/dev/bus/usb` until the device is read from sysfs: what a simulated world leaves
 * out of routing. Over folders that look like the kernel's, with a real inotify; in turns with a bare watch of the folder.
 */
import { once } from 'node:events';
import { mkdirSync, rmSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SysfsTree } from '../../src/model/testing/sysfs-tree.ts';
import { SysfsSource } from '../../src/usb/sysfs.ts';
import { type Figure, figure } from './figures.ts';
import { measureInTurns } from './statistics.ts';

const ROUNDS = 30;
const WARM_UPS = 1;
const BUDGET_MS = 8_000;
/** What is there before. */
const PRESENT = 20;
const FIRST_DEVNUM = 2;
const PORTS_OF_HUB = 7;

/** Measures with one device at once and with `most`. */
export async function sysfsReads(most: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const count of [1, most]) {
    const tree = new SysfsTree();
    try {
      const nodes = nodeFolder(tree);
      for (let i = 0; i < PRESENT; i++) plug(tree, nodes, i);
      const { ours, floor } = await measureInTurns(
        { ours: () => read(tree, nodes, count), floor: () => watched(tree, nodes, count) },
        { rounds: ROUNDS, warmUps: WARM_UPS, budgetMs: BUDGET_MS },
      );
      figures.push(
        figure(`node made -> read from sysfs, ${count === 1 ? '1 device' : `${count} devices at once`}`, 'ms', ours, {
          floor: { what: 'bare watch of the folder', samples: floor },
        }),
      );
    } finally {
      tree.remove();
    }
  }
  return figures;
}

/** Gives how long it took from the first new node until all new devices were listed. */
async function read(tree: SysfsTree, nodes: string, count: number): Promise<number> {
  const source = new SysfsSource({ sysRoot: tree.root, devRoot: join(tree.root, 'dev'), bootId: 'bench' });
  await source.list();
  const listed = new Promise<void>((resolve) => {
    const stop = source.watch(() => {
      void source.list().then(({ length }) => {
        if (length < PRESENT + count) return;
        stop();
        resolve();
      });
    });
  });
  const start = fill(tree, nodes, count);
  await listed;
  const ms = performance.now() - start;
  empty(tree, nodes, count);
  return ms;
}

async function watched(tree: SysfsTree, nodes: string, count: number): Promise<number> {
  const watcher = watch(nodes);
  const changed = once(watcher, 'change');
  const start = fill(tree, nodes, count);
  await changed;
  const ms = performance.now() - start;
  watcher.close();
  empty(tree, nodes, count);
  return ms;
}

/** As the kernel does: a device is in sysfs before it has its node. Gives the moment before the first node. */
function fill(tree: SysfsTree, nodes: string, count: number): number {
  for (let i = PRESENT; i < PRESENT + count; i++) describe(tree, i);
  const start = performance.now();
  for (let i = PRESENT; i < PRESENT + count; i++) writeFileSync(nodeOf(nodes, i), '');
  return start;
}

function plug(tree: SysfsTree, nodes: string, index: number): void {
  describe(tree, index);
  writeFileSync(nodeOf(nodes, index), '');
}

function describe(tree: SysfsTree, index: number): void {
  tree.plug(busidOf(index), { descriptors: 'stick', devnum: FIRST_DEVNUM + index, serial: `S${index}` });
}

function empty(tree: SysfsTree, nodes: string, count: number): void {
  for (let i = PRESENT; i < PRESENT + count; i++) {
    tree.unplug(busidOf(i));
    rmSync(nodeOf(nodes, i));
  }
}

function busidOf(index: number): string {
  return `1-${1 + Math.floor(index / PORTS_OF_HUB)}.${1 + (index % PORTS_OF_HUB)}`;
}

function nodeFolder(tree: SysfsTree): string {
  const folder = join(tree.root, 'dev/bus/usb/001');
  mkdirSync(folder, { recursive: true });
  return folder;
}

function nodeOf(folder: string, index: number): string {
  return join(folder, String(FIRST_DEVNUM + index).padStart(3, '0'));
}
