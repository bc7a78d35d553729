import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeConfig } from '../../config/xenvm-file.ts';
import { isFault } from '../../lib/fault.ts';
import { openedFake } from '../../wire/qmp/testing.ts';
import { beginWithMemory, setMemoryTarget } from './balloon.ts';

const MIB = 1024 * 1024;

test('a guest without a balloon, and a wish for more than the machine has, are refused with advice', async () => {
  const { qemu, session } = await openedFake();
  const refused = (what: RegExp, hint: RegExp) => (error: unknown) =>
    isFault(error, 'vm.unsupported') && what.test(error.message) && hint.test(error.hint ?? '');
  const without = assert.rejects(
    setMemoryTarget(session, 'work', 64, {}),
    refused(/^"memory" cannot be done to VM work: its QEMU has no balloon\.$/, /Shut it down and start it/),
  );
  const { id } = await qemu.next();
  qemu.say({ id, error: { class: 'DeviceNotActive', desc: 'No balloon device has been activated' } });
  await without;

  const tooMuch = assert.rejects(
    setMemoryTarget(session, 'work', 257, {}),
    refused(/it was started with 256 MiB at most/, /Raise "memory-max"/),
  );
  qemu.say({ id: (await qemu.next()).id, return: { actual: 256 * MIB } });
  qemu.say({ id: (await qemu.next()).id, return: { 'base-memory': 256 * MIB, 'plugged-memory': 0 } });
  await tooMuch;
  assert.equal(session.inFlight, 0, 'nothing was told to the guest');
});

test('a guest that was started with more than its memory is told what it has', async () => {
  const { qemu, session } = await openedFake();
  const config = completeConfig({ memoryMiB: 128 }, { name: 'work' });
  await beginWithMemory(session, config, {});
  await beginWithMemory(session, { ...config, memoryMaxMiB: 64 }, {});
  const told = beginWithMemory(session, { ...config, memoryMaxMiB: 512 }, {});
  const { execute, arguments: args, id } = await qemu.next();
  assert.deepEqual([execute, args], ['balloon', { value: 128 * MIB }]);
  qemu.say({ id, return: {} });
  await told;
});
