import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseShowDepends, withoutSignature } from './modules.ts';

test('modules are listed once, in loading order, without builtin ones', () => {
  const text = 'insmod /k/a.ko \nbuiltin ext2\ninsmod /k/b.ko delay_use=0\ninsmod /k/a.ko \n';
  assert.deepEqual(parseShowDepends(text), ['/k/a.ko', '/k/b.ko']);
});

test('a signature is cut off a module, and nothing off one without', () => {
  const module = Buffer.from('\x7fELF and so on');
  const header = Buffer.alloc(12);
  header.writeUInt32BE(7, 8);
  const signed = Buffer.concat([module, Buffer.from('PKCS#7!'), header, Buffer.from('~Module signature appended~\n')]);
  assert.deepEqual(withoutSignature(signed), module);
  assert.deepEqual(withoutSignature(module), module);
});
