/**
 * Hints that USB devices came or went on this host: inotify on `/dev/bus/usb`, where the kernel makes a node for each
 * device in a folder for each bus, or `udevadm monitor` where that folder is missing. A hint says nothing but "look".
 */
import { spawn } from 'node:child_process';
import { existsSync, type FSWatcher, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { type Clock, systemClock } from '../lib/clock.ts';

/** Calls `onHint` when something may have changed, until the function it returns is called. */
export type Hotplug = (onHint: () => void) => () => void;

export interface HotplugOptions {
  readonly devRoot: string;
  readonly onHint: () => void;
  readonly clock?: Clock | undefined;
  /** Default: inotify, unless `/dev/bus/usb` is missing. */
  readonly how?: 'inotify' | 'udevadm' | undefined;
}

const RESTART_MS = 5_000;

/** Starts to watch. Hints may be missed: the router's sweep is the safety net. */
export function watchHotplug({ devRoot, onHint, clock = systemClock, how }: HotplugOptions): () => void {
  const folder = join(devRoot, 'bus/usb');
  const isInotify = how === undefined ? existsSync(folder) : how === 'inotify';
  return isInotify ? watchFolders(folder, onHint) : followUdev(onHint, clock);
}

/**
 * INVARIANTS: every bus folder that is there when a hint is given is being watched by then, so that a node which is made
 * later gives a hint of its own; events of one turn of the loop make one hint.
 */
function watchFolders(root: string, onHint: () => void): () => void {
  const watchers = new Map<string, FSWatcher>();
  let pending: NodeJS.Immediate | undefined;
  let isStopped = false;

  const follow = (folder: string) => {
    if (watchers.has(folder)) return;
    try {
      const watcher = watch(folder, { persistent: false }, onEvent);
      watchers.set(folder, watcher);
      watcher.on('error', () => drop(folder)); // The bus is gone; its root told.
    } catch {
      // The folder vanished before it could be watched.
    }
  };
  const drop = (folder: string) => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };
  const followBuses = () => {
    const buses = namesIn(root).map((name) => join(root, name));
    for (const folder of watchers.keys()) if (folder !== root && !buses.includes(folder)) drop(folder);
    for (const folder of buses) follow(folder);
  };
  const onEvent = () => {
    pending ??= setImmediate(() => {
      pending = undefined;
      if (isStopped) return;
      followBuses();
      onHint();
    });
  };

  follow(root);
  followBuses();
  return () => {
    isStopped = true;
    clearImmediate(pending);
    for (const folder of [...watchers.keys()]) drop(folder);
  };
}

/** Follows `udevadm monitor`; started again when it ends, unless it cannot be started at all. */
function followUdev(onHint: () => void, clock: Clock): () => void {
  let stop = () => {};
  const begin = () => {
    const child = spawn('udevadm', ['monitor', '--kernel', '--subsystem-match=usb'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    child.stdout.on('data', onHint);
    child.on('error', () => undefined); // There is no udevadm here: the sweep alone has to do.
    child.on('exit', () => {
      const cancel = clock.after(RESTART_MS, begin);
      stop = cancel;
      onHint();
    });
    stop = () => {
      child.removeAllListeners('exit');
      child.kill();
    };
  };
  begin();
  return () => stop();
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
