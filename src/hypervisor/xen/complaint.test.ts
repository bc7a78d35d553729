import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { complaintOf, hasLibraryError } from './complaint.ts';

const RECORDED = readFileSync(join(import.meta.dirname, '../../../test/fixtures/xen/errors.txt'), 'utf8');
const SAYS = new Map(
  RECORDED.split(/^=== /m)
    .slice(1)
    .map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1)]),
);

test('the line that says why is found in what xl printed', () => {
  const reasons = new Map([
    ['xl create: the name is taken', 'Domain with name "pv1" already exists.'],
    ['xl pause 77: status 0', 'Pausing domain: No such process'],
    ['xl pause of a name that is not there', 'pv1 is an invalid domain identifier (rc=-6)'],
    ['xl shutdown -F of a domain that is paused, after 60 s', "guest didn't acknowledge control request: -9"],
    [
      'xl save into a pipe that was closed',
      'file/stream truncated reading ipc msg header from domain 1 save/restore helper stdout pipe',
    ],
    [
      'xl restore of a file that was cut off',
      'Failed to read 4202504 bytes of data for record (0x00000001, Page data)',
    ],
    ['xl restore of garbage', 'File has wrong magic number - corrupt or for a different tool?'],
    ['xl unpause of what runs: status 0', 'Unpausing domain: Invalid argument'],
  ]);
  assert.deepEqual([...SAYS.keys()], [...reasons.keys()]);
  for (const [what, text] of SAYS) assert.equal(complaintOf(text), reasons.get(what), what);
});

test('an error of a library is told from words of xl', () => {
  const withError = [...SAYS].filter(([, text]) => hasLibraryError(text)).map(([what]) => what);
  assert.deepEqual(withError, [
    'xl create: the name is taken',
    'xl pause 77: status 0',
    'xl shutdown -F of a domain that is paused, after 60 s',
    'xl save into a pipe that was closed',
    'xl restore of a file that was cut off',
    'xl unpause of what runs: status 0',
  ]);
});

test('silence is no complaint, and what is said is made harmless', () => {
  for (const text of ['', '\n \n', 'Parsing config from /a\nxc: info: Restoring domain\n']) {
    assert.equal(complaintOf(text), undefined);
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
      const complaint = complaintOf(text) ?? '';
      assert.doesNotMatch(complaint, /\p{Cc}/u);
      assert.ok(complaint.length < 5000);
    }),
  );
});
