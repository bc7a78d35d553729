import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HostInput } from './host-inputs.ts';
import { MissedInputs } from './missed-inputs.ts';
import { stick } from './test-world.ts';

const silent = stick('dom0:1-1', { interfaces: ['030000'] });
const input = (busid: string, more: Partial<HostInput> = {}): HostInput => ({
  name: 'Keyboard',
  phys: '',
  kinds: ['keyboard'],
  bus: 'usb',
  busids: [busid],
  vendorId: '046d',
  isInhibited: false,
  isReady: true,
  ...more,
});

describe('input devices that the host misses', () => {
  test('what a device was to the host counts, for as long as it stays plugged', () => {
    const missed = new MissedInputs();
    assert.deepEqual(missed.missed(silent, []), [], 'it does not say that it is a keyboard');
    missed.note([silent], [input('1-1')]);
    missed.note([silent], []);
    assert.deepEqual(missed.missed(silent, []), ['keyboard']);
    assert.deepEqual(missed.missed(silent, [input('1-2')]), [], 'the host has another');
    assert.deepEqual(missed.missed(silent, [input('1-2', { isReady: false })]), ['keyboard'], 'no driver has it yet');
    assert.deepEqual(missed.missed(silent, [input('1-1', { isReady: false })]), [], 'the host has it itself');
    const anew = { ...silent, generation: 'g2' };
    missed.note([anew], []);
    assert.deepEqual(missed.missed(anew, []), []);
  });

  test("of what the host never had, what it says of itself counts; what is nobody's, never", () => {
    const plain = stick('dom0:1-1', { interfaces: ['030101', '030102'], untrustedProduct: 'Desk set' });
    assert.deepEqual(new MissedInputs().missed(plain, []), ['keyboard', 'pointer']);
    assert.deepEqual(new MissedInputs({ neverCounts: ['Desk*'] }).missed(plain, []), []);
    const noted = new MissedInputs({ neverCounts: ['usb-*'] });
    noted.note([plain], [input('1-1', { phys: 'usb-0000:00:14.0-1/input0' })]);
    assert.deepEqual(noted.missed(plain, []), []);
  });
});
