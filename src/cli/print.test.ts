import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import type { Output } from './command.ts';
import { type Column, table } from './print.ts';

interface Row {
  readonly name: string;
  readonly state: string;
  readonly why: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', of: (row) => row.name, yields: { turn: 2, least: 12 } },
  { title: 'STATE', of: (row) => row.state },
  { title: 'WHY', of: (row) => row.why, yields: { turn: 2, least: 12 } },
];
const LONG: Row = { name: `work-${'x'.repeat(40)}`, state: 'suspending', why: 'because '.repeat(20).trim() };
const SHORT: Row = { name: 'play', state: 'halted', why: '-' };

test('columns stand below their titles, and nothing trails', () => {
  const [title = '', ...lines] = table([SHORT, { ...SHORT, name: 'kiosk' }], COLUMNS, outputOf(80)).split('\n');
  const at = title.indexOf('STATE');
  for (const line of lines) assert.equal(line.indexOf('halted'), at, line);
  for (const line of [title, ...lines]) assert.equal(line, line.trimEnd());
});

test('a table fits the terminal: columns that yield are cut, the others are whole', () => {
  for (const columns of [45, 60, 80, 120]) {
    const lines = table([LONG, SHORT], COLUMNS, outputOf(columns)).split('\n');
    for (const line of lines) assert.ok([...line].length <= columns, `${line.length} of ${columns}: ${line}`);
    assert.match(lines[1] ?? '', /^work-x+…? +suspending {2}because.*…$/);
    assert.match(lines[2] ?? '', /^play +halted +-$/);
  }
});

test('columns of an earlier turn are cut first, down to their least', () => {
  const columns: readonly Column<Row>[] = [
    { title: 'NAME', of: (row) => row.name, yields: { turn: 1, least: 8 } },
    { title: 'STATE', of: (row) => row.state },
    { title: 'WHY', of: (row) => row.why, yields: { turn: 2, least: 12 } },
  ];
  const why = 'because it is so, and not otherwise';
  const [, line = ''] = table([{ ...LONG, why }], columns, outputOf(60)).split('\n');
  assert.match(line, /^work-x+… {2}suspending {2}because it is so, and not otherwise$/);
  const [, narrow = ''] = table([{ ...LONG, why }], columns, outputOf(40)).split('\n');
  assert.match(narrow, /^work-xx… {2}suspending {2}because it is so,…$/);
});

test('on a terminal that is too narrow for anything, columns keep enough to be read', () => {
  const [, line = ''] = table([LONG], COLUMNS, outputOf(10)).split('\n');
  assert.match(line, /^work-xxxxxx… {2}suspending {2}because bec…$/);
});

test('off a terminal nothing is cut: programs read it', () => {
  const [, line = ''] = table([LONG], COLUMNS, outputOf(undefined)).split('\n');
  assert.ok(line.includes(LONG.name) && line.endsWith(LONG.why));
});

test('columns are counted as the terminal does: wide letters take two, combining marks none', () => {
  for (const [name, letters] of [
    ['🎹🎹', 2],
    ['日本', 2],
    ['e\u0301e\u0301', 4],
  ] as const) {
    const [title = '', line = ''] = table([{ ...SHORT, name }], COLUMNS, outputOf(80)).split('\n');
    const shownWider = name.startsWith('e') ? -2 : 2;
    assert.equal([...line].indexOf('h') + shownWider, [...title].indexOf('S'), name);
    assert.equal([...name].length, letters);
  }
});

test('without rows there are the titles, bold on a terminal', () => {
  assert.equal(table([], COLUMNS, outputOf(undefined)), 'NAME  STATE  WHY');
  assert.equal(stripVTControlCharacters(table([], COLUMNS, { ...outputOf(80), isTerminal: true })), 'NAME  STATE  WHY');
});

function outputOf(columns: number | undefined): Output {
  const silent = () => undefined;
  return { columns, isTerminal: false, print: silent, tell: silent, progress: silent };
}
