/** What is read out of replies, and what is refused as no reply; permissions there and back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../../lib/fault.ts';
import {
  decodeBytes,
  decodeDirectoryPart,
  decodeNames,
  decodeNumber,
  decodeOk,
  decodePermissions,
  decodeString,
  decodeText,
  decodeTruth,
  decodeWatchEvent,
  decodeWords,
  WRONG_FORM,
} from './payloads.ts';
import { formatPermission, type Permission, parsePermission } from './permissions.ts';

const bytes = (text: string) => Buffer.from(text);
const DECODERS = {
  ...{ decodeBytes, decodeDirectoryPart, decodeNames, decodeNumber, decodeOk, decodePermissions },
  ...{ decodeString, decodeText, decodeTruth, decodeWatchEvent, decodeWords },
};

test('reads values', () => {
  assert.equal(decodeText(bytes('größe')), 'größe');
  assert.equal(decodeText(Buffer.from([0x61, 0xff, 0x00, 0x62])), 'a\ufffd\0b');
  const body = Buffer.from([0, 0xff, 0]);
  const copy = decodeBytes(body);
  body.fill(1);
  assert.deepEqual(copy, Buffer.from([0, 0xff, 0]));
});

test('reads short answers, with their NUL or without', () => {
  for (const end of ['', '\0']) {
    assert.equal(decodeOk(bytes(`OK${end}`)), true);
    assert.equal(decodeTruth(bytes(`T${end}`)), true);
    assert.equal(decodeTruth(bytes(`F${end}`)), false);
    assert.equal(decodeNumber(bytes(`4294967295${end}`)), 0xffff_ffff);
    assert.equal(decodeString(bytes(`/local/domain/1${end}`)), '/local/domain/1');
  }
  assert.deepEqual(decodeWords(bytes('nodes watches \0')), ['nodes', 'watches']);
});

test('reads directories', () => {
  assert.deepEqual(decodeNames(bytes('')), []);
  assert.deepEqual(decodeNames(bytes('a\0bc\0')), ['a', 'bc']);
  assert.deepEqual(decodeDirectoryPart(bytes('12\0a\0bc\0')), {
    generation: '12',
    names: ['a', 'bc'],
    bytes: 5,
    isLast: false,
  });
  assert.deepEqual(decodeDirectoryPart(bytes('12\0a\0\0')), {
    generation: '12',
    names: ['a'],
    bytes: 2,
    isLast: true,
  });
  assert.deepEqual(decodeDirectoryPart(bytes('0\0\0')), { generation: '0', names: [], bytes: 0, isLast: true });
});

test('reads events, also with what a kernel adds', () => {
  assert.deepEqual(decodeWatchEvent(bytes('/a\0token\0')), { path: '/a', token: 'token' });
  assert.deepEqual(decodeWatchEvent(bytes('/a\0\0more\0')), { path: '/a', token: '' });
});

const WRONG: readonly (readonly [keyof typeof DECODERS, string])[] = [
  ['decodeOk', 'OKAY'],
  ['decodeOk', ''],
  ['decodeOk', 'OK\0\0'],
  ['decodeTruth', 'TRUE'],
  ['decodeString', 'a\0b'],
  ['decodeString', 'a\0b\0'],
  ['decodeNumber', ''],
  ['decodeNumber', '-1\0'],
  ['decodeNumber', '4294967296\0'],
  ['decodeNumber', '0x1\0'],
  ['decodeNames', 'a'],
  ['decodeNames', 'a\0\0'],
  ['decodeNames', '\0'],
  ['decodeNames', 'a/b\0'],
  ['decodeDirectoryPart', ''],
  ['decodeDirectoryPart', 'x\0a\0'],
  ['decodeDirectoryPart', '1\0a'],
  ['decodeDirectoryPart', '1\0a\0\0b\0'],
  ['decodePermissions', ''],
  ['decodePermissions', 'n0'],
  ['decodePermissions', 'n0\0x1\0'],
  ['decodePermissions', 'n0\0r\0'],
  ['decodePermissions', 'n65536\0'],
  ['decodeWatchEvent', '/a'],
  ['decodeWatchEvent', '/a\0'],
  ['decodeWatchEvent', '/a\0token'],
];

test('refuses what no xenstored answers', () => {
  for (const [name, text] of WRONG) assert.equal(DECODERS[name](bytes(text)), WRONG_FORM, `${name} of ${text}`);
});

test('never throws, whatever comes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (body) => {
      for (const decode of Object.values(DECODERS)) decode(Buffer.from(body));
    }),
    { numRuns: 500 },
  );
});

test('writes and reads permissions', () => {
  const access = fc.constantFrom<Permission['access']>('none', 'read', 'write', 'both');
  const permission = fc.record({ domid: fc.nat(65_535), access }, { noNullPrototype: true });
  fc.assert(
    fc.property(fc.array(permission, { minLength: 1, maxLength: 8 }), (permissions) => {
      const body = bytes(permissions.map((each) => `${formatPermission(each)}\0`).join(''));
      assert.deepEqual(decodePermissions(body), permissions);
    }),
  );
  assert.equal(formatPermission({ domid: 0, access: 'none' }), 'n0');
  assert.equal(formatPermission({ domid: 5, access: 'both' }), 'b5');
  for (const text of ['', 'n', '0', 'n-1', 'n1 ', 'N1', 'nn1', 'n123456'])
    assert.equal(parsePermission(text), undefined);
  for (const domid of [-1, 65_536, 1.5, Number.NaN])
    assert.throws(
      () => formatPermission({ domid, access: 'read' }),
      (error) => isFault(error, 'params.invalid'),
    );
});
