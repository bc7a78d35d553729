/**
 * Numbers out of samples, and the order in which samples are taken: what is compared is measured in turns, so that the
 * noise of the machine hits all of it alike. Pure but for the measuring functions that are handed in.
 */

/** What is told of a set of samples. Percentiles are samples that occurred (nearest rank). */
export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A quotient of two medians or other percentiles, and how far chance could have moved it: nine of ten such runs fall between low and high. */
export interface Ratio {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 500;

/** Summarizes samples. @throws RangeError without any */
export function summarize(samples: readonly number[]): Summary {
  const sorted = samples.toSorted((a, b) => a - b);
  return {
    count: sorted.length,
    min: percentile(sorted, 0),
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    max: percentile(sorted, 1),
  };
}

/** Gives the sample that `share` (0 to 1) of all samples do not exceed. @throws RangeError without samples */
export function percentile(sorted: readonly number[], share: number): number {
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new RangeError('there are no samples');
  return value;
}

/**
 * Divides one set of samples by another, each by the sample that `share` (0 to 1) of it do not exceed: 0.5 for medians. The
 * range is a bootstrap's, the same in every run.
 */
export function ratioAt(share: number, samples: readonly number[], floor: readonly number[]): Ratio {
  const random = seededRandom(1);
  const at = (list: readonly number[]) =>
    percentile(
      list.toSorted((a, b) => a - b),
      share,
    );
  const resampled = Array.from({ length: RESAMPLES }, () => at(draw(samples, random)) / at(draw(floor, random)));
  resampled.sort((a, b) => a - b);
  return {
    value: at(samples) / at(floor),
    low: percentile(resampled, 0.05),
    high: percentile(resampled, 0.95),
  };
}

export type Measure<Sample> = (round: number) => Promise<Sample> | Sample;

export interface Turns {
  readonly rounds: number;
  readonly warmUps: number;
  /** When this time is over no round is begun, but for the first few: a busy machine gives fewer samples, not a longer run. */
  readonly budgetMs?: number;
}

const LEAST_ROUNDS = 3;

/**
 * Takes samples of several things in turns. Each round measures each thing once; who is first changes from round to
 * round. Rounds before `warmUps` are not kept.
 */
export async function measureInTurns<Name extends string, Sample>(
  measures: Readonly<Record<Name, Measure<Sample>>>,
  { rounds, warmUps, budgetMs = Number.POSITIVE_INFINITY }: Turns,
): Promise<Record<Name, Sample[]>> {
  const names = Object.keys(measures) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as Sample[]])) as Record<Name, Sample[]>;
  const until = performance.now() + budgetMs;
  for (let round = 0; round < warmUps + rounds; round++) {
    if (round >= warmUps + LEAST_ROUNDS && performance.now() > until) break;
    for (let i = 0; i < names.length; i++) {
      const name = names[(round + i) % names.length] as Name;
      const sample = await measures[name](round);
      if (round >= warmUps) samples[name].push(sample);
    }
  }
  return samples;
}

function draw(samples: readonly number[], random: () => number): number[] {
  return samples.map(() => samples[Math.floor(random() * samples.length)] as number);
}

/** Mulberry32: small, and good enough to draw samples with. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
