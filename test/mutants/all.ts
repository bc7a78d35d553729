/** All mutants, and where one does not apply. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CURES } from './cures.ts';
import { LIFE } from './life.ts';
import type { Mutant } from './mutant.ts';
import { PLANNER } from './planner.ts';
import { TRAIL } from './trail.ts';

export const MUTANTS: readonly Mutant[] = [...CURES, ...LIFE, ...PLANNER, ...TRAIL];

/** Says why a mutant does not apply to the tree at `root`, a sentence each; nothing when it does. */
export function misplaced({ breaks, off, file, from, to, test }: Mutant, root: string): readonly string[] {
  const say = (what: string) => `${breaks}, ${off}: ${what}`;
  const path = join(root, file);
  if (!existsSync(path)) return [say(`there is no ${file}`)];
  const wrong: string[] = [];
  const parts = readFileSync(path, 'utf8').split(from);
  if (parts.length !== 2) {
    const lines = parts.slice(0, -1).map((_, i) => {
      const before = parts.slice(0, i + 1).join(from);
      return `${file}:${before.split('\n').length}`;
    });
    wrong.push(say(`its text is there ${lines.length} times: ${lines.join(', ') || file}: ${JSON.stringify(from)}`));
  }
  if (from === to) wrong.push(say('it changes nothing'));
  const testPath = join(root, test.file);
  const isNamed = existsSync(testPath) && readFileSync(testPath, 'utf8').includes(test.name);
  if (!isNamed) wrong.push(say(`${test.file} has no test "${test.name}"`));
  return wrong;
}
