import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMonitor, isSaveOf } from './xl-processes.ts';

const process = (...words: string[]) => ({ pid: 1, words });

test('an xl that saves or migrates a domain is known by its domid and by its name', () => {
  const domain = { domid: 5, name: 'work' };
  for (const words of [
    ['save', '5', '/x'],
    ['save', '-c', 'work', '/x'],
    ['save', '-p', '5', '/dev/fd/3'],
    ['migrate', '-s', 'ssh -p 22', 'work', 'there'],
  ]) {
    assert.ok(isSaveOf(process(...words), domain), words.join(' '));
  }
  for (const words of [['save', '50', '5'], ['save', 'home', 'work'], ['pause', '5'], ['migrate', '6', 'there'], []]) {
    assert.ok(!isSaveOf(process(...words), domain), words.join(' '));
  }
});

test('an xl stays with its domain unless it is told not to', () => {
  assert.ok(isMonitor(process('create', '/x.cfg')));
  assert.ok(isMonitor(process('restore', '-p', '/x')));
  assert.ok(!isMonitor(process('create', '-e', '/x.cfg')));
  assert.ok(!isMonitor(process('create', '-pe', '/x.cfg')));
});
