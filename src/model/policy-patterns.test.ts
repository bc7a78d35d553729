import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import {
  prefixBelow,
  type Reading,
  readBackendPattern,
  readHubPattern,
  readIdPattern,
  readLocationPattern,
  readNamePattern,
  readPortPattern,
  readSerialPattern,
  readSwitchPattern,
  wordReader,
} from './policy-patterns.ts';
import { formatDeviceId, USB_SPEEDS } from './usb.ts';

type Reader = (text: string) => Reading<string>;

const TABLE: Record<string, { reader: Reader; good: Record<string, string>; bad: Record<string, RegExp> }> = {
  id: {
    reader: readIdPattern,
    good: {
      '0951:1666': '0951:1666:*:*',
      '0951:*': '0951:*:*:*',
      '*:*:S1': '*:*:S1:*',
      '046D:C31C::030101': '046d:c31c::030101',
    },
    bad: { '': /no device id/, '0951': /no device id/, '951:1666': /no device id/, 'dom0:1-1': /no device id/ },
  },
  switches: {
    reader: readSwitchPattern,
    good: { '12d1:1f01': '12d1:1f01:*:*' },
    bad: { '12d1:*': /name vendor and product/, '*:*:S1': /name vendor and product/, x: /no device id/ },
  },
  serial: {
    reader: readSerialPattern,
    good: {
      '': '',
      'S*': 'S*',
      'a b': 'a%20b',
      'a%20b': 'a%20b',
      'a%2fb': 'a%2Fb',
      '50%': '50%25',
      '%41': 'A',
      é: '%C3%A9',
    },
    bad: {},
  },
  vendor: { reader: readNamePattern, good: { 'King*': 'King*' }, bad: { '': /not empty/, ['x'.repeat(127)]: /up to/ } },
  port: {
    reader: readPortPattern,
    good: {
      'dom0:3-1.4': 'dom0:3-1.4',
      '3-1': 'dom0:3-1',
      'host:3-*': 'dom0:3-*',
      '*:*': '*:*',
      'usbvm:1-1': 'usbvm:1-1',
    },
    bad: { usb3: /goes into "hub"/, 'dom0:': /no port/, ':3-1': /no port/, '3_1': /no port/, '*:3-1.x': /no port/ },
  },
  hub: {
    reader: readHubPattern,
    good: { usb3: 'dom0:usb3', '3-1': 'dom0:3-1', 'usbvm:1-1.2': 'usbvm:1-1.2', '*:usb12': '*:usb12' },
    bad: { '3-*': /no hub/, '3': /no hub/, usb: /no hub/, '*': /no hub/ },
  },
  location: {
    reader: readLocationPattern,
    good: {
      '0000:00:14.0/1.4': '0000:00:14.0/1.4',
      '0000:00:1D.0/1.*': '0000:00:1d.0/1.*',
      '0000:00:14.0': '0000:00:14.0/*',
      '*/1': '*/1',
      'dummy_hcd.0/1': 'dummy_hcd.0/1',
      '0000:00:0d.1+dwc3.1.auto/2': '0000:00:0d.1+dwc3.1.auto/2',
    },
    bad: { '1-1': /no place/, '/1': /no place/, '0000:00:14.0/': /no place/, 'a/b/c': /no place/ },
  },
  backend: {
    reader: readBackendPattern,
    good: { host: 'dom0', dom0: 'dom0', 'usb*': 'usb*', '*': '*' },
    bad: { '': /no backend/, '1x': /no backend/, 'a b': /no backend/ },
  },
  speed: {
    reader: wordReader(USB_SPEEDS),
    good: { high: 'high' },
    bad: { hgh: /Did you mean "high"\?/, xxxxxxxxx: /low, full, high, super/ },
  },
};

for (const [field, { reader, good, bad }] of Object.entries(TABLE)) {
  suite(`patterns of ${field}`, () => {
    for (const [text, value] of Object.entries(good)) {
      test(`"${text}" is ${value}`, () => {
        assert.deepEqual(reader(text), { value });
        assert.deepEqual(reader(value), { value }, 'what it gives it reads again');
      });
    }
    for (const [text, wrong] of Object.entries(bad)) {
      test(`"${text.slice(0, 20)}" is refused`, () => {
        const read = reader(text);
        assert.ok('wrong' in read);
        assert.match(read.wrong, wrong);
      });
    }
  });
}

test('what is refused is shown harmlessly', () => {
  for (const { reader } of Object.values(TABLE)) {
    const read = reader('\u001b[2J\u202e:/');
    if ('wrong' in read) assert.doesNotMatch(read.wrong, /[\p{Cc}\p{Cf}]/u);
  }
});

test('a serial is encoded as a device id encodes it', () => {
  for (const untrustedSerial of ['a b', 'é/%', '語', '%4', 'x:y']) {
    const id = formatDeviceId({ vendorId: '0951', productId: '1666', untrustedSerial, interfaces: [] });
    assert.deepEqual(readSerialPattern(untrustedSerial), { value: id.split(':')[2] });
  }
});

test('what is below a hub', () => {
  assert.deepEqual(['usb3', 'usb03', '3-1', '3-1.4'].map(prefixBelow), ['3-', '3-', '3-1.', '3-1.4.']);
});
