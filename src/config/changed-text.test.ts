import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalKey, changedText, withChange } from './changed-text.ts';

const TEXT = '# a VM\nmemory = 64\non_restart = destroy\ndisk = /a:file:hda:w:disk\nmemory = 128\n';

test('a value that is set replaces every line of that key, by whichever spelling, and the others keep their numbers', () => {
  const changes = withChange([], { key: 'on_reboot', value: 'preserve' });
  const lines = changedText(TEXT, withChange(changes, { key: 'memory', value: '256' })).split('\n');
  assert.deepEqual(lines, [
    '# a VM',
    '',
    '',
    'disk = /a:file:hda:w:disk',
    '',
    'on_reboot = preserve',
    'memory = 256',
    '',
  ]);
});

test('a line is added beside the others; an empty value takes the key out, or is a line of its own', () => {
  assert.match(changedText(TEXT, [{ key: 'disk', value: '/b:file:hdb:w:disk', isAdded: true }]), /hda(.|\n)*hdb/);
  assert.doesNotMatch(changedText(TEXT, [{ key: 'disk', value: '' }]), /disk =/);
  assert.match(changedText(TEXT, [{ key: 'serial', value: '', isAdded: true }]), /\nserial = \n$/);
  assert.equal(changedText(TEXT, []), TEXT);
});

test('what is set last counts, and ends what was added before', () => {
  const added = withChange([], { key: 'disk', value: '/b:file:hdb:w:disk', isAdded: true });
  assert.deepEqual(withChange(added, { key: 'disk', value: '' }), [{ key: 'disk', value: '' }]);
  const set = withChange(withChange([], { key: 'memory', value: '1' }), { key: 'memory', value: '2' });
  assert.deepEqual(set, [{ key: 'memory', value: '2' }]);
});

test('keys are known by all their spellings', () => {
  assert.equal(canonicalKey('on_restart'), 'on_reboot');
  assert.equal(canonicalKey('vif'), 'nic');
  assert.equal(canonicalKey('colour'), undefined);
  assert.equal(canonicalKey('__proto__'), undefined);
});
