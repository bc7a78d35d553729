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
  readonly to: PowerState;
}

/** `undefined`: the verb is refused in that state. A state that only lasts while a verb goes on refuses all but destroy. */
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
    restart: { during: 'stopping', to: 'running' },
    reset: { during: 'paused', to: 'paused' },
    destroy: { during: 'stopping', to: 'halted' },
  },
  suspending: { destroy: { during: 'stopping', to: 'halted' } },
  suspended: {
    start: { during: 'starting', to: 'running' },
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

/** Lists the states that a verb may be said to. */
export function statesFor(verb: Verb): PowerState[] {
  return (Object.keys(TABLE) as PowerState[]).filter((state) => TABLE[state][verb] !== undefined);
}
