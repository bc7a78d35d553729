import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../lib/fault.ts';
import {
  canonicalBackend,
  deviceKey,
  formatDeviceId,
  formatSlot,
  isBelowHub,
  isBelowLocation,
  isBusid,
  parseDeviceRef,
} from './usb.ts';

suite('busids and device references', () => {
  test('what is a busid', () => {
    for (const busid of ['1-1', '3-1.4', '12-10.2.3.4.5.6.7']) assert.ok(isBusid(busid), busid);
    for (const text of [
      '',
      'usb1',
      '1-0:1.0',
      '1-1:1.0',
      '1',
      '1-',
      '-1',
      '1-1.',
      '1-1.2.3.4.5.6.7.8',
      '1-*',
      '1234-1',
    ])
      assert.ok(!isBusid(text), text);
  });

  test('what is below a hub', () => {
    for (const [busid, hub] of [
      ['1-1.2', '1-1'],
      ['1-1.2.3.4.5.6.7', '1-1'],
      ['1-1.2.3', '1-1.2'],
      ['1-1', 'usb1'],
      ['12-3.4', 'usb12'],
    ] as const)
      assert.ok(isBelowHub(busid, hub), `${busid} is below ${hub}`);
    for (const [busid, hub] of [
      ['1-1', '1-1'],
      ['1-10', '1-1'],
      ['1-10.1', '1-1'],
      ['1-2.1', '1-1'],
      ['11-1', '1-1'],
      ['11-1', 'usb1'],
      ['1-1.20', '1-1.2'],
      ['1-1', '1-1.2'],
      ['1-1', 'usb'],
    ] as const)
      assert.ok(!isBelowHub(busid, hub), `${busid} is not below ${hub}`);
  });

  test('a reference is backend:busid; host is dom0', () => {
    assert.deepEqual(parseDeviceRef('usbvm:4-6'), { backend: 'usbvm', busid: '4-6' });
    assert.deepEqual(parseDeviceRef('host:3-1.4'), { backend: 'dom0', busid: '3-1.4' });
    assert.equal(canonicalBackend('virtual'), 'virtual');
    assert.equal(deviceKey({ backend: 'dom0', busid: '1-1' }), 'dom0:1-1');
    assert.equal(formatSlot({ controller: 1, port: 4 }), '1-4');
    for (const text of ['', '1-1', ':1-1', 'dom0:', 'dom0:usb1', 'dom0:1-1:x', '../x:1-1', 'a\u001b[2J:1-1']) {
      assert.throws(
        () => parseDeviceRef(text),
        (error) => isFault(error, 'usb.device_invalid'),
        text,
      );
    }
  });
});

suite('below a hub', () => {
  test('by busid: any depth, never a sibling, never the hub itself', () => {
    const deepest = '1-1.2.3.4.5.6.7';
    for (const [busid, hub] of [
      ['3-1', 'usb3'],
      ['3-1.4', 'usb3'],
      ['1-1.4', '1-1'],
      [deepest, '1-1'],
      [deepest, '1-1.2.3.4.5.6'],
      [deepest, 'usb1'],
    ] as const)
      assert.ok(isBelowHub(busid, hub), `${busid} ${hub}`);
    for (const [busid, hub] of [
      ['1-10', '1-1'],
      ['1-10.2', '1-1'],
      ['1-1', '1-1'],
      ['1-1', '1-1.4'],
      ['13-1', 'usb1'],
      ['1-1', 'usb13'],
      ['1-1.4', '1-'],
      ['1-1.4', ''],
      ['1-1.4', '1'],
      ['1-1.4', 'usb'],
      ['usb1', 'usb1'],
    ] as const)
      assert.ok(!isBelowHub(busid, hub), `${busid} ${hub}`);
  });

  test('a device is below each hub of its chain and below no other', () => {
    const port = fc.integer({ min: 1, max: 30 });
    const chain = fc.array(port, { minLength: 1, maxLength: 7 });
    const busid = (bus: number, ports: readonly number[]) => `${bus}-${ports.join('.')}`;
    fc.assert(
      fc.property(port, chain, port, chain, (bus, ports, hubBus, hubPorts) => {
        const isPrefix = hubPorts.length < ports.length && hubPorts.every((number, at) => ports[at] === number);
        assert.equal(isBelowHub(busid(bus, ports), busid(hubBus, hubPorts)), bus === hubBus && isPrefix);
        for (let at = 1; at < ports.length; at++) {
          assert.ok(isBelowHub(busid(bus, ports), busid(bus, ports.slice(0, at))));
        }
      }),
    );
  });

  test('by location', () => {
    assert.ok(isBelowLocation('0000:00:14.0/1.4', '0000:00:14.0/1'));
    assert.ok(isBelowLocation('0000:00:14.0/1.4', '0000:00:14.0'));
    assert.ok(!isBelowLocation('0000:00:14.0/10', '0000:00:14.0/1'));
    assert.ok(!isBelowLocation('0000:00:14.0/1', '0000:00:14.0/1'));
    assert.ok(!isBelowLocation('0000:00:14.0/1.4', '0000:00:14'));
    assert.ok(!isBelowLocation('dummy_hcd.0/1', 'dummy_hcd'));
  });
});

suite('formatDeviceId', () => {
  const parts = { vendorId: '0951', productId: '1666', interfaces: ['080650'] };

  test('four fields, the serial percent-encoded, the interfaces sorted', () => {
    assert.equal(formatDeviceId({ ...parts, untrustedSerial: 'S1_a.b-c' }), '0951:1666:S1_a.b-c:080650');
    assert.equal(formatDeviceId(parts), '0951:1666::080650');
    assert.equal(formatDeviceId({ ...parts, untrustedSerial: 'a:b *%é' }), '0951:1666:a%3Ab%20%2A%25%C3%A9:080650');
    assert.equal(formatDeviceId({ ...parts, interfaces: ['0e0200', '080650'] }), '0951:1666::080650.0e0200');
  });

  test('any serial gives four harmless fields, from which it can be read back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 126 }), (untrustedSerial) => {
        const id = formatDeviceId({ ...parts, untrustedSerial });
        assert.match(id, /^0951:1666:[A-Za-z0-9._%-]*:080650$/);
        assert.equal(decodeURIComponent(id.split(':')[2] ?? ''), untrustedSerial);
      }),
    );
  });
});
