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

/** A quotient of two medians, and how far chance could have moved it: nine of ten such runs fall between low and high. */
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

/** Divides the median of one set of samples by that of another; the range is a bootstrap's, the same in every run. */
export function ratioOfMedians(samples: readonly number[], floor: readonly number[]): Ratio {
  const random = seededRandom(1);
  const resampled = Array.from(
    { length: RESAMPLES },
    () => median(draw(samples, random)) / median(draw(floor, random)),
  );
  resampled.sort((a, b) => a - b);
  return {
    value: median(samples) / median(floor),
    low: percentile(resampled, 0.05),
    high: percentile(resampled, 0.95),
  };
}

export type Measure<Sample> = (round: number) => Promise<Sample> | Sample;

/**
 * Takes samples of several things in turns. Each round measures each thing once; who is first changes from round to
 * round. Rounds before `warmUps` are not kept.
 */
export async function measureInTurns<Name extends string, Sample>(
  measures: Readonly<Record<Name, Measure<Sample>>>,
  { rounds, warmUps }: { readonly rounds: number; readonly warmUps: number },
): Promise<Record<Name, Sample[]>> {
  const names = Object.keys(measures) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as Sample[]])) as Record<Name, Sample[]>;
  for (let round = 0; round < warmUps + rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(round + i) % names.length] as Name;
      const sample = await measures[name](round);
      if (round >= warmUps) samples[name].push(sample);
    }
  }
  return samples;
}

/** The same nearest rank as `p50`, so that the ratio is that of the figures that are shown. */
function median(samples: readonly number[]): number {
  return percentile(
    samples.toSorted((a, b) => a - b),
    0.5,
  );
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
