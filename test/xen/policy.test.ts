/**
 * A policy on a real Xen host: a hub that is watched, two VMs, devices that are plugged, swapped and pulled, a VM and the
 * host that are restarted, a daemon that is killed. What comes of it is looked at inside the guests.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { shellWord } from '../../lab/shell-word.ts';
import { XenHost } from '../../lab/xen-host.ts';
import type { ExplainView, VmDetails } from '../../src/api/views.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';
import { PV_GUEST } from './guests.ts';

/** One device by its serial number goes to one VM, whatever else is on that bus to the other. */
const POLICY = `rules:
  - name: own
    match: { serial: W1 }
    attach: work
  - name: hub
    match: { hub: usb1 }
    attach: play
expect:
  - device: { serial: W1, port: 1-4 }
    to: work
  - device: { serial: X, port: 1-4.2 }
    to: play
`;
const DENIED = POLICY.replace('attach: work', 'deny: not now').replace('to: work', 'to: deny');

describe('a policy on real Xen', () => {
  let usher: Dom0Usher;
  const seen = async (vm: string) => (await usher.seenBy(vm)).map((id) => id.split(':').at(-1)).sort();
  const sees = (vm: string, ...serials: string[]) =>
    usher.eventually(`${vm} sees ${serials.join(' ')}`, async () => (await seen(vm)).join(' ') === serials.join(' '));
  const load = async (text: string) => {
    await usher.check(`printf %s ${shellWord(text)} > ${usher.home}/policy.yaml`);
    await usher.ask('policy.load');
  };

  before(async () => {
    usher = new Dom0Usher(await XenHost.restore({ dist: DIST }));
    await usher.startDaemon();
    for (const vm of ['work', 'play']) await usher.startGuest(vm, PV_GUEST);
    await load(POLICY);
  });
  after(() => usher?.stop());

  it('each device that is plugged goes where the first rule says that matches', async () => {
    await usher.plug('tablet', { serial: 'W1', port: '1' });
    await usher.plug('mouse', { serial: 'P1', port: '2' });
    await sees('work', 'W1');
    await sees('play', 'P1');
    const { because, rules } = await usher.ask<ExplainView>('usb.explain', { device: 'dom0:1-2' });
    assert.match(because.join(' '), /Rule 2 "hub" \(line 5\) says: play.*hub .*trusted/);
    assert.deepEqual(
      rules.map(({ decides }) => decides),
      [false, true],
    );
  });

  it('swapped, each goes where its rule says; pulled, it has left', async () => {
    for (const serial of ['W1', 'P1']) await usher.pull(serial);
    await usher.plug('mouse', { serial: 'P1', port: '1' });
    await usher.plug('tablet', { serial: 'W1', port: '2' });
    await sees('work', 'W1');
    await sees('play', 'P1');
    await usher.pull('P1');
    await usher.eventually('play has nothing', async () => (await seen('play')).length === 0);
    await usher.plug('mouse', { serial: 'P1', port: '3' });
    await sees('play', 'P1');
  });

  it('after a restart of the VM it has its device again', async () => {
    await usher.ask('vm.restart', { vm: 'work', isForced: true });
    await usher.guestSays('work', '^USHER-GUEST ready');
    await usher.waitAttached('1-2', 'work');
    await sees('work', 'W1');
    await sees('play', 'P1');
  });

  it('what changes while no daemon runs is put right by the next one', async () => {
    await usher.endDaemon('KILL');
    for (const serial of ['W1', 'P1']) await usher.pull(serial);
    await usher.plug('tablet', { serial: 'W1', port: '3' });
    await usher.plug('mouse', { serial: 'P1', port: '2' });
    await usher.startDaemon();
    await usher.waitAttached('1-3', 'work');
    await usher.waitAttached('1-2', 'play');
    await sees('work', 'W1');
    await sees('play', 'P1');
  });

  it('another policy takes back what it denies, and dom0 has it', async () => {
    await load(DENIED);
    await usher.eventually('work has nothing', async () => (await seen('work')).length === 0);
    await usher.eventually('dom0 has its driver', async () => (await usher.kernelDriver('1-3')) === 'usbhid');
    await sees('play', 'P1');
    await load(POLICY);
    await usher.waitAttached('1-3', 'work');
  });

  it('after a reboot of the host everything is where the policy says', async () => {
    for (const vm of ['work', 'play']) await usher.ask('vm.set', { vm, autostart: true });
    await usher.xen.reboot();
    await usher.startDaemon();
    for (const vm of ['work', 'play']) {
      await usher.eventually(
        `${vm} runs`,
        async () => (await usher.ask<VmDetails>('vm.show', { vm })).state === 'running',
      );
    }
    await usher.waitAttached('1-3', 'work');
    await usher.waitAttached('1-2', 'play');
  });
});
