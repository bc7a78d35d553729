import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ListedDomain, parseXlList, XlListError } from './xl-list.ts';

const RECORDED = readFileSync(join(import.meta.dirname, '../../../test/fixtures/xen/list-v.txt'), 'utf8');
const [HEADER = '', DOM0 = ''] = RECORDED.split('\n');
const UUID = '6f1c2d3e-0000-4000-8000-000000000001';

/** Prints a domain as xl_list.c does. */
function print(domain: ListedDomain): string {
  const { domid, uuid, untrustedName, isPaused, isDying, shutdownReason, cpuSeconds } = domain;
  const letter = shutdownReason === undefined ? '-' : ('-rscwS'[shutdownReason] ?? '?');
  const state = `r-${isPaused ? 'p' : '-'}${shutdownReason === undefined ? '-' : 's'}${letter}${isDying ? 'd' : '-'}`;
  const reason = shutdownReason === undefined ? '-' : shutdownReason.toString(16);
  return [
    `${untrustedName.padEnd(40)} ${String(domid).padStart(5)} ${'192'.padStart(5)} ${'1'.padStart(5)}     ${state}  `,
    `${cpuSeconds.toFixed(1).padStart(8)} ${uuid} ${reason.padStart(8)} ${'-'.padStart(16)}`,
  ].join('');
}

function listOf(...rows: string[]): string {
  return [HEADER, DOM0, ...rows, ''].join('\n');
}

test('what Xen 4.17 printed is read', () => {
  const domains = parseXlList(RECORDED);
  assert.deepEqual(
    domains.map(({ domid, isPaused, shutdownReason }) => [domid, isPaused, shutdownReason]),
    [
      [1, false, undefined],
      [2, false, undefined],
      [3, false, undefined],
      [4, true, undefined],
      [5, true, undefined],
      [6, false, 0],
      [7, false, 1],
      [8, false, 2],
      [9, false, 3],
    ],
  );
  assert.deepEqual(domains[0], {
    domid: 1,
    uuid: UUID,
    untrustedName: 'pv1',
    isPaused: false,
    isDying: false,
    cpuSeconds: 15.4,
  });
});

const aDomain = fc.record(
  {
    domid: fc.integer({ min: 1, max: 0x7fef }),
    uuid: fc.uuid().map((uuid) => uuid as ListedDomain['uuid']),
    // Without a line end, and without a space at its end, any name comes back.
    untrustedName: fc
      .oneof(
        fc.string({ unit: 'binary', maxLength: 60 }),
        fc.constantFrom('(null)', '', 'a 1 2 3 r----- 1.0', 'x--incoming'),
      )
      .map((name) => name.replaceAll('\n', '').replace(/ +$/, '')),
    isPaused: fc.boolean(),
    isDying: fc.boolean(),
    cpuSeconds: fc.nat(1e7).map((tenths) => tenths / 10),
    shutdownReason: fc.oneof(fc.nat(5), fc.constant(0xffffffff)),
  },
  { noNullPrototype: true, requiredKeys: ['domid', 'uuid', 'untrustedName', 'isPaused', 'isDying', 'cpuSeconds'] },
) as fc.Arbitrary<ListedDomain>;

test('what is printed is read back, whatever domains are called', () => {
  fc.assert(
    fc.property(fc.uniqueArray(aDomain, { selector: ({ domid }) => domid, maxLength: 8 }), (domains) => {
      assert.deepEqual(parseXlList(listOf(...domains.map(print))), domains);
    }),
  );
});

test('a cut answer is none, wherever it is cut', () => {
  const isWhole = (length: number) => RECORDED[length - 1] === '\n' && length > HEADER.length + 1;
  for (let length = 0; length < RECORDED.length; length++) {
    const cut = RECORDED.slice(0, length);
    // At the end of a row nothing shows that more should follow: xl's exit status does.
    if (isWhole(length)) parseXlList(cut);
    else assert.throws(() => parseXlList(cut), XlListError, cut);
  }
});

test('nonsense is refused with what is wrong', () => {
  const row = print({
    domid: 3,
    uuid: UUID as ListedDomain['uuid'],
    untrustedName: 'web',
    isPaused: false,
    isDying: false,
    cpuSeconds: 1,
  });
  const changed = (from: string | RegExp, to: string) => {
    const other = row.replace(from, to);
    assert.notEqual(other, row);
    return listOf(other);
  };
  for (const [text, says] of [
    ['', /cut off/],
    ['\n', /begins with ""/],
    ['Usage: xl list\n', /begins with "Usage/],
    [`${HEADER}\n`, /lacks dom0/],
    [`${HEADER}\n${row}\n`, /lacks dom0/],
    [listOf(row, row), /twice/],
    [listOf(row, ''), /the line ""/],
    [listOf('libxl: error: it broke'), /it broke/],
    [listOf(`\u001b[2J${row} x`), /\\u\{1b\}/],
    [changed('r-----', 'x-----'), /x-----/],
    [changed('r-----', 'r----'), /the line/],
    [changed('r-----', '---s--'), /the line/],
    [changed('r-----', '----r-'), /the line/],
    [changed(/ - +-$/, ' 1 -'), /the line/],
    [changed(UUID, UUID.toUpperCase()), /the line/],
    [changed(' 3 ', ' 40000 '), /40000/],
    [changed(' 3 ', ' -3 '), /-3/],
    [changed('1.0', '1'), /the line/],
  ] as const) {
    assert.throws(
      () => parseXlList(text),
      (error) => error instanceof XlListError && says.test(error.message),
      text,
    );
  }
});

test('any text is an answer or an XlListError', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string({ unit: 'binary' }),
        fc.string().map((text) => listOf(text)),
      ),
      (text) => {
        try {
          parseXlList(text);
        } catch (error) {
          assert.ok(error instanceof XlListError);
        }
      },
    ),
  );
});
