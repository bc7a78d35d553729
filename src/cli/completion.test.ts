import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import type { Client } from '../api/client.ts';
import { isFault } from '../lib/fault.ts';
import type { CommandSpec } from './command.ts';
import { POLICY_COMMANDS } from './commands/policy.ts';
import { SYSTEM_COMMANDS } from './commands/system.ts';
import { USB_COMMANDS } from './commands/usb.ts';
import { VM_COMMANDS } from './commands/vm.ts';
import { COMPLETE, complete, completionScript, SHELLS } from './completion.ts';

const COMMANDS: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...POLICY_COMMANDS, ...SYSTEM_COMMANDS];

const ANSWERS: Readonly<Record<string, readonly object[]>> = {
  'vm.list': [{ name: 'work' }, { name: 'play' }],
  'usb.list': [{ device: 'virtual:1-1' }, { device: 'dom0:3-1.4' }],
  'usb.assignments': [{ id: 1 }, { id: 7 }],
};
const daemon = async () => ({ call: async (operation: string) => ANSWERS[operation] }) as unknown as Client;
const noDaemon = () => Promise.reject(new Error('nobody asks the daemon for this'));

const words = (line: string, ask: () => Promise<Client> = noDaemon) => complete(line.split(' '), COMMANDS, ask);

test('gives nouns, then their verbs', async () => {
  const nouns = await words('');
  for (const noun of ['vm', 'usb', 'audit', 'events', 'doctor']) assert.ok(nouns.includes(noun), noun);
  assert.equal(new Set(nouns).size, nouns.length);
  assert.deepEqual(await words('audit '), ['list', 'export', 'verify']);
  assert.ok((await words('vm st')).includes('start'));
});

test('gives names of VMs, devices and assignments as the daemon knows them', async () => {
  assert.deepEqual(await words('vm start ', daemon), ['work', 'play']);
  assert.deepEqual(await words('vm resume w', daemon), ['work', 'play'], 'an alias is a verb');
  assert.deepEqual(await words('usb attach work ', daemon), ['virtual:1-1', 'dom0:3-1.4']);
  assert.deepEqual(await words('usb attach --port 0-1 work ', daemon), ['virtual:1-1', 'dom0:3-1.4']);
  assert.deepEqual(await words('usb unassign ', daemon), ['1', '7']);
});

test('gives options, and what they take', async () => {
  assert.ok((await words('usb plug --')).includes('--kind'));
  assert.ok((await words('usb plug --kind ')).includes('storage'));
  assert.deepEqual(await words('usb plug --file '), ['__files']);
  assert.deepEqual(await words('vm set work --autostart '), ['yes', 'no']);
});

test('asks for files where a file is meant, and gives nothing for what it does not know', async () => {
  assert.deepEqual(await words('vm create '), ['__files']);
  assert.deepEqual(await words('completion '), [...SHELLS]);
  assert.deepEqual(await words('vm nonsense '), []);
  assert.deepEqual(await words('nonsense '), []);
  assert.deepEqual(await words('usb list '), []);
});

test('there is a script for each shell, and a fault for others', () => {
  for (const shell of SHELLS) {
    for (const program of ['usher', 'qvm-usb', 'auto-usb-attach']) {
      assert.match(completionScript(shell), new RegExp(`${program} ${COMPLETE}`));
    }
  }
  assert.throws(
    () => completionScript('tcsh'),
    (thrown) => isFault(thrown, 'usage') && thrown.message.includes('bash'),
  );
});

for (const shell of SHELLS) {
  const isHere = spawnSync(shell, ['-c', 'true']).status === 0;
  test(`the script of ${shell} is one that ${shell} reads`, { skip: !isHere && `no ${shell} here` }, () => {
    const { status, stderr } = spawnSync(shell, ['-n'], { input: completionScript(shell), encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });
}

test('bash completes a word out of what usher answers, also with a colon in it', () => {
  const script = `${completionScript('bash')}
usher() { local IFS=' '; [ "$*" = '${COMPLETE} usb detach virtual:1' ] && printf 'virtual:1-1\\nvirtual:1-2\\ndom0:3-1\\n'; }
COMP_WORDS=(usher usb detach virtual:1) COMP_CWORD=3
_usher
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' });
  assert.deepEqual(stdout.trim().split('\n'), ['virtual:1-1', 'virtual:1-2'], stderr);
});
