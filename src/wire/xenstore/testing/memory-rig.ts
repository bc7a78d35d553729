/** A client of an in-memory daemon over a unix socket, and what tests do with both. For tests only. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { XenstoreClient, type XenstoreOptions } from '../client.ts';
import { MemoryDaemon, type MemoryDaemonOptions } from './memory-daemon.ts';

export interface MemoryRig {
  readonly daemon: MemoryDaemon;
  readonly path: string;
  readonly client: XenstoreClient;
}

/** Gives a place for a socket, which is removed after the test. */
export function socketPlace(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'xenstore-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'socket');
}

/** Starts a daemon and connects a client, both ended after the test. */
export async function memoryRig(
  t: TestContext,
  options: { readonly client?: XenstoreOptions; readonly daemon?: MemoryDaemonOptions } = {},
): Promise<MemoryRig> {
  const path = socketPlace(t);
  const daemon = new MemoryDaemon(options.daemon);
  await daemon.listen(path);
  const client = await XenstoreClient.connect({
    path,
    backoff: { firstMs: 1, capMs: 5, jitter: 0 },
    ...options.client,
  });
  t.after(async () => {
    client.close();
    await daemon.die();
  });
  return { daemon, path, client };
}

/** Collects what is called, and waits until so many calls have come. */
export class Calls<T> {
  readonly seen: T[] = [];
  #wake = () => {};

  readonly take = (value: T): void => {
    this.seen.push(value);
    this.#wake();
  };

  async until(count: number): Promise<readonly T[]> {
    while (this.seen.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.seen;
  }
}

/** Waits until something holds, by the system's clock. @throws Error when it does not come to hold */
export async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 10_000; !condition(); await new Promise((resolve) => setTimeout(resolve, 1)))
    if (performance.now() > end) throw new Error(`it never came true: ${condition}`);
}
