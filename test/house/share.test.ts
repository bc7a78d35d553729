/** Holds what is put into the host's folders to what the code says: the udev rule, the users and groups, the package. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ADMIN_GROUP, READERS_GROUP } from '../../src/app/access.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

/** What udev knows of a device where the rule is applied (udev(7)): ID_USB_INTERFACES comes from its builtin usb_id. */
interface UdevDevice {
  readonly ACTION: string;
  readonly SUBSYSTEM: string;
  readonly DEVPATH: string;
  readonly ENV: Readonly<Record<string, string>>;
  readonly ATTR: Readonly<Record<string, string>>;
}

const device = (interfaces: string, more: Partial<UdevDevice> = {}): UdevDevice => ({
  ACTION: 'add',
  SUBSYSTEM: 'usb',
  DEVPATH: '/devices/pci0000:00/0000:00:14.0/usb1/1-2',
  ENV: { DEVTYPE: 'usb_device', ID_USB_INTERFACES: interfaces },
  ATTR: { bDeviceClass: '00' },
  ...more,
});

/** Applies the rules as udev does: lines in their order, GOTO to a label further down; gives what was assigned. */
function apply(rules: string, one: UdevDevice): Readonly<Record<string, string>> {
  const assigned: Record<string, string> = {};
  let label: string | undefined;
  for (const line of rules.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const parts = [...line.matchAll(/([A-Z]+)(?:\{(\w+)\})?(==|!=|=)"([^"]*)"(?:, |$)/g)];
    assert.equal(parts.map(([text]) => text).join(''), line, 'a part was not understood');
    if (label !== undefined) {
      if (parts[0]?.[1] === 'LABEL' && parts[0][4] === label) label = undefined;
      continue;
    }
    const isMatch = parts.every(([, key = '', name, operator, pattern = '']) => {
      if (operator === '=') return true;
      const value = (one as unknown as Record<string, unknown>)[key];
      const text = name === undefined ? value : (value as Record<string, string> | undefined)?.[name];
      const regexp = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`);
      return regexp.test(String(text ?? '')) === (operator === '==');
    });
    if (!isMatch) continue;
    for (const [, key = '', , operator, value = ''] of parts) {
      if (operator !== '=' || key === 'LABEL') continue;
      if (key === 'GOTO') label = value;
      else assigned[key] = value;
    }
  }
  assert.equal(label, undefined, 'a label is missing');
  return assigned;
}

const RULES = read('share/udev/60-usher.rules');

test('the udev rule gives the daemon’s group what may be given away, and keeps back what may not', () => {
  const given = { GROUP: 'usher-usb', MODE: '0664' };
  for (const interfaces of [
    ':080650:',
    ':010100:010200:',
    ':ff0000:',
    ':0e0100:0e0200:',
    ':020600:0a0000:',
    ':0b0000:',
  ]) {
    assert.deepEqual(apply(RULES, device(interfaces)), given, interfaces);
    assert.deepEqual(apply(RULES, device(interfaces, { ACTION: 'change' })), given);
  }
  for (const [why, one] of [
    ['a keyboard', device(':030101:030000:')],
    ['a keyboard that is a stick, too', device(':080650:030101:')],
    ['an input device that does not say which', device(':030000:')],
    ['a printer', device(':070102:')],
    ['a hub', device(':090000:', { ATTR: { bDeviceClass: '09' } })],
    ['a hub by its interface', device(':090000:')],
    ['a device over the network', device(':080650:', { DEVPATH: '/devices/platform/vhci_hcd.0/usb5/5-1' })],
    ['a device of a PVUSB frontend', device(':080650:', { DEVPATH: '/devices/vusb-0/usb2/2-1' })],
    ['an interface', device(':080650:', { ENV: { DEVTYPE: 'usb_interface' } })],
    ['no USB device', device('', { SUBSYSTEM: 'block' })],
    ['a device that leaves', device(':080650:', { ACTION: 'remove' })],
  ] as const) {
    assert.deepEqual(apply(RULES, one), {}, why);
  }
});

test('readers and admins get nothing by the rule: they would need no daemon', () => {
  for (const group of [READERS_GROUP, ADMIN_GROUP]) assert.ok(!RULES.includes(`GROUP="${group}"`));
});

test('the users and groups that the code knows are made', () => {
  const lines = read('share/sysusers.d/usher.conf')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(/\s+/).slice(0, 3));
  for (const group of [READERS_GROUP, ADMIN_GROUP, 'usher-usb']) {
    assert.ok(
      lines.some(([type, name]) => type === 'g' && name === group),
      group,
    );
  }
  assert.ok(lines.some(([type, name]) => type === 'u' && name === READERS_GROUP));
  assert.ok(lines.some(([type, name, group]) => type === 'm' && name === READERS_GROUP && group === 'usher-usb'));
});

test('the package has what the service installs', () => {
  const { files } = JSON.parse(read('package.json')) as { files: string[] };
  assert.ok(files.includes('share'));
  for (const [, path = ''] of read('src/cli/service.ts').matchAll(/join\(share, '([^']+)'\)/g)) {
    assert.ok(existsSync(join(ROOT, 'share', path)), path);
  }
});
