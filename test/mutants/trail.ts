/** Ways to break how the audit trail is written for many devices at once. */
import type { Mutant } from './mutant.ts';

const GROUPS = 'src/app/audit-groups.ts';
const GROUPS_TEST = 'src/app/audit-groups.test.ts';

type Change = readonly [off: string, from: string, to: string, test: string];

const CHANGES: readonly Change[] = [
  [
    'rows that are asked for together share a flush',
    'this.#asked = [];\n        this.#answer(asked);',
    'this.#asked = [];\n        for (const one of asked) this.#answer([one]);',
    'cost no more flushes than one',
  ],
  [
    'a bug takes no other row with it',
    'if (asked.length > 1 && !isFault(error))',
    'if (asked.length < 0 && !isFault(error))',
    'one that cannot be written by a bug takes no other with it',
  ],
  [
    'a full disk is tried once',
    'if (asked.length > 1 && !isFault(error))',
    'if (asked.length > 1)',
    'refuses all of them, and is tried once',
  ],
];

export const TRAIL: readonly Mutant[] = CHANGES.map(([off, from, to, name]) => ({
  breaks: 'audit trail',
  off,
  file: GROUPS,
  from,
  to,
  test: { file: GROUPS_TEST, name },
}));
