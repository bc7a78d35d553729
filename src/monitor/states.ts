/** The closed table `state x verb`: what each verb may be said to, what it leads to. Pure. */
import type { PowerState } from '../model/vm.ts';

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

/** The way through a verb: the state while it goes on, and the state when it has succeeded. */
export interface Passage {
  readonly during: PowerState;
  readonly then: PowerState;
}

/** `undefined`: the verb is refused in that state. A state that only lasts while a verb goes on refuses all but destroy. */
export const TABLE: Readonly<Record<PowerState, Readonly<Partial<Record<Verb, Passage>>>>> = {
  halted: {
    start: { during: 'starting', then: 'running' },
    restore: { during: 'restoring', then: 'running' },
    destroy: { during: 'halted', then: 'halted' },
  },
  starting: { destroy: { during: 'stopping', then: 'halted' } },
  running: {
    pause: { during: 'running', then: 'paused' },
    suspend: { during: 'suspending', then: 'suspended' },
    checkpoint: { during: 'running', then: 'running' },
    shutdown: { during: 'stopping', then: 'halted' },
    restart: { during: 'stopping', then: 'running' },
    reset: { during: 'running', then: 'running' },
    destroy: { during: 'stopping', then: 'halted' },
  },
  paused: {
    unpause: { during: 'paused', then: 'running' },
    suspend: { during: 'suspending', then: 'suspended' },
    checkpoint: { during: 'paused', then: 'paused' },
    restart: { during: 'stopping', then: 'running' },
    reset: { during: 'paused', then: 'paused' },
    destroy: { during: 'stopping', then: 'halted' },
  },
  suspending: { destroy: { during: 'stopping', then: 'halted' } },
  suspended: {
    start: { during: 'starting', then: 'running' },
    restore: { during: 'restoring', then: 'running' },
    destroy: { during: 'suspended', then: 'halted' },
  },
  restoring: { destroy: { during: 'stopping', then: 'halted' } },
  stopping: { destroy: { during: 'stopping', then: 'halted' } },
  crashed: {
    start: { during: 'starting', then: 'running' },
    restart: { during: 'stopping', then: 'running' },
    destroy: { during: 'stopping', then: 'halted' },
  },
};

/** Lists the states that a verb may be said to. */
export function statesFor(verb: Verb): PowerState[] {
  return (Object.keys(TABLE) as PowerState[]).filter((state) => TABLE[state][verb] !== undefined);
}
