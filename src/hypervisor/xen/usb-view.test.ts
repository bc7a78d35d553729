import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { silentLog } from '../../lib/log.ts';
import type { DomainNodes } from './domain-nodes.ts';
import { portPath, vmPath } from './nodes.ts';
import { SLOT, UsbRig, uuidOf } from './testing/usb-rig.ts';
import { UsbView } from './usb-view.ts';

async function viewOf(t: Parameters<typeof UsbRig.make>[0]) {
  const rig = await UsbRig.make(t);
  const changes: [DomainNodes | undefined, DomainNodes | undefined][] = [];
  const view = new UsbView({
    xenstore: rig.store.client,
    clock: systemClock,
    log: silentLog,
    onChange: (before, after) => changes.push([before, after]),
  });
  t.after(() => view.close());
  const until = (what: string, probe: () => boolean) =>
    pollUntil({ what, timeoutMs: 5_000, everyMs: 2 }, () => probe() || undefined);
  return { rig, view, changes, until };
}

suite('the view of all domains’ USB', () => {
  test('sees what is there, what comes, changes and goes', async (t) => {
    const { rig, view, changes, until } = await viewOf(t);
    await rig.domain(5);
    await view.open();
    assert.deepEqual([...view.domains.keys()], [5]);
    const next = await rig.domain(6);
    await until('the new domain', () => view.domains.get(6)?.controllers[0]?.ports === 4);
    await rig.store.client.write(portPath('qusb', 6, SLOT), '1-4');
    await until('the port', () => view.holdersOf('1-4').length === 1);
    assert.deepEqual(
      view.holdersOf('1-4').map(({ nodes, controller, port }) => [nodes.domid, controller, port]),
      [[6, 0, 1]],
    );
    await rig.destroy(next);
    await until('the end', () => !view.domains.has(6));
    assert.deepEqual([changes.at(-1)?.[0]?.domid, changes.at(-1)?.[1]], [6, undefined]);
    assert.deepEqual(view.holdersOf('1-4'), []);
  });

  test('a domid that is given anew is another domain', async (t) => {
    const { rig, view } = await viewOf(t);
    await rig.domain(5);
    await view.open();
    await rig.store.client.write(vmPath(5), `/vm/${uuidOf(55)}`);
    view.touch(5);
    assert.equal((await view.current(5))?.uuid, uuidOf(55));
  });

  test('questions share a look that has not begun, and are never answered by an older one', async (t) => {
    const { rig, view } = await viewOf(t);
    await rig.domain(5);
    await view.open();
    const { client, daemon } = rig.store;
    let looks = 0;
    daemon.mischief = ({ name, fields: [path] }) => {
      if (name === 'READ' && path === vmPath(5)) looks++;
      return undefined;
    };
    const first = view.refresh(5);
    await client.write(portPath('qusb', 5, SLOT), '1-4');
    const later = await Promise.all([view.refresh(5), view.refresh(5), view.refresh(5), first]);
    assert.ok(looks <= 3, `${looks} looks for four questions and an event`);
    for (const nodes of later.slice(0, 3))
      assert.deepEqual(nodes?.controllers[0]?.slots[0]?.value, { is: 'busid', busid: '1-4' });
  });

  test('after a cut connection everything is looked at again', async (t) => {
    const { rig, view, until } = await viewOf(t);
    await rig.domain(5);
    await view.open();
    const isBack = new Promise<void>((resolve) => rig.store.client.onResync(resolve));
    rig.store.daemon.cut();
    await isBack;
    await rig.store.client.write(portPath('qusb', 5, SLOT), '1-4');
    await until('the port', () => view.holdersOf('1-4').length === 1);
  });

  test('a look that fails does not end the view', async (t) => {
    const { rig, view, until } = await viewOf(t);
    await rig.domain(5);
    await view.open();
    let isBad = true;
    rig.store.daemon.mischief = ({ name }) => (isBad && name === 'DIRECTORY' ? { errno: 'EIO' } : undefined);
    await assert.rejects(view.refresh(5), /EIO/);
    isBad = false;
    await rig.store.client.write(portPath('qusb', 5, SLOT), '1-4');
    await until('the port', () => view.holdersOf('1-4').length === 1);
  });

  test('a change whose look fails is looked at again, though nothing else is told', async (t) => {
    const { rig, view, until } = await viewOf(t);
    await rig.domain(5);
    await view.open();
    // What the watches tell at their beginning is looked at by then.
    await new Promise((resolve) => setTimeout(resolve, 100));
    let failures = 0;
    rig.store.daemon.mischief = ({ name }) => {
      if (name !== 'DIRECTORY' || failures === 3) return undefined;
      failures++;
      return { errno: 'EIO' };
    };
    await rig.store.client.write(portPath('qusb', 5, SLOT), '1-4');
    await until('the port', () => view.holdersOf('1-4').length === 1);
    assert.equal(failures, 3);
  });

  test('what a failed look was to tell is not answered from memory', async (t) => {
    const { rig, view, until } = await viewOf(t);
    await rig.domain(5);
    await view.open();
    let isBad = true;
    rig.store.daemon.mischief = ({ name }) => (isBad && name === 'DIRECTORY' ? { errno: 'EIO' } : undefined);
    await rig.store.client.write(portPath('qusb', 5, SLOT), '1-4');
    await assert.rejects(view.refresh(5), /EIO/);
    isBad = false;
    assert.deepEqual((await view.current(5))?.controllers[0]?.slots[0]?.value, { is: 'busid', busid: '1-4' });
    await until('the port', () => view.holdersOf('1-4').length === 1);
  });
});
