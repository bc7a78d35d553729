import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../../lib/fault.ts';
import { newUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import { populationConfig } from './population.ts';
import { formatSaveFile, parseSaveFile } from './save-file.ts';

const config = populationConfig(0);
const memory = { uuid: config.uuid, bootId: 'a', ranMs: 7 };
const saved = { memory, disks: [{ target: 'vda', stamp: '1.2' }] };
const text = formatSaveFile(saved, config, 1);

function refusal(untrustedText: string, changes: Partial<VmConfig> = {}): string {
  try {
    parseSaveFile(untrustedText, '/x', { ...config, ...changes });
  } catch (error) {
    assert.ok(isFault(error, 'vm.save_invalid'), String(error));
    return error.message;
  }
  return assert.fail('it was accepted');
}

test('a whole file is read back', () => {
  assert.deepEqual(parseSaveFile(text, '/x', config), saved);
});

test('a file of another VM, of this one as it was, of another version, or a damaged one is refused', () => {
  assert.match(refusal(text, { uuid: newUuid() }), /the save of another VM/);
  assert.match(refusal(text, { memoryMiB: 12_345 }), /saved with memory/);
  assert.match(refusal(text.replace('"version":2', '"version":1')), /another version/);
  assert.match(refusal(text.replace('"ranMs":7', '"ranMs":8')), /checksum is wrong/);
  assert.match(refusal(text.slice(0, -5)), /not a whole save file/);
  assert.match(refusal('null'), /not a whole save file/);
});
