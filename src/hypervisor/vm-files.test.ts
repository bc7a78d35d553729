import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeConfig } from '../config/xenvm-file.ts';
import { isFault } from '../lib/fault.ts';
import type { DiskConfig } from '../model/vm.ts';
import { checkVmFiles } from './vm-files.ts';

test('a file that is not there, and an encrypted disk, are sentences', async () => {
  const disk: DiskConfig = { path: import.meta.filename, format: 'raw', target: 'hda', isReadOnly: true, kind: 'disk' };
  const config = completeConfig({ disks: [disk] }, { name: 'work' });
  const refused = (what: RegExp) => (error: unknown) => isFault(error, 'vm.start_failed') && what.test(error.message);
  await checkVmFiles(config);
  await assert.rejects(checkVmFiles({ ...config, kernel: '/nowhere' }), refused(/the file \/nowhere is not there/));
  const encryption = { cipher: 'aes-xts-plain64', keyBits: 256, keyFile: '/k' };
  await assert.rejects(checkVmFiles({ ...config, disks: [{ ...disk, encryption }] }), refused(/hda is encrypted/));
});
