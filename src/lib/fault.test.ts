import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault, reasonOf } from './fault.ts';

const detail = 'its file is not there';
const attachFailed = new Fault('usb.attach_failed', { device: 'virtual:1-1', vm: 'work', what: detail });

test('a sentence in a sentence ends once', () => {
  const timeout = new Fault('timeout', { what: 'The reply', seconds: 5 });
  const lost = new Fault('hypervisor.lost', { vm: 'work', what: timeout.message });
  assert.equal(lost.message, 'The connection to the hypervisor of VM work is lost: The reply took longer than 5 s.');
  const saveFailed = new Fault('vm.save_failed', { vm: 'work', file: '/f', what: 'Use another.' });
  assert.equal(saveFailed.message, 'VM work could not be saved to /f: Use another. It goes on running.');
  assert.equal(new Fault('usage', { what: 'and so on...' }).message, 'and so on...');
});

test('the reason of a fault is its sentence, or of the codes given only what it adds to it', () => {
  assert.equal(reasonOf(attachFailed), `The device virtual:1-1 could not be attached to VM work: ${detail}`);
  assert.equal(reasonOf(attachFailed, 'usb.attach_failed', 'usb.detach_failed'), detail);
  assert.equal(reasonOf(attachFailed, 'usb.detach_failed'), attachFailed.message.replace(/\.$/, ''));
  assert.equal(reasonOf(new Fault('vm.no_domain', { vm: 'work' }), 'vm.no_domain'), 'VM work does not run');
  assert.equal(reasonOf(new Error('no such thing.')), 'no such thing');
  assert.equal(reasonOf('plain'), 'plain');
});
