import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { DeviceSource } from '../hypervisor/driver.ts';
import { ManualClock } from '../lib/clock.ts';
import { isFault } from '../lib/fault.ts';
import type { UsbDevice } from '../model/usb.ts';
import type { HostRoots } from './host-files.ts';
import { HostGuards, type HostGuardsOptions } from './host-guards.ts';
import { readHostState } from './in-use.ts';
import { stick } from './test-world.ts';
import type { HostTree } from './testing/host-tree.ts';
import * as hosts from './testing/hosts.ts';

const trees = new Set<HostTree>();
after(() => {
  for (const tree of trees) tree.remove();
});

const keyboard = (busid: string): UsbDevice => stick(`dom0:${busid}`, { interfaces: ['030101'] });
const mouse = (busid: string): UsbDevice => stick(`dom0:${busid}`, { interfaces: ['030102'] });

/** A host, its guards, and how often it was looked at. */
function guarded(tree: HostTree, devices: UsbDevice[], more: Partial<HostGuardsOptions> = {}) {
  trees.add(tree);
  const clock = new ManualClock(100_000);
  const looks = { count: 0, isBroken: false };
  const source: DeviceSource = { backend: 'dom0', list: async () => [...devices], watch: () => () => {} };
  const look = async (roots: HostRoots) => {
    looks.count++;
    if (looks.isBroken) throw new Error('EIO');
    return await readHostState(roots);
  };
  const guards = new HostGuards({ source, roots: tree.roots, clock, look, ...more });
  const says = async (busid: string) => {
    const device = (await guards.list()).find((one) => one.busid === busid);
    return (device?.objections ?? []).map(({ kind }) => kind);
  };
  return { guards, clock, looks, devices, says };
}

describe('what speaks against taking devices of this host', () => {
  test('the only USB keyboard is the last one; with another there, neither is', async () => {
    const tree = hosts.pc();
    hosts.usbKeyboard(tree, '1-1');
    const host = guarded(tree, [keyboard('1-1')]);
    assert.deepEqual(await host.says('1-1'), ['last keyboard', 'keyboard']);
    hosts.usbKeyboard(tree, '1-2');
    host.devices.push(keyboard('1-2'));
    assert.deepEqual(await host.says('1-1'), ['keyboard']);
    assert.deepEqual(await host.says('1-2'), ['keyboard']);
  });

  test('a mouse is its own kind, and settings name what replaces it, or switch the guard of inputs off', async () => {
    const tree = hosts.pc();
    hosts.usbMouse(tree, '1-1');
    hosts.ps2Keyboard(tree);
    assert.deepEqual(await guarded(tree, [mouse('1-1')]).says('1-1'), ['last pointer', 'pointer']);
    const off = guarded(tree, [mouse('1-1')], { inputs: { neverCounts: ['*'] } });
    assert.deepEqual(await off.says('1-1'), []);
    const keys = hosts.pc();
    hosts.usbKeyboard(keys, '1-1');
    hosts.ps2Keyboard(keys);
    const named = guarded(keys, [keyboard('1-1')], { inputs: { countsAsKeyboard: ['isa0060/serio0'] } });
    assert.deepEqual(await named.says('1-1'), ['keyboard']);
  });

  test('an input device that does not say which is one too, before a driver has it', async () => {
    const host = guarded(hosts.pc(), [stick('dom0:1-1', { interfaces: ['030000'] })]);
    assert.deepEqual(await host.says('1-1'), ['input']);
  });

  test('a stick that is mounted, as of the last look; the same device stays the same object', async () => {
    const tree = hosts.pc();
    hosts.stick(tree, '1-1');
    const host = guarded(tree, [stick('dom0:1-1')]);
    const [free] = await host.guards.list();
    assert.equal(free?.objections, undefined);
    tree.mount('/media/stick', '8:17', 'vfat', '/dev/sdb1');
    await host.guards.lookNow(stick('dom0:1-1'));
    const [kept] = await host.guards.list();
    assert.match(kept?.objections?.[0]?.says ?? '', /sdb1 is mounted at \/media\/stick/);
    assert.equal((await host.guards.list())[0], kept);
  });

  test('what comes later is given out at once; a change that is seen behind is hinted at', async () => {
    const tree = hosts.pc();
    const host = guarded(tree, []);
    await host.guards.list();
    const hints: string[] = [];
    const stop = host.guards.watch(() => hints.push('hint'));
    hosts.stick(tree, '1-1');
    host.devices.push(stick('dom0:1-1'));
    const before = host.looks.count;
    assert.equal((await host.guards.list())[0]?.objections, undefined);
    tree.mount('/media/stick', '8:17', 'vfat', '/dev/sdb1');
    await host.guards.list();
    for (let i = 0; hints.length === 0 && i < 200; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(host.looks.count > before);
    assert.equal((await host.guards.list())[0]?.objections?.[0]?.kind, 'mounted');
    stop();
  });

  test('a look before the attach finds what has come since; a device that was plugged a moment ago needs none', async () => {
    const tree = hosts.pc();
    hosts.stick(tree, '1-1');
    const host = guarded(tree, [stick('dom0:1-1')]);
    const [device] = await host.guards.list();
    assert.ok(device);
    tree.mount('/media/stick', '8:17', 'vfat', '/dev/sdb1');
    assert.ok(host.guards.isYoung(device));
    await host.clock.advance(5_000);
    assert.ok(!host.guards.isYoung(device));
    await assert.rejects(host.guards.checkStill(device, 'work'), (thrown) => isFault(thrown, 'usb.kept_back'));
  });

  test('says what replaces an input device, unless something that is not on USB does', async () => {
    const tree = hosts.desktop();
    hosts.usbKeyboard(tree, '1-5');
    const host = guarded(tree, [keyboard('1-3'), mouse('1-4'), keyboard('1-5'), stick('dom0:1-6')]);
    const replaced = async () => (await host.guards.list()).map(({ replacedBy }) => replacedBy);
    assert.deepEqual(await replaced(), [{ keyboard: [['1-5']] }, { pointer: [] }, { keyboard: [['1-3']] }, undefined]);
    const off = guarded(tree, host.devices, { inputs: { neverCounts: ['*'] } });
    assert.equal((await off.guards.list())[0]?.replacedBy, undefined);
    const own = hosts.laptop();
    hosts.usbKeyboard(own, '1-1');
    assert.equal((await guarded(own, [keyboard('1-1')]).guards.list())[0]?.replacedBy, undefined);
  });

  test('a keyboard that a VM has is missed when the host has no other, and only then', async () => {
    const tree = hosts.desktop();
    tree.usb('1-5', { interfaces: [['030101', 'usbfs']] });
    tree.usb('1-6', { interfaces: [['030101', 'usbfs']], vendor: '1050' });
    const key = stick('dom0:1-6', { interfaces: ['030101'], vendorId: '1050' });
    const host = guarded(tree, [keyboard('1-3'), keyboard('1-5'), key]);
    assert.deepEqual(await host.says('1-5'), ['keyboard']);
    tree.unplug('1-3');
    host.devices.shift();
    assert.deepEqual(await host.says('1-5'), ['missed keyboard', 'keyboard']);
    assert.deepEqual(await host.says('1-6'), ['keyboard'], "a security key is nobody's keyboard");
    const named = guarded(tree, [keyboard('1-5')], { inputs: { countsAsKeyboard: ['isa0060/serio0'] } });
    assert.deepEqual(await named.says('1-5'), ['keyboard']);
  });

  test("a host that does not tell keeps whatever may be its keyboard, and names whom it is nobody's", async () => {
    const host = guarded(hosts.pc(), [keyboard('1-1'), stick('dom0:1-2', { interfaces: ['030000'] })]);
    host.looks.isBroken = true;
    assert.deepEqual(await host.says('1-1'), ['last keyboard', 'held']);
    assert.deepEqual(await host.says('1-2'), ['last keyboard', 'last pointer', 'held']);
    const settled = guarded(hosts.pc(), [keyboard('1-1')], { inputs: { neverCounts: ['*'] } });
    settled.looks.isBroken = true;
    assert.deepEqual(await settled.says('1-1'), []);
  });

  test('when looks fail, what is plugged anew may be the last, and what is gone replaces nothing', async () => {
    const tree = hosts.desktop();
    hosts.usbKeyboard(tree, '1-5');
    const host = guarded(tree, [keyboard('1-3'), keyboard('1-5')]);
    assert.deepEqual(await host.says('1-5'), ['keyboard']);
    host.looks.isBroken = true;
    host.devices[0] = { ...keyboard('1-3'), generation: 'anew' };
    assert.deepEqual(await host.says('1-3'), ['last keyboard', 'keyboard']);
    host.devices.shift();
    assert.deepEqual(await host.says('1-5'), ['last keyboard', 'keyboard']);
  });

  test('a host that does not tell has its disks kept back, and says so', async () => {
    const host = guarded(hosts.pc(), [stick('dom0:1-1'), stick('dom0:1-2', { guard: 'it is a hub' })]);
    host.looks.isBroken = true;
    const [disk, hub] = await host.guards.list();
    assert.equal(disk?.objections?.[0]?.says, 'the host does not tell what it does with it');
    assert.equal(hub?.objections, undefined);
    host.looks.isBroken = false;
    await host.guards.lookNow(stick('dom0:1-1'));
    assert.equal((await host.guards.list())[0]?.objections, undefined);
  });
});
