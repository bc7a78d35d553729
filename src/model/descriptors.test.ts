import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isHub, readDescriptors } from './descriptors.ts';
import { bytesOf, DESCRIPTORS } from './testing/sysfs-tree.ts';

const DEVICE = DESCRIPTORS.stick.slice(0, 18 * 3 - 1);
const read = (listing: string) => readDescriptors(bytesOf(listing));

suite('readDescriptors', () => {
  test('real devices', () => {
    assert.deepEqual(read(DESCRIPTORS.stick), {
      vendorId: '46f4',
      productId: '0001',
      deviceClass: '000000',
      interfaces: ['080650'],
    });
    assert.deepEqual(read(DESCRIPTORS.keyboard)?.interfaces, ['030101']);
    assert.deepEqual(read(DESCRIPTORS.composite)?.interfaces, ['010104', '010200'], 'alternate setting 0 only');
  });

  test('hubs, by device class and by interface class', () => {
    const hub = read(DESCRIPTORS.hub);
    assert.ok(hub && isHub(hub));
    assert.ok(hub && isHub({ ...hub, deviceClass: '000000' }));
    const stick = read(DESCRIPTORS.stick);
    assert.ok(stick && !isHub(stick));
  });

  test('only the first configuration counts, and interfaces are sorted', () => {
    const first = '09 02 1b 00 02 01 00 80 32  09 04 00 00 00 0e 01 00 00  09 04 01 00 00 03 00 00 00';
    const second = '09 02 12 00 01 02 00 80 32  09 04 00 00 00 ff 00 00 00';
    assert.deepEqual(read(`${DEVICE} ${first} ${second}`)?.interfaces, ['030000', '0e0100']);
  });

  test('bytes that are short or lie give what can be read', () => {
    assert.equal(read(''), undefined);
    assert.equal(read(DEVICE.slice(0, -3)), undefined);
    assert.equal(read(DEVICE.replace('12 01', '12 02')), undefined);
    const iface = '09 04 00 00 00 08 06 50 00';
    const config = (total: string) => `09 02 ${total} 01 01 00 80 32`;
    assert.deepEqual(read(DEVICE)?.interfaces, [], 'no configuration');
    assert.deepEqual(read(`${DEVICE} ${config('ff ff')} ${iface}`)?.interfaces, ['080650'], 'longer than there is');
    assert.deepEqual(read(`${DEVICE} ${config('09 00')} ${iface}`)?.interfaces, [], 'ends before the interface');
    assert.deepEqual(read(`${DEVICE} ${config('30 00')} ${iface} 00 04 00`)?.interfaces, ['080650'], 'length 0');
    assert.deepEqual(
      read(`${DEVICE} ${config('30 00')} ${iface} ff 04 00 00`)?.interfaces,
      ['080650'],
      'beyond the end',
    );
    assert.deepEqual(
      read(`${DEVICE} ${config('30 00')} 02 04 ${iface}`)?.interfaces,
      ['080650'],
      'too short an interface',
    );
    const many = `${DEVICE} ${config('ff 7f')} ${`${iface} `.repeat(300)}`;
    assert.equal(read(many)?.interfaces.length, 32);
  });

  test('any bytes at all end in an answer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        const facts = readDescriptors(Buffer.concat([bytesOf(DEVICE), Buffer.from([9, 2]), bytes]));
        assert.ok(facts?.interfaces.every((triple) => /^[0-9a-f]{6}$/.test(triple)));
      }),
    );
  });
});
