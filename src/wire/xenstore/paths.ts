/** Which paths may be sent: checked here because xenstored answers all that is wrong with EINVAL. No I/O. */
import { Fault } from '../../lib/fault.ts';
import { printable } from '../../lib/text.ts';

/** Longest path that begins with `/`, in bytes (xs_wire.h). A daemon may allow less: see docs/protocols/xenstore.md. */
export const MAX_ABSOLUTE_PATH_BYTES = 3072;
/** Longest path below the caller's own domain. */
export const MAX_RELATIVE_PATH_BYTES = 2048;

const ABSOLUTE = /^\/(?:[\w@-]+(?:\/[\w@-]+)*)?$/;
const RELATIVE = /^[\w-][\w@-]*(?:\/[\w@-]+)*$/;
const SPECIAL = /^@[\w@-]+(?:\/[\w@-]+)*$/;

/** Tells whether the path is one of the events that xenstored invents: `@introduceDomain`, `@releaseDomain`. */
export function isSpecialPath(path: string): boolean {
  return path.startsWith('@');
}

/**
 * Refuses a path that is too long, has other characters than `A-Z a-z 0-9 - / _ @`, or an empty part. Special paths
 * (`@releaseDomain`) are for watches and permissions only. @throws Fault `params.invalid`
 */
export function checkPath(path: string, allowsSpecial = false): void {
  const isAbsolute = path.startsWith('/');
  const limit = isAbsolute ? MAX_ABSOLUTE_PATH_BYTES : MAX_RELATIVE_PATH_BYTES;
  if ((isAbsolute ? ABSOLUTE : RELATIVE).test(path) && path.length <= limit) return;
  if (allowsSpecial && SPECIAL.test(path) && path.length <= limit) return;
  throw new Fault('params.invalid', { field: 'path', what: `"${printable(path, 80)}" ${wordsFor(path, limit)}` });
}

/** Tells how many levels `path` lies below `root`: 0 for itself, `undefined` when it is not below it. */
export function levelsBelow(root: string, path: string): number | undefined {
  if (path === root) return 0;
  const prefix = root === '/' ? root : `${root}/`;
  if (!path.startsWith(prefix)) return undefined;
  let levels = 1;
  for (let at = path.indexOf('/', prefix.length); at !== -1; at = path.indexOf('/', at + 1)) levels++;
  return levels;
}

function wordsFor(path: string, limit: number): string {
  if (path === '') return 'is empty';
  if (path.length > limit) return `has ${path.length} characters, and ${limit} are allowed`;
  if (isSpecialPath(path)) return 'is an event, not a node';
  if (path.includes('//')) return 'has an empty part';
  if (path.endsWith('/')) return 'ends in a slash';
  return 'has a character that xenstore does not allow in a path';
}
