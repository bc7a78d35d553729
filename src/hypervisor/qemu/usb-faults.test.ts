import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault } from '../../lib/fault.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import { attachFault, detachFault } from './usb-faults.ts';

const subject = { vm: 'work', slot: { controller: 0, port: 3 }, device: { backend: 'virtual', busid: '1-2' } };

function translate(desc: string): Fault {
  return attachFault(new QmpError('device_add', 'GenericError', desc), subject);
}

test('QEMU’s sentences become faults', () => {
  const expected: [string, string, RegExp][] = [
    ["Duplicate device ID 'usb.0.3'", 'usb.attached', /virtual:1-2 is attached to VM work/],
    ['usb port 3 (bus usbctrl-0-v3-p8.0) not found (in use?)', 'usb.port_busy', /Port 0-3 of VM work/],
    [
      'failed to open /dev/bus/usb/001/002: No such file or directory',
      'usb.attach_failed',
      /node .*1\/002 is not there/,
    ],
    ['failed to open /dev/bus/usb/001/002: Permission denied', 'usb.attach_failed', /may not open .*1\/002/],
    ['failed to open host usb device /dev/bus/usb/001/002', 'usb.attach_failed', /could not take .*1\/002/],
    ["Could not open '/x': No such file or directory", 'usb.attach_failed', /its file is not there/],
    ['Failed to get "write" lock', 'usb.attach_failed', /in use by another VM/],
    ['Failed to get shared "write" lock', 'usb.attach_failed', /in use by another VM/],
    ["Could not open '/x': Permission denied", 'usb.attach_failed', /may not open/],
    ['Warning: speed mismatch trying to attach usb device "a" (high speed)', 'usb.attach_failed', /its speed/],
    ['device_add not allowed while migrating', 'usb.attach_failed', /being saved/],
  ];
  for (const [desc, code, message] of expected) {
    const fault = translate(desc);
    assert.equal(fault.code, code, desc);
    assert.match(fault.message, message);
  }
});

test('what QEMU says that we do not know is shown, harmless and short', () => {
  const { message } = translate(`\u001b[31mboo\n${'x'.repeat(9999)}`);
  assert.ok(message.length < 500);
  assert.ok(!message.includes('\u001b') && !message.includes('\n'));
});

test('nothing is said twice, and no sentence ends twice', () => {
  const { message } = detachFault(new Fault('timeout', { what: 'The reply', seconds: 5 }), subject);
  assert.equal(message, 'The device virtual:1-2 could not be detached from VM work: The reply took longer than 5 s.');
  assert.ok(translate("use the 'loader' device instead.").message.endsWith('device instead.'));
});

test('faults stay, a deadline of a detach is a detach that failed, and bugs stay bugs', () => {
  const lost = new Fault('hypervisor.lost', { vm: 'work', what: 'x' });
  assert.equal(attachFault(lost, subject), lost);
  assert.equal(detachFault(lost, subject), lost);
  assert.equal(detachFault(new Fault('timeout', { what: 'It', seconds: 10 }), subject).code, 'usb.detach_failed');
  assert.equal(detachFault(new QmpError('device_del', 'GenericError', 'no'), subject).code, 'usb.detach_failed');
  assert.throws(() => attachFault(new TypeError('bug'), subject), TypeError);
  assert.throws(() => detachFault(new TypeError('bug'), subject), TypeError);
});
