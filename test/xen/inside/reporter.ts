/** A reporter of Node's test runner that writes one JSON line for each test: what a run inside dom0 sends home. */
import type { TestEvent } from 'node:test/reporters';

/** One test, or one suite, that has ended. */
export interface Report {
  readonly name: string;
  /** How deep it is nested. */
  readonly level: number;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  readonly isSuite: boolean;
  readonly ms: number;
  /** What it died of, with its stack. */
  readonly error?: string;
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const { name, nesting: level, skip } = data;
    const outcome = type === 'test:fail' ? 'failed' : skip === undefined || skip === false ? 'passed' : 'skipped';
    const { duration_ms: ms, type: kind } = data.details;
    const error = type === 'test:fail' ? { error: saying(data.details.error) } : {};
    const line: Report = { name, level, outcome, isSuite: kind === 'suite', ms, ...error };
    yield `${JSON.stringify(line)}\n`;
  }
}

function saying(error: Error): string {
  const { cause } = error;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause ?? error.stack);
}
