/** The closed table `state x verb`: what each verb may be said to, what it leads to; and what a domain's run means. Pure. */
import type { Domain } from '../hypervisor/driver.ts';
import { Fault } from '../lib/fault.ts';
import { listWords } from '../lib/text.ts';
import { POWER_STATES, type PowerState } from '../model/vm.ts';

export const VERBS = [
  'start',
  'pause',
  'unpause',
  'suspend',
  'restore',
  'checkpoint',
  'shutdown',
  'restart',
  'reset',
  'destroy',
] as const;
export type Verb = (typeof VERBS)[number];

/**
 * The way through a verb: the state while it goes on, and the state when it has succeeded (`running` is `paused` when
 * the verb was asked for a paused domain).
 */
export interface Passage {
  readonly during: PowerState;
  readonly to: PowerState;
}

/**
 * `undefined`: the verb is refused in that state. A state that only lasts while a verb goes on refuses all but destroy.
 * To start a suspended VM is to restore it: whoever says "start" expects to go on where they were.
 */
export const TABLE: Readonly<Record<PowerState, Readonly<Partial<Record<Verb, Passage>>>>> = {
  halted: {
    start: { during: 'starting', to: 'running' },
    restore: { during: 'restoring', to: 'running' },
    destroy: { during: 'halted', to: 'halted' },
  },
  starting: { destroy: { during: 'stopping', to: 'halted' } },
  running: {
    pause: { during: 'running', to: 'paused' },
    suspend: { during: 'suspending', to: 'suspended' },
    checkpoint: { during: 'running', to: 'running' },
    shutdown: { during: 'stopping', to: 'halted' },
    restart: { during: 'stopping', to: 'running' },
    reset: { during: 'running', to: 'running' },
    destroy: { during: 'stopping', to: 'halted' },
  },
  paused: {
    unpause: { during: 'paused', to: 'running' },
    suspend: { during: 'suspending', to: 'suspended' },
    checkpoint: { during: 'paused', to: 'paused' },
    reset: { during: 'paused', to: 'paused' },
    destroy: { during: 'stopping', to: 'halted' },
  },
  suspending: { destroy: { during: 'stopping', to: 'halted' } },
  suspended: {
    start: { during: 'restoring', to: 'running' },
    restore: { during: 'restoring', to: 'running' },
    destroy: { during: 'suspended', to: 'halted' },
  },
  restoring: { destroy: { during: 'stopping', to: 'halted' } },
  stopping: { destroy: { during: 'stopping', to: 'halted' } },
  crashed: {
    start: { during: 'starting', to: 'running' },
    restart: { during: 'stopping', to: 'running' },
    destroy: { during: 'stopping', to: 'halted' },
  },
};

/** What to do about a refusal, by the state that refuses. */
const ADVICE: Readonly<Record<PowerState, string>> = {
  halted: 'Start it first.',
  starting: 'Wait until it runs, or destroy it.',
  running: 'It runs already.',
  paused: 'Unpause it first.',
  suspending: 'Wait until it is saved, or destroy it.',
  suspended: 'Restore it first.',
  restoring: 'Wait until it runs again, or destroy it.',
  stopping: 'Wait until it has stopped, or destroy it.',
  crashed: 'Start it again, or destroy it.',
};

/** States in which there is a domain that answers, and nothing goes on with it. */
export const STANDING: readonly PowerState[] = ['running', 'paused'];

/** Lists the states that a verb may be said to. */
export function statesFor(verb: Verb): PowerState[] {
  return POWER_STATES.filter((state) => TABLE[state][verb] !== undefined);
}

/** Gives the way of a verb through a state. @throws Fault `vm.state` when the state refuses it. */
export function passageOf(verb: Verb, state: PowerState, vm: string): Passage {
  const passage = TABLE[state][verb];
  if (passage !== undefined) return passage;
  const details = { verb, vm, state, expected: listWords(statesFor(verb)) };
  throw new Fault('vm.state', details, { hint: ADVICE[state] });
}

/** Gives the power state that a living domain stands for. */
export function stateOf(domain: Domain & { readonly run: 'running' | 'paused' | 'saving' }): PowerState {
  return domain.run === 'saving' ? 'suspending' : domain.run;
}

/** Tells whether there is a domain that is not dead. */
export function isLiving(
  domain: Domain | undefined,
): domain is Domain & { readonly run: 'running' | 'paused' | 'saving' } {
  return domain !== undefined && domain.run !== 'dead';
}

/** Tells whether a state says that a domain lives. */
export function isAlive(state: PowerState): boolean {
  return state === 'running' || state === 'paused' || state === 'suspending';
}

/** Tells whether a state lasts only while a turn goes on, and says nothing of a domain. */
export function isPassing(state: PowerState): boolean {
  return state === 'starting' || state === 'restoring' || state === 'stopping';
}

/** Tells whether a resting state is what the domain (none: `undefined`) says; dead ones may be kept for inspection. */
export function isAgreed(state: PowerState, domain: Domain | undefined): boolean {
  if (isLiving(domain)) return state === stateOf(domain);
  if (state === 'suspended') return domain === undefined;
  return state === 'halted' || state === 'crashed';
}
