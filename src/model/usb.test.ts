import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../lib/fault.ts';
import { canonicalBackend, deviceKey, formatDeviceId, formatSlot, isBusid, parseDeviceRef } from './usb.ts';

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
