import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fault, isFault } from '../lib/fault.ts';
import { POWER_STATES } from '../model/vm.ts';
import { inStateWords, STATE_WORDS } from './state-words.ts';
import { passageOf, statesFor, VERBS } from './states.ts';

/** The words of the originals: of the first xenvm, and of the last. */
const ORIGINALS = new Set(
  'creating-domain creating-devices created running paused shutdowning shutdown rebooting rebooted suspending suspended restoring'.split(
    ' ',
  ),
);

test('every state has a word of the originals', () => {
  for (const state of POWER_STATES) assert.ok(ORIGINALS.has(STATE_WORDS[state]), state);
});

test('every refusal of the table names states in those words alone', () => {
  let refusals = 0;
  for (const verb of VERBS) {
    for (const state of POWER_STATES.filter((one) => !statesFor(verb).includes(one))) {
      assert.throws(
        () => passageOf(verb, state, 'halted'), // a VM may well be called like a state
        (error) => {
          assert.ok(isFault(error, 'vm.state'));
          const [, is = '', expected = ''] =
            /^"\w+" cannot be performed: VM halted is ([\w-]+), expected (.+)\.$/.exec(inStateWords(error).message) ??
            [];
          const words = [is, ...expected.split(/, | or /)];
          assert.deepEqual(
            words.filter((word) => !ORIGINALS.has(word)),
            [],
            `${verb} in ${state}: ${inStateWords(error).message}`,
          );
          assert.equal(new Set(words.slice(1)).size, words.length - 1);
          return true;
        },
      );
      refusals++;
    }
  }
  assert.ok(refusals > 30);
});

test('other faults stay as they are', () => {
  const fault = new Fault('vm.not_found', { vm: 'halted' });
  assert.equal(inStateWords(fault), fault);
});
