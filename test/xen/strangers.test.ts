/**
 * Domains of no VM, on a real Xen host: what `xl` has started is seen, left alone, and adopted as it runs; and a VM of
 * ours gets one more controller when a device needs a port. One scene follows the other.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { XenHost } from '../../lab/xen-host.ts';
import type { AdoptView, DoctorReport, ExplainView, VmDetails, VmView } from '../../src/api/views.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';
import { PV_GUEST, pvCfg } from './guests.ts';

describe('domains of no VM on real Xen', () => {
  let usher: Dom0Usher;
  let busid: string;

  before(async () => {
    usher = new Dom0Usher(await XenHost.restore({ dist: DIST }));
    await usher.xlCreate('plain', pvCfg('plain'));
    busid = await usher.plug('tablet', { serial: 'T1', port: '1' });
    assert.equal((await usher.xlAttach('plain', busid)).status, 0);
    await usher.startDaemon();
  });
  after(() => usher?.stop());

  const show = (vm: string) => usher.ask<VmDetails>('vm.show', { vm });

  it('what xl has started is listed as a stranger, with what it has; doctor finds dom0', async () => {
    assert.deepEqual(await usher.ask<VmView[]>('vm.list'), []);
    const [plain, ...others] = await usher.ask<VmView[]>('vm.list', { isAll: true });
    assert.deepEqual(others, []);
    const { name, state, driver, isStranger, devices } = plain ?? {};
    assert.deepEqual([name, state, driver, isStranger, devices], ['plain', 'running', 'xen', true, [`dom0:${busid}`]]);
    const { findings } = await usher.ask<DoctorReport>('doctor');
    assert.equal(findings.find(({ subject }) => subject === 'Xen')?.says, 'this is the control domain');
    assert.deepEqual(
      findings.filter(({ level }) => level === 'error'),
      [],
    );
  });

  it('its device is said to be its, and is not taken', async () => {
    const lines = Object.entries({ name: 'work', ...PV_GUEST }).map(([key, value]) => `${key} = ${value}\n`);
    await usher.ask('vm.create', { content: lines.join('') });
    await usher.ask('vm.start', { vm: 'work' });
    const { driver, virtMode } = await show('work');
    assert.deepEqual([driver, virtMode], ['xen', 'pv'], 'as it is in dom0 when nobody says otherwise');
    await usher.ask('usb.assign', { vm: 'work', device: `dom0:${busid}`, mode: 'auto' });
    const told = await usher.eventually('the device is told to be in plain', async () => {
      const view = await usher.device(busid);
      return view?.state === 'waiting' && view.why.includes('plain') ? view : undefined;
    });
    assert.equal(told.why, `The device dom0:${busid} is attached to VM plain`);
    await assert.rejects(usher.ask('usb.attach', { vm: 'work', device: `dom0:${busid}` }), /attached to VM plain/);
    const [stranger] = (await usher.ask<VmView[]>('vm.list', { isAll: true })).filter((vm) => vm.isStranger);
    assert.deepEqual(stranger?.devices, [`dom0:${busid}`]);
    await usher.ask('usb.unassign', { assignment: 1 });
    const { because, changes } = await usher.ask<ExplainView>('usb.explain', { device: `dom0:${busid}` });
    assert.match(because.join(' '), /Others attached it to the domain plain, which is no VM of Usher/);
    assert.deepEqual(changes, [], 'nothing is offered that would be refused');
  });

  it('it is adopted as it runs, and keeps its device until somebody says otherwise', async () => {
    const domid = Number(await usher.check('xl domid plain'));
    const adopted = await usher.ask<AdoptView>('vm.adopt', { domain: 'plain' });
    assert.equal(adopted.state, 'running');
    const { handle, memoryMiB, virtMode, kernel, onReboot, attachments } = await show('plain');
    assert.deepEqual(
      [handle, memoryMiB, virtMode, kernel, onReboot],
      [domid, PV_GUEST.memory, 'pv', PV_GUEST.kernel, 'preserve'],
    );
    assert.deepEqual(
      attachments.map(({ slot, device }) => [slot, device]),
      [['0-1', `dom0:${busid}`]],
    );
    await usher.ask('usb.reconcile');
    const view = await usher.device(busid);
    assert.deepEqual([view?.state, view?.vm, view?.why], ['attached', 'plain', 'attached by others than Usher']);
    await usher.ask('usb.detach', { device: `dom0:${busid}` });
    assert.deepEqual((await show('plain')).attachments, []);
    assert.equal(await usher.kernelDriver(busid), 'usbhid');
    await usher.ask('vm.destroy', { vm: 'plain' });
    await usher.ask('usb.release', { device: `dom0:${busid}` });
  });

  it('a device that finds no port has one more controller added for it', async () => {
    await usher.startGuest('small', { ...PV_GUEST, usbctrl: 'type=qusb,version=2,ports=1' });
    const second = await usher.plug('keyboard', { serial: 'K1', port: '2' });
    for (const place of [busid, second]) {
      await usher.ask('usb.assign', { vm: 'small', device: `dom0:${place}`, mode: 'auto' });
      await usher.waitAttached(place, 'small');
    }
    assert.equal((await usher.device(second))?.slot, '1-2', 'a port number is used once');
    await usher.eventually('the guest sees both', async () => (await usher.seenBy('small')).length === 2);
    assert.equal((await show('small')).controllers.length, 2);
  });
});
