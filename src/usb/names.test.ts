import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { UsbNames } from './names.ts';
import { stick } from './test-world.ts';

const IDS = `#
# List of USB ID's
0403  Future Technology Devices International, Ltd
\t6001  FT232 Serial (UART) IC
\t\t01  an interface
# a comment
\t6010  FT2232C
0951  Kingston Technology
\t1665  Digital DataTraveler
\t1666  DataTraveler 100 G3
1666  Somebody else
`;

suite('UsbNames', () => {
  const folder = mkdtempSync(join(tmpdir(), 'usher-names-'));
  const path = join(folder, 'usb.ids');
  writeFileSync(path, IDS);
  after(() => rmSync(folder, { recursive: true }));
  const names = new UsbNames(['/nonexistent', path]);
  const device = (more: object) => ({ ...stick('dom0:1-1'), ...more });

  test('what the device says goes before what the list says', () => {
    const said = device({ untrustedManufacturer: 'Kingston', untrustedProduct: 'DataTraveler' });
    assert.equal(names.describe(said), 'Kingston DataTraveler');
    const twice = device({ untrustedManufacturer: 'QEMU', untrustedProduct: 'QEMU USB HARDDRIVE' });
    assert.equal(names.describe(twice), 'QEMU USB HARDDRIVE');
    assert.equal(names.describe(device({ untrustedProduct: 'Stick' })), 'Kingston Technology Stick');
  });

  test('the list knows vendors and products', () => {
    assert.equal(names.describe(device({})), 'Kingston Technology DataTraveler 100 G3');
    const serial = device({ vendorId: '0403', productId: '6010' });
    assert.equal(names.describe(serial), 'Future Technology Devices International, Ltd FT2232C');
    assert.equal(
      names.describe(device({ productId: '6001' })),
      'Kingston Technology device 0951:6001',
      'of its own vendor',
    );
    assert.equal(names.describe(device({ vendorId: '1666', productId: '0001' })), 'Somebody else device 1666:0001');
    assert.equal(names.describe(device({ vendorId: 'ffff', productId: '0001' })), 'device ffff:0001');
  });

  test('without a list there are numbers', () => {
    assert.equal(new UsbNames([]).describe(device({})), 'device 0951:1666');
  });

  test('hostile strings do no harm', () => {
    const evil = device({ untrustedManufacturer: 'a\u001b[2J\u202eb', untrustedProduct: `\n${'x'.repeat(126)}` });
    const shown = names.describe(evil);
    assert.doesNotMatch(shown, /[\p{Cc}\p{Cf}]/u);
    assert.ok(shown.length < 260);
  });
});
