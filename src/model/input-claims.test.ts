import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claimedInputs } from './input-claims.ts';

test('one interface is enough, and open HID is taken for both', () => {
  for (const [interfaces, certain, possible] of [
    [['030101'], ['keyboard'], []],
    [['030102'], ['pointer'], []],
    [['030101', '030102'], ['keyboard', 'pointer'], []],
    [['080650', '030101'], ['keyboard'], []],
    [['030000'], [], ['keyboard', 'pointer']],
    [['030100'], [], ['keyboard', 'pointer']],
    // Without the boot subclass the protocol means nothing.
    [['030001'], [], ['keyboard', 'pointer']],
    [['030102', '030000'], ['pointer'], ['keyboard']],
    [['080650', '030000'], [], ['keyboard', 'pointer']],
    [['080650', 'ff0301', '090000'], [], []],
    [[], [], []],
  ] as const)
    assert.deepEqual(claimedInputs(interfaces), { certain, possible }, interfaces.join());
});
