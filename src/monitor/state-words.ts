/** What DESIGN's power states are called by xenvm, whose words the text and the framed dialect speak. Pure. */
import { Fault, isFault } from '../lib/fault.ts';
import { POWER_STATES, type PowerState } from '../model/vm.ts';

/**
 * The one table between the two: what Usher calls a state, and the original's word for it. A VM that crashed and was kept
 * has no word of its own there: as with one that is halted, what is to be done is to start it.
 */
export const STATE_WORDS: Readonly<Record<PowerState, string>> = {
  halted: 'shutdown',
  starting: 'creating-domain',
  running: 'running',
  paused: 'paused',
  suspending: 'suspending',
  suspended: 'suspended',
  restoring: 'restoring',
  stopping: 'shutdowning',
  crashed: 'shutdown',
};

const STATES = new RegExp(`\\b(${POWER_STATES.join('|')})\\b`, 'g');

/** Gives the fault as the original's dialects tell it: a refusal names states, and names them in the original's words. */
export function inStateWords(fault: Fault): Fault {
  if (!isFault(fault, 'vm.state')) return fault;
  const { state = '', expected = '', ...rest } = fault.details;
  const details = { ...rest, state: translate(String(state)), expected: withoutTwins(translate(String(expected))) };
  return new Fault('vm.state', details, { hint: fault.hint, cause: fault.cause });
}

function translate(words: string): string {
  return words.replaceAll(STATES, (state) => STATE_WORDS[state as PowerState]);
}

/** `shutdown, shutdown or suspended` has one word too many. */
function withoutTwins(list: string): string {
  const words = [...new Set(list.split(/, | or /))];
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
