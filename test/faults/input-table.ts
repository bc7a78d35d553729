/** What is fed in from outside and makes no sense, as far as USB, policy and the trail go: each with the test that feeds it. Data only. */
import type { Test } from './fault-table.ts';

export interface InputRow {
  readonly input: string;
  readonly held: readonly Test[];
}

const ERRORS = 'src/config/policy-file.errors.test.ts';
const HEAVY = 'src/config/policy-file.heavy.test.ts';
const CONFIG = 'src/config/xenvm-file.test.ts';
const DESCRIPTORS = 'src/model/descriptors.test.ts';
const SIMULATED = 'test/faults/table.simulator.test.ts';
const row = (input: string, ...held: readonly Test[]): InputRow => ({ input, held });

export const INPUTS: readonly InputRow[] = [
  row('policy: an unknown key', [ERRORS, 'an unknown key of a rule']),
  row('policy: a key twice', [ERRORS, 'a key given twice']),
  row('policy: a wrong type', [ERRORS, 'a rule that is a text']),
  row('policy: a negative number', [ERRORS, 'a negative number']),
  row('policy: a huge number', [ERRORS, 'a huge number']),
  row('policy: NUL', [ERRORS, "'NUL'"]),
  row('policy: CRLF and a byte order mark', [
    'src/config/policy-file.test.ts',
    'CRLF, a byte order mark and JSON make no difference',
  ]),
  row('policy: a line of a megabyte', [HEAVY, 'a line of a megabyte']),
  row('policy: a rule that never decides', [
    'src/config/policy-file.test.ts',
    'a rule that never decides, where it stands',
  ]),
  row(
    'policy: files that include each other: there is no include, and an alias is refused',
    [ERRORS, 'an anchor and its alias'],
    [HEAVY, 'a bomb'],
  ),
  row(
    'policy: a pattern that was made to take long',
    ['src/lib/glob.test.ts', 'many stars cost no time'],
    [HEAVY, 'stars'],
  ),
  row(
    'policy: deny and allow that contradict each other: the first decides, the other is told',
    ['src/model/policy-judge.test.ts', 'the first rule that matches decides'],
    ['src/model/policy-cover.test.ts', 'is never wrong: the later rule decides about no device'],
  ),
  row('config: an unknown key', [CONFIG, 'warns of unknown keys, or refuses them when strict']),
  row('config: a key twice', [CONFIG, 'takes the last of two lines, and says so']),
  row('config: NUL, CRLF, a byte order mark, negative, huge, a line of a megabyte', [
    CONFIG,
    'works with, or clearly refuses, what editors and enemies make of a file',
  ]),
  row('config: USB controllers that make no sense', [
    'src/config/xenvm-file.devices.test.ts',
    'refuses controllers that make no sense, at the word',
  ]),
  row('USB: no strings, ESC[2J, U+202E, line feeds, 200 characters', [
    'src/usb/sysfs.test.ts',
    'strings may be missing or hostile',
  ]),
  row('USB: $(reboot), quotes, ESC, U+202E, line feeds, 126 characters, into a real guest', [
    'test/qemu/devices.test.ts',
    'hostile serials of 126 characters go in, are read back',
  ]),
  row('USB: $(reboot), `reboot`, %n, ESC[2J, U+202E, a line feed, </script>, 126 characters, through everything', [
    SIMULATED,
    'whatever a device says of itself',
  ]),
  row('USB: hostile names on a terminal', [
    'test/daemon/bad-input.test.ts',
    'what a device says of itself harms no terminal',
  ]),
  row('USB: hostile names in the log', [
    'src/lib/log.test.ts',
    'no string of a device reaches the terminal as it is, and none is lost',
  ]),
  row('USB: any text in the trail', ['src/app/audit.test.ts', 'property: any text is kept as it was']),
  row('USB: vendor 0000', [SIMULATED, 'whatever a device says of itself']),
  row('USB: a descriptor shorter than its length, or that lies', [
    DESCRIPTORS,
    'bytes that are short or lie give what can be read',
  ]),
  row('USB: 32 interfaces and more', [DESCRIPTORS, 'bytes that are short or lie give what can be read']),
  row('USB: any bytes for descriptors', [DESCRIPTORS, 'any bytes at all end in an answer']),
  row('USB: serial "0" for all', [SIMULATED, 'devices that all have the serial 0']),
  row(
    'USB: a serial that changes',
    [SIMULATED, 'a device whose serial changes at each plug'],
    ['src/usb/sysfs.test.ts', 'a replug changes the generation; the same plug is not read again'],
  ),
  row('xenstore: missing, of the wrong type, foreign, huge, another path', [
    'src/hypervisor/xen/usb.foreign.test.ts',
    'nonsense in ports is nothing, and gives way',
  ]),
  row('xenstore: what a guest writes', [
    'src/hypervisor/xen/usb.foreign.test.ts',
    'what a guest writes in its own folder changes nothing',
  ]),
  row('xenstore: a key as ../..', [
    'src/wire/xenstore/paths.test.ts',
    'refuses anything with another character, wherever it stands',
  ]),
];
