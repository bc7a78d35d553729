/** What a benchmark is: a name, what it shows, and a function that measures. The list is in run.ts. */
import type { Figure } from './figures.ts';
import type { Fleet } from './fleet.ts';

export interface BenchmarkContext {
  /** Gives the thousand VMs that benchmarks share; its daemon runs. Made at the first call. */
  readonly fleet: () => Promise<Fleet>;
  /** Tells the person what goes on. */
  readonly tell: (text: string) => void;
}

export interface Benchmark {
  readonly name: string;
  readonly about: string;
  /** Measures. @throws when it could not; a goal that is missed is a figure like any other */
  readonly run: (context: BenchmarkContext) => Promise<readonly Figure[]>;
}
