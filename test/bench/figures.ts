/** A benchmark's result as data, and its lines of the table. What is measured is told by the benchmarks themselves. */
import { type Ratio, ratioAt, type Summary, summarize } from './statistics.ts';

export type Unit = 'ms' | 'KiB' | 'MiB' | '1/s' | 'requests';

/** A figure that is promised: it is met when it is at most that. */
export interface Goal {
  readonly of: 'p50' | 'p99' | 'max' | 'ratio' | 'over floor';
  readonly atMost: number;
}

export interface Figure {
  /** What was measured, from where to where. */
  readonly what: string;
  readonly unit: Unit;
  readonly ours: Summary;
  /** What it is compared with, measured in turns with ours. */
  readonly floor?: { readonly what: string } & Summary;
  readonly ratio?: Ratio;
  readonly ratioOf?: 'p50' | 'p99';
  readonly goals: readonly (Goal & { readonly is: number; readonly isMet: boolean })[];
}

/** Makes a figure of samples, and judges it. */
export function figure(
  what: string,
  unit: Unit,
  ours: readonly number[],
  more: {
    readonly floor?: { readonly what: string; readonly samples: readonly number[] };
    readonly goals?: readonly Goal[];
    /** What the ratio is of. Default: the medians. */
    readonly ratioOf?: 'p50' | 'p99';
  } = {},
): Figure {
  const { floor, goals = [], ratioOf = 'p50' } = more;
  const summary = summarize(ours);
  const floorSummary = floor && { what: floor.what, ...summarize(floor.samples) };
  const ratio = floor && ratioAt(ratioOf === 'p50' ? 0.5 : 0.99, ours, floor.samples);
  const measured = (of: Goal['of']): number => {
    if (of === 'ratio') return ratio?.value ?? Number.NaN;
    if (of === 'over floor') return summary.p50 - (floorSummary?.p50 ?? Number.NaN);
    return summary[of];
  };
  return {
    what,
    unit,
    ours: summary,
    ...(floorSummary === undefined ? {} : { floor: floorSummary }),
    ...(ratio === undefined ? {} : { ratio, ratioOf }),
    goals: goals.map((goal) => ({ ...goal, is: measured(goal.of), isMet: measured(goal.of) <= goal.atMost })),
  };
}

const TITLES = ['figure', 'p50', 'p99', 'samples', 'floor or peer', 'its p50', 'ratio (90 %)', 'goal', ''];

/** Gives the lines of a table, as Markdown. */
export function tableOf(figures: readonly Figure[]): string[] {
  const rows = [TITLES, TITLES.map(() => '---'), ...figures.map(cellsOf)];
  const widths = TITLES.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) => {
    const isRule = row[0] === '---';
    return `| ${row.map((cell, i) => (isRule ? '-'.repeat(Math.max(3, widths[i] ?? 0)) : cell.padEnd(Math.max(3, widths[i] ?? 0)))).join(' | ')} |`;
  });
}

function cellsOf({ what, unit, ours, floor, ratio, ratioOf = 'p50', goals }: Figure): string[] {
  const isMissed = goals.some((goal) => !goal.isMet);
  return [
    what,
    withUnit(ours.p50, unit),
    withUnit(ours.p99, unit),
    String(ours.count),
    floor?.what ?? '',
    floor === undefined ? '' : `${ratioOf === 'p99' ? 'p99 ' : ''}${withUnit(floor[ratioOf], unit)}`,
    ratio === undefined ? '' : `${ratioText(ratio.value)} (${ratioText(ratio.low)}–${ratioText(ratio.high)})`,
    goals
      .map(({ of, atMost }) =>
        of === 'ratio' ? `${ratioOf === 'p99' ? 'p99 ' : ''}<= ${atMost}x` : `${of} <= ${withUnit(atMost, unit)}`,
      )
      .join(', '),
    goals.length === 0 ? '' : isMissed ? `MISSED${goals.length === 1 ? '' : missed(goals)}` : 'met',
  ];
}

function missed(goals: Figure['goals']): string {
  return ` (${goals.flatMap(({ of, isMet }) => (isMet ? [] : [of])).join(', ')})`;
}

/** Two digits that mean something, for what is next to nothing beside the other. */
function ratioText(value: number): string {
  return value < 0.1 ? value.toPrecision(2) : value.toFixed(2);
}

/** Three digits that mean something: more would be noise. */
function withUnit(value: number, unit: Unit): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}
