/**
 * Hints that USB devices came or went on this host: inotify on `/dev/bus/usb`, where the kernel makes a node for each
 * device in a folder for each bus, or `udevadm monitor` where that folder is missing. A hint says nothing but "look".
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, systemClock } from '../lib/clock.ts';
import { watchFolders } from '../lib/folder-watch.ts';

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
  return isInotify ? watchNodes(folder, onHint) : followUdev(onHint, clock);
}

/** Events of one turn of the loop make one hint. */
function watchNodes(root: string, onHint: () => void): () => void {
  let pending: NodeJS.Immediate | undefined;
  const stop = watchFolders(root, () => {
    pending ??= setImmediate(() => {
      pending = undefined;
      onHint();
    });
  });
  return () => {
    stop();
    clearImmediate(pending);
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
