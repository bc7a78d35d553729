import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../lib/fault.ts';
import {
  formatDevicePattern,
  isExactPlace,
  matchDevice,
  parseDevicePattern,
  placeOf,
  rankPattern,
} from './assignment.ts';
import { formatDeviceId, type UsbDevice } from './usb.ts';

const identity = { vendorId: '0951', productId: '1666', untrustedSerial: 'S1', interfaces: ['080650'] };
const device: UsbDevice = {
  ...identity,
  backend: 'dom0',
  busid: '3-1.4',
  deviceId: formatDeviceId(identity),
  speed: 'high',
  generation: 'g1',
};

suite('parseDevicePattern', () => {
  test('by port, by device id, by both', () => {
    assert.deepEqual(parseDevicePattern('virtual:1-*'), { port: { backend: 'virtual', busid: '1-*' } });
    assert.deepEqual(parseDevicePattern('host:3-1.4'), { port: { backend: 'dom0', busid: '3-1.4' } });
    assert.deepEqual(parseDevicePattern('*:*'), { port: { backend: '*', busid: '*' } });
    assert.deepEqual(parseDevicePattern('0951:1666'), { deviceId: '0951:1666:*:*' });
    assert.deepEqual(parseDevicePattern('0951:*'), { deviceId: '0951:*:*:*' });
    assert.deepEqual(parseDevicePattern('046D:C31C::030101'), { deviceId: '046d:c31c::030101' });
    assert.deepEqual(parseDevicePattern('dom0:3-*:0951:1666:S1'), {
      port: { backend: 'dom0', busid: '3-*' },
      deviceId: '0951:1666:S1:*',
    });
  });

  test('by location: the slash tells it from all others, and colons before it are of the controller', () => {
    const location = { backend: 'dom0', place: '0000:00:14.0/1.4' };
    assert.deepEqual(parseDevicePattern('host:0000:00:14.0/1.4'), { location });
    assert.deepEqual(parseDevicePattern('dom0:0000:00:14.0/1.4:0951:1666:S1'), {
      location,
      deviceId: '0951:1666:S1:*',
    });
    assert.deepEqual(parseDevicePattern('*:0000:00:1D.0/*'), { location: { backend: '*', place: '0000:00:1d.0/*' } });
    const named = { backend: 'dom0', place: 'pnp0d10:00/ss2.1' };
    assert.deepEqual(parseDevicePattern('dom0:PNP0D10:00/ss2.1'), { location: named });
    const brought = { backend: 'dom0', place: '0000:00:0d.1+dwc3.1.auto/2' };
    assert.deepEqual(parseDevicePattern('dom0:0000:00:0d.1+dwc3.1.auto/2'), { location: brought });
  });

  test('a location that cannot be is refused, and it is said how it is written', () => {
    const bad = {
      '0000:00:14.0/1.4': /a location is backend:controller\/ports, such as dom0:0000:00:14\.0\/1\.4/,
      'dom0:0000:00:14.0/': /a location is/,
      'dom0:/1.4': /a location is/,
      'dom0:a/b/c': /a location is/,
      'dom0:0000:00:14.0/1 4': /a location is/,
      'dom0:0000:00:14.0/1.4:': /a device id is/,
      'dom0:0000:00:14.0/1.4:0951:1666:S/1': /a device id is/,
      'dom0:0000:00:14.0': /give a port .*, a location/,
      'virtual:0000:00:14.0/1': /software devices have no location.*: name the port, as virtual:1-2/,
      'dom0:\u001b[2J/1': /a location is/,
    };
    for (const [text, says] of Object.entries(bad)) {
      assert.throws(
        () => parseDevicePattern(text),
        (error) => {
          assert.ok(isFault(error, 'usb.device_invalid'), text);
          assert.match(error.message, says, text);
          assert.doesNotMatch(error.message, /\p{Cc}/u);
          return true;
        },
      );
    }
  });

  test('what it prints it parses again', () => {
    const field = (...choices: string[]) => fc.constantFrom(...choices, '*');
    const port = fc
      .tuple(field('dom0', 'virtual', 'usb-vm.1'), field('1-1', '3-1.4', '1-*', '*.4'))
      .map((parts) => parts.join(':'));
    const id = fc.tuple(
      fc.constantFrom('0951', 'beef'),
      field('1666'),
      field('S1', '', 'a%20b', 'S*'),
      field('080650', '08*.03*'),
    );
    const location = fc
      .tuple(
        field('dom0', 'usb-vm.1'),
        fc.constantFrom('0000:00:14.0', '10000:e1:00.0', '0000:00:0d.1+dwc3.1.auto', 'fe980000.usb', '0000:*', '*'),
        field('1', '1.4', '1.*', 'ss2.3'),
      )
      .map(([backend, controller, ports]) => `${backend}:${controller}/${ports}`);
    const both = fc.tuple(fc.oneof(port, location), id).map(([one, other]) => `${one}:${other.join(':')}`);
    fc.assert(
      fc.property(
        fc.oneof(
          port,
          location,
          id.map((parts) => parts.join(':')),
          both,
        ),
        (text) => {
          const pattern = parseDevicePattern(text);
          assert.equal(formatDevicePattern(pattern), text);
          assert.deepEqual(parseDevicePattern(formatDevicePattern(pattern)), pattern);
        },
      ),
    );
  });

  test('what makes no sense is refused, harmlessly', () => {
    const bad = [
      '',
      ':',
      'dom0',
      'dom0:',
      'dom0:usb1',
      '1-1',
      '095:1666',
      'dom0:1-1:095:1666',
      '0951:1666:a b',
      '0951:1666:S:08:x',
    ];
    for (const text of [...bad, 'dom0:1-1:', '\u001b[2J:1-1', '/etc:1-1', `0951:1666:${'x'.repeat(1_300)}`]) {
      assert.throws(
        () => parseDevicePattern(text),
        (error) => {
          assert.ok(isFault(error, 'usb.device_invalid'), text);
          assert.doesNotMatch(error.message, /\p{Cc}/u);
          return true;
        },
      );
    }
  });

  test('the longest device id there can be is accepted', () => {
    const id = formatDeviceId({ ...identity, untrustedSerial: '語'.repeat(126), interfaces: Array(32).fill('080650') });
    assert.deepEqual(parseDevicePattern(id), { deviceId: id });
  });
});

suite('matchDevice', () => {
  const matches = (pattern: string) => matchDevice(parseDevicePattern(pattern), device);

  test('by what it says, and how far to trust it', () => {
    assert.deepEqual([matches('dom0:3-1.4')?.by, matches('dom0:3-1.4')?.trust], ['port', 'trusted']);
    assert.deepEqual([matches('0951:1666')?.by, matches('0951:1666')?.trust], ['device id', 'claimed']);
    assert.equal(matches('dom0:3-*:0951:1666:S1:080650')?.by, 'port and device id');
    for (const pattern of [
      '*:*',
      '*:3-1.4',
      'dom0:*',
      'dom0:3-*',
      'dom0:*.4',
      '0951:*',
      '0951:1666:S*',
      '0951:1666:*:08*',
    ]) {
      assert.ok(matches(pattern), pattern);
    }
    for (const pattern of [
      'virtual:3-1.4',
      'dom0:3-1',
      'dom0:3-1.44',
      'dom0:*5',
      '0951:1667',
      '0951:1666::',
      '0951:1666:S1*1',
      'dom0:3-1.4:0952:*',
    ]) {
      assert.equal(matches(pattern), undefined, pattern);
    }
  });

  test('by location, whatever the bus is called', () => {
    const there = { ...device, location: '0000:00:1A.0/1.4' };
    const by = (pattern: string, one: UsbDevice = there) => matchDevice(parseDevicePattern(pattern), one);
    assert.deepEqual([by('dom0:0000:00:1a.0/1.4')?.by, by('dom0:0000:00:1a.0/1.4')?.trust], ['location', 'trusted']);
    assert.equal(by('dom0:0000:00:1a.0/1.4:0951:1666')?.by, 'location and device id');
    assert.ok(by('dom0:0000:00:1a.0/1.4', { ...there, busid: '7-1.4' }));
    for (const pattern of [
      '*:0000:00:1a.0/1.4',
      'dom0:0000:00:1a.0/*',
      'dom0:*/1.*',
      '*:*/*',
      'dom0:0000:00:1A.0/1.4',
    ]) {
      assert.ok(by(pattern), pattern);
    }
    for (const pattern of [
      'usbvm:0000:00:1a.0/1.4',
      'dom0:0000:00:1a.0/1',
      'dom0:0000:00:1a.0/1.44',
      'dom0:0000:00:1a.1/1.4',
      'dom0:0000:00:1a.0/1.4:0952:*',
    ]) {
      assert.equal(by(pattern), undefined, pattern);
    }
    assert.equal(by('*:*/*', device), undefined, 'where the backend tells no location');
  });

  test('a star matches within its field only, and stars cost no time', () => {
    assert.equal(matchDevice({ deviceId: '0951:*:080650:*' }, device), undefined);
    const long = { ...device, deviceId: `0951:1666:${'a'.repeat(1_000)}:080650` };
    const start = performance.now();
    assert.equal(matchDevice({ deviceId: `0951:1666:${'*a'.repeat(200)}*b:*` }, long), undefined);
    assert.ok(performance.now() - start < 10_000, 'it goes back and forth for ever');
  });
});

test('placeOf names the location where there is one that can be written, else the port', () => {
  const port = { port: { backend: 'dom0', busid: '3-1.4' } };
  assert.deepEqual(placeOf(device), port);
  assert.deepEqual(placeOf({ ...device, location: 'odd name/1' }), port);
  const place = placeOf({ ...device, location: 'PNP0D10:00/1.4' });
  assert.deepEqual(place, { location: { backend: 'dom0', place: 'pnp0d10:00/1.4' } });
  assert.deepEqual(parseDevicePattern(formatDevicePattern(place)), place);
});

test('one port or one location is an exact place, an id is none', () => {
  const isExact = (text: string) => isExactPlace(parseDevicePattern(text));
  for (const text of ['dom0:3-1', 'dom0:0000:00:14.0/1', 'dom0:0000:00:14.0/1:0951:*']) assert.ok(isExact(text), text);
  for (const text of ['*:3-1', 'dom0:3-*', '*:0000:00:14.0/1', 'dom0:0000:00:14.0/*', '0951:1666:S1:080650']) {
    assert.ok(!isExact(text), text);
  }
});

test('rankPattern: port and id before port before id, and the fewer stars the higher', () => {
  const order = [
    '0951:*',
    '0951:1666',
    '0951:1666:S*',
    '0951:1666:S1',
    '0951:1666:S1:080650',
    'dom0:*',
    'dom0:1-*',
    'dom0:1-1',
    'dom0:1-*:0951:*',
    'dom0:1-1:0951:1666',
    'dom0:1-1:0951:1666:S1:080650',
  ];
  const ranks = order.map((text) => rankPattern(parseDevicePattern(text)));
  assert.deepEqual(
    ranks,
    [...new Set(ranks)].sort((a, b) => a - b),
  );
  const rank = (text: string) => rankPattern(parseDevicePattern(text));
  for (const [port, location] of [
    ['*:*', '*:*/*'],
    ['dom0:*', 'dom0:*/*'],
    ['dom0:1-*', 'dom0:0000:00:14.0/1.*'],
    ['dom0:1-1', 'dom0:0000:00:14.0/1'],
    ['dom0:1-*:0951:*', 'dom0:0000:00:14.0/1.*:0951:*'],
    ['dom0:1-1:0951:1666', 'dom0:0000:00:14.0/1:0951:1666'],
  ] as const) {
    assert.equal(rank(location), rank(port), 'a location says as much as a port');
  }
  assert.equal(rankPattern(parseDevicePattern('*:*')), 0);
  assert.equal(rankPattern(parseDevicePattern('*:*:0951:1666')), rankPattern(parseDevicePattern('0951:1666')));
});
