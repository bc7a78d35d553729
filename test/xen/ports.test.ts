/**
 * What is in the ports of a PV guest, on a real Xen host: first what plain `xl` makes of unplugging, then what Usher does.
 * One scene follows the other.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { XenHost } from '../../lab/xen-host.ts';
import type { VmDetails } from '../../src/api/views.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';
import { PV_GUEST, pvCfg } from './guests.ts';

const TABLET = '0627:0001:T1:030000';
const PORTS = '/local/domain/0/backend/qusb';

describe('ports of a PV guest on real Xen', () => {
  let usher: Dom0Usher;
  /** The number that the last domain had. */
  let last: number;

  before(async () => {
    usher = new Dom0Usher(await XenHost.restore({ dist: DIST }));
  });
  after(() => usher?.stop());

  const domid = async (name: string) => Number((await usher.check(`xl domid ${name}`)).trim());
  const portNode = async (name: string, port: number) =>
    await usher.xenstore(`${PORTS}/${await domid(name)}/0/port/${port}`);
  const show = (vm: string) => usher.ask<VmDetails>('vm.show', { vm });

  it('xl: an unplugged device stays in its port and cannot be detached; another one in its place is taken for it', async () => {
    await usher.xlCreate('plain', pvCfg('plain'));
    const busid = await usher.plug('tablet', { serial: 'T1', port: '1' });
    assert.equal((await usher.xlAttach('plain', busid)).status, 0);
    await usher.pull('T1');
    assert.equal(await portNode('plain', 1), busid, 'the node keeps the busid');
    const detach = await usher.xl('usbdev-detach', 'plain', '0', '1');
    assert.notEqual(detach.status, 0);
    assert.match(detach.output, /[Uu]nknown device/);
    await usher.plug('keyboard', { serial: 'K1', port: '1' });
    const listed = await usher.xl('usb-list', 'plain');
    assert.match(listed.output, /Port 1: Bus 001 Device/, 'the keyboard is listed as attached');
    assert.notEqual(await usher.kernelDriver(busid), 'usbfs', 'and is not');
    const attach = await usher.xlAttach('plain', busid);
    assert.notEqual(attach.status, 0);
    assert.match(attach.output, /already (attached|assigned)/);
    await usher.pull('K1');
    await usher.check('xl destroy plain');
  });

  it('Usher: a device that is plugged goes into the VM that it is assigned to', async () => {
    await usher.startDaemon();
    await usher.startGuest('work', PV_GUEST);
    await usher.ask('usb.assign', { vm: 'work', device: TABLET, mode: 'auto' });
    const busid = await usher.plug('tablet', { serial: 'T1', port: '1' });
    const { slot } = await usher.waitAttached(busid, 'work');
    assert.equal(slot, '0-1');
    assert.equal(await portNode('work', 1), busid);
    await usher.eventually('the guest sees it', async () => (await usher.seenBy('work')).includes('0627:0001:T1'));
  });

  it('Usher: it is unplugged: the port is empty, and the assignment waits', async () => {
    await usher.pull('T1');
    await usher.eventually('the port node is empty', async () => (await portNode('work', 1)) === '');
    await usher.eventually('nothing is attached', async () => (await show('work')).attachments.length === 0);
    await usher.eventually('the guest sees it leave', async () => (await usher.seenBy('work')).length === 0);
    assert.equal((await usher.ask<unknown[]>('usb.assignments')).length, 1);
  });

  it('Usher: another device in the same place is not taken for it', async () => {
    const busid = await usher.plug('keyboard', { serial: 'K1', port: '1' });
    const view = await usher.eventually('Usher sees the keyboard', () => usher.device(busid));
    assert.equal(view.state, 'left');
    assert.equal(await portNode('work', 1), '');
    assert.deepEqual((await show('work')).attachments, []);
  });

  it('Usher: it comes back by itself, in another socket too', async () => {
    const busid = await usher.plug('tablet', { serial: 'T1', port: '2' });
    assert.equal(busid, '1-2');
    await usher.waitAttached(busid, 'work');
    await usher.eventually('the guest sees it', async () => (await usher.seenBy('work')).includes('0627:0001:T1'));
  });

  it('Usher: what xl attached by hand is seen, left where it is, and can be detached; dom0 has its driver back', async () => {
    assert.equal((await usher.xlAttach('work', '1-1')).status, 0);
    const view = await usher.waitAttached('1-1', 'work');
    await usher.ask('usb.reconcile');
    assert.equal((await usher.device('1-1'))?.state, 'attached', `it stays: ${view.why}`);
    await usher.ask('usb.detach', { device: 'dom0:1-1' });
    assert.equal((await usher.device('1-1'))?.state, 'left');
    assert.equal(await usher.kernelDriver('1-1'), 'usbhid');
    await usher.pull('K1');
  });

  it('Usher: a stick is written by the guest, and what was written is on the stick', async () => {
    const text = randomBytes(8).toString('hex');
    const content = { files: { 'README.TXT': 'before' } };
    const stick = await usher.hands.plug('storage', { serial: 'S1', port: '3', content });
    assert.ok(stick.file);
    await usher.ask('usb.assign', { vm: 'work', device: `dom0:${stick.busid}`, mode: 'auto' });
    await usher.waitAttached(stick.busid, 'work');
    const since = 0;
    await usher.guestSays('work', '^USHER-GUEST stick sd[a-z] ', since);
    const before = createHash('sha256')
      .update(await readFile(stick.file))
      .digest('hex');
    const { console } = await show('work');
    const write = `mkdir -p /tmp/s; mount /dev/sda /tmp/s; echo ${text} > /tmp/s/WRITTEN.TXT; umount /tmp/s; sync`;
    await usher.check(`printf 'sh %s\\n' '${write}' | socat -t 1 - UNIX-CONNECT:${console.socket} > /dev/null`);
    await usher.guestSays('work', '^USHER-GUEST exit 0');
    await usher.ask('usb.detach', { device: `dom0:${stick.busid}` });
    assert.equal(await usher.kernelDriver(stick.busid), 'usb-storage');
    await usher.pull('S1');
    const written = await readFile(stick.file);
    assert.notEqual(createHash('sha256').update(written).digest('hex'), before);
    assert.ok(written.includes(text), 'the file is in the image');
  });

  it('Usher: a guest that powers off gives its devices back', async () => {
    const { console } = await show('work');
    last = await domid('work');
    assert.equal(await usher.kernelDriver('1-2'), 'usbfs');
    await usher.check(`echo poweroff | socat -t 1 - UNIX-CONNECT:${console.socket} > /dev/null`);
    await usher.eventually('the VM is halted', async () => (await show('work')).state === 'halted');
    await usher.eventually('dom0 has the tablet', async () => (await usher.kernelDriver('1-2')) === 'usbhid');
    assert.equal((await usher.run('xl domid work')).status, 1, 'no domain is left');
    assert.doesNotMatch(await usher.check('xenstore-ls -f'), /1-2/, 'nor a node of it');
  });

  it('Usher: what a dead domain has left keeps no device from anybody, nor is it the next one’s of that number', async () => {
    // As an xl leaves them that is killed while it clears a domain away; the number is the one that is given next.
    const next = last + 1;
    const stale = `${PORTS}/${next}/0`;
    await usher.check(`xenstore-write ${stale}/type qusb ${stale}/num-ports 8 ${stale}/port/5 1-2
      xenstore-write /libxl/${next}/device/vusb/0/type qusb /libxl/${next}/device/vusb/0/backend ${stale}`);
    await usher.ask('vm.start', { vm: 'work' });
    assert.equal(await domid('work'), next);
    const { slot } = await usher.waitAttached('1-2', 'work');
    assert.notEqual(slot, '0-5');
    assert.equal((await show('work')).attachments.length, 1);
    await usher.eventually('the stale node is empty or gone', async () => !(await usher.xenstore(`${stale}/port/5`)));
  });

  it('Usher: what a guest writes into its own nodes steers nothing', async () => {
    const own = `/local/domain/${await domid('work')}/device/vusb/0`;
    for (const [node, value] of [
      ['backend', `${PORTS}/0/0/../../..`],
      ['backend-id', '-1'],
      ['port/1', '1-1'],
      ['backend', own],
    ] as const) {
      await usher.inGuest('work', xenbusWrite(`device/vusb/0/${node}`, value));
      assert.equal(await usher.xenstore(`${own}/${node}`), value, 'the guest may do that');
    }
    await usher.check(`xenstore-write ${own}/backend-id $(head -c 2048 /dev/zero | tr '\\0' 9)`);
    const before = await usher.check(`xenstore-ls -f ${PORTS}`);
    await usher.ask('usb.reconcile');
    assert.deepEqual(
      (await show('work')).attachments.map(({ device }) => device),
      ['dom0:1-2'],
    );
    assert.equal(await usher.check(`xenstore-ls -f ${PORTS}`), before);
    await usher.ask('usb.detach', { device: 'dom0:1-2' });
    assert.equal(await usher.kernelDriver('1-2'), 'usbhid');
    await usher.ask('usb.release', { device: 'dom0:1-2' });
    await usher.waitAttached('1-2', 'work');
    await usher.ask('vm.destroy', { vm: 'work' });
  });
});

/** Gives a command of a guest that writes a node as its kernel would: one request of xenstore's wire, by /dev/xen/xenbus. */
function xenbusWrite(path: string, value: string): string {
  const body = Buffer.from(`${path}\0${value}`);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(11, 0); // XS_WRITE
  header.writeUInt32LE(body.length, 12);
  const octal = [...header, ...body].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  return `printf "${octal}" > /dev/xen/xenbus`;
}
