import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { POWER_STATES, type PowerState } from '../model/vm.ts';
import { passageOf, statesFor, TABLE, VERBS, type Verb } from './states.ts';

/** The whole table again, as a person reads it: columns are VERBS in their order, `.` is a refusal. */
const EXPECTED: Record<PowerState, string> = {
  //           start   pause  unpause suspend   restore checkpoint shutdown restart reset  destroy
  halted: '    running .      .       .         running .          .        .       .       halted',
  starting: '  .       .      .       .         .       .          .        .       .       halted',
  running: '   .       paused .       suspended .       running    halted   running running halted',
  paused: '    .       .      running suspended .       paused     .        .       paused  halted',
  suspending: '.       .      .       .         .       .          .        .       .       halted',
  suspended: ' running .      .       .         running .          .        .       .       halted',
  restoring: ' .       .      .       .         .       .          .        .       .       halted',
  stopping: '  .       .      .       .         .       .          .        .       .       halted',
  crashed: '   running .      .       .         .       .          .        running .       halted',
};

test('each state takes each verb as the table says, or refuses it with a sentence and advice', () => {
  for (const state of POWER_STATES) {
    const row = EXPECTED[state].trim().split(/\s+/);
    assert.equal(row.length, VERBS.length, state);
    for (const [i, verb] of VERBS.entries()) {
      if (row[i] !== '.') {
        assert.equal(passageOf(verb, state, 'work').to, row[i], `${verb} in ${state}`);
        continue;
      }
      assert.throws(
        () => passageOf(verb, state, 'work'),
        (error) =>
          isFault(error, 'vm.state') && /VM work is \w+, expected /.test(error.message) && error.hint !== undefined,
      );
    }
  }
});

test('every verb can be said in some state, and leads to states of rest that take a verb again', () => {
  for (const verb of VERBS) {
    assert.ok(statesFor(verb).length > 0, verb);
    for (const state of statesFor(verb)) {
      const to = TABLE[state][verb]?.to;
      assert.ok(to !== undefined && ['halted', 'running', 'paused', 'suspended'].includes(to), `${verb} in ${state}`);
    }
  }
});

test('a refusal names the states that would do', () => {
  assert.throws(() => passageOf('pause', 'halted', 'work'), {
    message: '"pause" cannot be performed: VM work is halted, expected running.',
    hint: 'Start it first.',
  });
  const verb: Verb = 'suspend';
  assert.throws(() => passageOf(verb, 'crashed', 'work'), /expected running or paused/);
});
