import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ManualClock } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import { Attacher, type AttacherOptions, type StepResult } from './attacher.ts';
import type { Step, StepExecutors } from './plan-types.ts';
import { attached, holdOut, stick, vmId, wordOf } from './test-world.ts';

/** Executors that end when the test says so. */
class Bench {
  readonly clock = new ManualClock(0);
  readonly begun: string[] = [];
  readonly ended: string[] = [];
  readonly #running = new Map<string, { resolve: () => void; reject: (error: Error) => void; signal: AbortSignal }>();
  readonly attacher: Attacher;

  constructor(options: Partial<AttacherOptions> = {}) {
    const run = (step: Step, signal: AbortSignal) => {
      this.begun.push(wordOf(step));
      return new Promise<void>((resolve, reject) => this.#running.set(wordOf(step), { resolve, reject, signal }));
    };
    const executors: StepExecutors = {
      attach: run,
      detach: run,
      addController: run,
      dropHold: run,
      carryHold: run,
      ask: run,
      endQuestion: run,
    };
    const onEnd = (step: Step, result: StepResult) => this.ended.push(`${wordOf(step)} ${result.is}`);
    this.attacher = new Attacher({ executors, clock: this.clock, onEnd, random: () => 0, ...options });
  }

  signalOf(word: string): AbortSignal | undefined {
    return this.#running.get(word)?.signal;
  }

  async finish(word: string, error?: Error): Promise<void> {
    const running = this.#running.get(word);
    assert.ok(running, `${word} runs`);
    if (error === undefined) running.resolve();
    else running.reject(error);
    await this.clock.advance(0);
  }

  stateOf(key: string): string | undefined {
    return this.attacher.memory.get(key)?.state;
  }
}

const device = stick('dom0:1-1');
const other = stick('dom0:1-2');
const attach = (what = device): Step => ({
  kind: 'attach',
  vm: vmId(1),
  slot: { controller: 0, port: 1 },
  device: what,
  why: '',
});
const detach: Step = { kind: 'detach', vm: vmId(1), attachment: attached(device, 1), why: '' };
const ATTACH = 'attach dom0:1-1 vm1 0-1';
const BOOM = new Fault('usb.attach_failed', { device: 'dom0:1-1', vm: 'vm1', what: 'boom' });

suite('Attacher', () => {
  test('an attach goes through its states and is under way until its end has been observed', async () => {
    const bench = new Bench({ settleMs: 100 });
    bench.attacher.submit([attach()]);
    assert.equal(bench.stateOf('dom0:1-1'), 'settling');
    assert.deepEqual(bench.begun, []);
    await bench.clock.advance(100);
    assert.equal(bench.stateOf('dom0:1-1'), 'attaching');
    const before = bench.attacher.ends;
    await bench.finish(ATTACH);
    assert.equal(bench.stateOf('dom0:1-1'), 'attached');
    assert.deepEqual(bench.ended, [`${ATTACH} done`]);
    bench.attacher.confirm(vmId(1), before);
    assert.ok(bench.attacher.isBusy(vmId(1)), 'an observation from before the end does not count');
    bench.attacher.confirm(vmId(2), bench.attacher.ends);
    assert.ok(bench.attacher.isBusy(vmId(1)), 'nor one of another VM');
    bench.attacher.confirm(vmId(1), bench.attacher.ends);
    assert.ok(!bench.attacher.isBusy());
    assert.equal(bench.stateOf('dom0:1-1'), undefined);
  });

  test('a device has one step at a time, and holds up no other', async () => {
    const bench = new Bench();
    bench.attacher.submit([attach(), detach, attach(other)]);
    bench.attacher.submit([detach]);
    assert.deepEqual(bench.begun, [ATTACH, 'attach dom0:1-2 vm1 0-1']);
    await bench.finish('attach dom0:1-2 vm1 0-1');
    assert.equal(bench.stateOf('dom0:1-1'), 'attaching');
    assert.equal(bench.stateOf('dom0:1-2'), 'attached');
  });

  test('failures count, and the next try comes later and later', async () => {
    const bench = new Bench();
    for (const [failures, retryMs] of [
      [1, 500],
      [2, 1_000],
      [3, 2_000],
    ] as const) {
      bench.attacher.submit([attach()]);
      await bench.finish(ATTACH, BOOM);
      bench.attacher.confirm(vmId(1), bench.attacher.ends);
      const entry = bench.attacher.memory.get('dom0:1-1');
      assert.deepEqual(
        [entry?.state, entry?.failures, entry?.retryAt, entry?.inFlight],
        ['failed', failures, retryMs, undefined],
      );
      assert.equal(entry?.lastError, 'boom', 'without the sentence that whoever shows it says again');
    }
    bench.attacher.submit([attach({ ...device, generation: 'newer' })]);
    assert.equal(bench.attacher.memory.get('dom0:1-1')?.failures, 0, 'a new plug starts anew');
    await bench.finish(ATTACH);
  });

  test('forgive and keepOnly forget failures, never what is under way', async () => {
    const bench = new Bench();
    bench.attacher.submit([attach()]);
    bench.attacher.forgive();
    bench.attacher.keepOnly(new Set());
    assert.ok(bench.attacher.isBusy(vmId(1)));
    await bench.finish(ATTACH, BOOM);
    bench.attacher.confirm(vmId(1), 1);
    bench.attacher.forgive(vmId(2));
    bench.attacher.keepOnly(new Set(['dom0:1-1']));
    assert.equal(bench.stateOf('dom0:1-1'), 'failed');
    bench.attacher.forgive(vmId(1));
    assert.equal(bench.stateOf('dom0:1-1'), undefined);
  });

  test('a step over its deadline has failed, and the next of its device waits for the executor to return', async () => {
    const bench = new Bench({ deadlinesMs: { attach: 1_000 } });
    bench.attacher.submit([attach()]);
    await bench.clock.advance(1_000);
    assert.deepEqual(bench.ended, [`${ATTACH} failed`]);
    assert.ok(bench.signalOf(ATTACH)?.aborted);
    bench.attacher.confirm(vmId(1), bench.attacher.ends);
    assert.match(bench.attacher.memory.get('dom0:1-1')?.lastError ?? '', /took longer than 1 s/);
    bench.attacher.submit([detach]);
    assert.equal(bench.stateOf('dom0:1-1'), 'queued');
    assert.deepEqual(bench.begun, [ATTACH]);
    await bench.finish(ATTACH);
    assert.deepEqual(bench.begun, [ATTACH, 'detach dom0:1-1 vm1 0-1']);
    assert.equal(bench.stateOf('dom0:1-1'), 'detaching');
  });

  test('dropping a hold needs no observation', async () => {
    const bench = new Bench();
    const hold = holdOut(device);
    bench.attacher.submit([{ kind: 'dropHold', hold, why: '' }, attach()]);
    assert.deepEqual(bench.begun, ['dropHold dom0:1-1', ATTACH], 'a hold is not its device');
    await bench.finish('dropHold dom0:1-1');
    assert.deepEqual([...bench.attacher.memory.keys()], ['dom0:1-1']);
  });

  test('close aborts what is under way, waits for it and takes nothing more', async () => {
    const bench = new Bench();
    bench.attacher.submit([attach()]);
    let isClosed = false;
    const closing = bench.attacher.close().then(() => (isClosed = true));
    await bench.clock.advance(0);
    assert.ok(bench.signalOf(ATTACH)?.aborted);
    assert.ok(!isClosed);
    await bench.finish(ATTACH, BOOM);
    await closing;
    bench.attacher.submit([attach(other)]);
    assert.deepEqual(bench.begun, [ATTACH]);
  });
});
