/** The tables of procfs that say which file systems and swaps are in use (proc(5): mountinfo, swaps). Pure parsers. */

export interface Mount {
  /** Major and minor number of the file system, `8:17`; btrfs, ZFS and overlays have one of their own, `0:42`. */
  readonly number: string;
  readonly at: string;
  readonly type: string;
  /** What was mounted: `/dev/sdb1`, several of them for bcachefs, `pool/dataset` for ZFS. */
  readonly sources: readonly string[];
  /** Folders that an overlay is made of, as far as they have whole paths; empty for anything else. */
  readonly layers: readonly string[];
}

export interface Swap {
  readonly path: string;
  readonly isFile: boolean;
}

/** Reads `mountinfo`; a line that is none is left out. Later mounts come later. */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line): Mount[] => {
    const [before = '', after] = line.split(' - ');
    const [, , number = '', , at] = before.split(' ');
    const [type = '', source = '', options = ''] = after?.split(' ') ?? [];
    if (at === undefined || after === undefined) return [];
    const layers = type === 'overlay' ? layersOf(options) : [];
    return [{ number, at: unescaped(at), type, sources: unescaped(source).split(':'), layers }];
  });
}

/** Reads `swaps`, whose first line is the heading. */
export function parseSwaps(text: string): Swap[] {
  return text.split('\n').flatMap((line): Swap[] => {
    const [path = '', kind] = line.split(/\s+/);
    return path.startsWith('/') ? [{ path: withoutMark(unescaped(path)), isFile: kind === 'file' }] : [];
  });
}

/** Gives the mount that a path lies in: the deepest, and of those on top of each other the last. */
export function mountCovering(mounts: readonly Mount[], path: string): Mount | undefined {
  let best: Mount | undefined;
  for (const mount of mounts) {
    const isAbove = mount.at === '/' || path === mount.at || path.startsWith(`${mount.at}/`);
    if (isAbove && mount.at.length >= (best?.at.length ?? 0)) best = mount;
  }
  return best;
}

/** Takes off the kernel's mark of a file that has no name any more. */
export function withoutMark(path: string): string {
  return path.replace(/ \(deleted\)$/, '');
}

/** `lowerdir=/a:/b,upperdir=/c`; since Linux 6.8 also `lowerdir+=/a,lowerdir+=/b`. */
function layersOf(options: string): string[] {
  return options.split(',').flatMap((option) => {
    const value = /^(?:lowerdir\+?|datadir\+|upperdir)=(.*)$/.exec(option)?.[1];
    return (value?.split(':') ?? []).filter((path) => path.startsWith('/')).map(unescaped);
  });
}

/** Space, tab, line feed and backslash are written in octal. */
function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
