import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { chooseAccelerator } from './accel.ts';

const CAPABLE = 'processor\t: 0\nflags\t\t: fpu vmx sse\n';
const PLAIN = 'processor\t: 0\nflags\t\t: fpu sse novmxhere\n';

test('KVM is chosen only when the device opens and the processor can', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-accel-'));
  const [kvm, cpuinfo, missing] = ['kvm', 'cpuinfo', 'missing'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  try {
    await writeFile(kvm, '');
    await writeFile(cpuinfo, CAPABLE);
    assert.equal((await chooseAccelerator({ kvm, cpuinfo })).name, 'kvm');
    assert.equal((await chooseAccelerator({ wish: 'tcg', kvm, cpuinfo })).name, 'tcg');
    const withoutDevice = await chooseAccelerator({ kvm: missing, cpuinfo });
    assert.equal(withoutDevice.name, 'tcg');
    assert.match(withoutDevice.advice ?? '', /kvm_intel/);
    await writeFile(cpuinfo, PLAIN);
    assert.match((await chooseAccelerator({ kvm, cpuinfo })).why, /neither vmx nor svm/);
    assert.equal((await chooseAccelerator({ kvm, cpuinfo: missing })).name, 'tcg');
    if (process.getuid?.() === 0) return; // Root opens everything.
    await writeFile(cpuinfo, CAPABLE);
    await chmod(kvm, 0);
    assert.match((await chooseAccelerator({ kvm, cpuinfo })).advice ?? '', /group kvm/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
