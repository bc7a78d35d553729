import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, suite, test } from 'node:test';
import { ModelProcesses } from './device-model.ts';

let root = '';
let processes = new ModelProcesses();

const ARGV = ['/usr/libexec/qemu', '-xen-domid', '5', '-name', 'a b'];

function run(pid: number, argv: readonly string[], { state = 'S', ticks = pid } = {}): void {
  const folder = join(root, String(pid));
  mkdirSync(join(folder, 'fd'), { recursive: true });
  writeFileSync(join(folder, 'cmdline'), argv.map((word) => `${word}\0`).join(''));
  writeFileSync(join(folder, 'stat'), `${pid} (q) (x) ${state} ${'0 '.repeat(18)}${ticks} 0`);
}

suite('device models in /proc', () => {
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'usher-proc-'));
    processes = new ModelProcesses(root);
  });
  afterEach(() => rmSync(root, { recursive: true }));

  test('the noted number counts when its command line names the domain', () => {
    run(10, ARGV);
    assert.deepEqual(processes.find(5, 10), { pid: 10, startTicks: '10' });
    run(11, ['sleep', '1000']);
    run(12, ['/usr/libexec/qemu', '-xen-domid', '55']);
    assert.equal(processes.find(5, 11)?.pid, 10, 'another process has the number by now');
    assert.equal(processes.find(6, 12), undefined);
    assert.equal(processes.find(5, undefined)?.pid, 10);
  });

  test('a zombie is none, and a number that is used again is another process', () => {
    run(10, ARGV);
    const process = processes.find(5, 10);
    assert.ok(process && processes.isAlive(process));
    run(10, ARGV, { ticks: 99 });
    assert.equal(processes.isAlive(process), false);
    run(10, ARGV, { state: 'Z' });
    assert.equal(processes.find(5, 10), undefined);
    rmSync(join(root, '10'), { recursive: true });
    assert.equal(processes.isAlive(process), false);
  });

  test('what it has open', () => {
    run(10, ARGV);
    symlinkSync('/dev/bus/usb/001/007', join(root, '10/fd/37'));
    const process = { pid: 10, startTicks: '10' };
    assert.equal(processes.holds(process, '/dev/bus/usb/001/007'), true);
    assert.equal(processes.holds(process, '/dev/bus/usb/001/008'), false);
    assert.equal(processes.holds({ pid: 11, startTicks: '' }, '/dev/bus/usb/001/007'), false);
  });

  test('how it was started, with its log', () => {
    run(10, ARGV);
    assert.deepEqual(processes.originOf({ pid: 10, startTicks: '10' }), { argv: ARGV });
    symlinkSync('/var/log/xen/qemu-dm-a.log', join(root, '10/fd/1'));
    assert.deepEqual(processes.originOf({ pid: 10, startTicks: '10' }), {
      argv: ARGV,
      log: '/var/log/xen/qemu-dm-a.log',
    });
    run(11, ['qemu', '-xen-domid', '5']);
    assert.equal(processes.originOf({ pid: 11, startTicks: '11' }), undefined, 'it could be any program of that name');
  });
});
