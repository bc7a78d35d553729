/** Watches a folder and the folders in it by inotify: which names come and go. Two levels, no deeper. */
import { type FSWatcher, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';

/**
 * Calls `onEvent` with the folder and the name of what came, went or changed there, until the function it returns is
 * called. A root that is missing, now or later, gives no events.
 *
 * INVARIANTS: every inner folder that is there when an event is told is being watched by then, so that what is made in
 * it later gives an event of its own. What was in a new folder before it was watched is not told by name: the folder is.
 */
export function watchFolders(root: string, onEvent: (folder: string, name: string | undefined) => void): () => void {
  const watchers = new Map<string, FSWatcher>();
  let isStopped = false;

  const follow = (folder: string) => {
    if (watchers.has(folder)) return;
    try {
      const watcher = watch(folder, { persistent: false }, (_change, name) => tell(folder, name ?? undefined));
      watchers.set(folder, watcher);
      watcher.on('error', () => drop(folder)); // The folder is gone; its root told.
    } catch {
      // The folder vanished before it could be watched.
    }
  };
  const drop = (folder: string) => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };
  const followInner = () => {
    const inner = namesIn(root).map((name) => join(root, name));
    for (const folder of watchers.keys()) if (folder !== root && !inner.includes(folder)) drop(folder);
    for (const folder of inner) follow(folder);
  };
  const tell = (folder: string, name: string | undefined) => {
    if (isStopped) return;
    if (folder === root) followInner();
    onEvent(folder, name);
  };

  follow(root);
  followInner();
  return () => {
    isStopped = true;
    for (const folder of [...watchers.keys()]) drop(folder);
  };
}

/** Only folders can be followed; what else is in the root does not matter. */
function namesIn(root: string): string[] {
  try {
    return readdirSync(root, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}
