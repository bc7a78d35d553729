import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { udevName } from './udev-name.ts';
import type { UsbDevice } from './usb.ts';

function nameOf(untrustedManufacturer?: string, untrustedProduct?: string, untrustedSerial?: string): string {
  return udevName({
    ...{ backend: 'dom0', busid: '1-1', deviceId: '', vendorId: '0718', productId: '061a' },
    ...{ speed: 'high', interfaces: [], generation: 'g' },
    ...(untrustedManufacturer === undefined ? {} : { untrustedManufacturer }),
    ...(untrustedProduct === undefined ? {} : { untrustedProduct }),
    ...(untrustedSerial === undefined ? {} : { untrustedSerial }),
  } satisfies UsbDevice);
}

test('manufacturer, product and serial, with _ for spaces', () => {
  assert.equal(nameOf('TDKMedia', 'Trans-It Drive', '070326AE8AF92D95'), 'TDKMedia_Trans-It_Drive_070326AE8AF92D95');
  assert.equal(nameOf('ASUS', '802.11g WLAN Drive'), 'ASUS_802.11g_WLAN_Drive');
  assert.equal(nameOf('  Generic  ', 'USB\t Storage '), 'Generic_USB_Storage');
});

test('numbers stand in for what the device does not say', () => {
  assert.equal(nameOf(), '0718_061a');
  assert.equal(nameOf('', '  ', ''), '0718_061a');
});

test('odd characters become _, and a serial number with odd ones is none', () => {
  assert.equal(nameOf('A&B', 'x/y(z)', 'S:1'), 'A_B_x_y_z__S:1');
  assert.equal(nameOf('V', 'P', 'a,b'), 'V_P');
  assert.equal(nameOf('V', 'P', 'a\nb'), 'V_P');
  assert.equal(nameOf('Größe', '日本'), 'Gr__e___');
});

test('whatever a device says, the name is one word of ASCII of limited length', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'binary' }),
      fc.string(),
      (vendor, product, serial) => {
        const name = nameOf(vendor, product, serial);
        assert.match(name, /^[A-Za-z0-9#+\-.:=@_]{3,390}$/);
      },
    ),
  );
});
