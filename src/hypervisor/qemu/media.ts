/**
 * Media of CD drives that were changed while the guest ran. The config does not know them: a save has to tell them, so that
 * the guest wakes up to what it had in its drives. Pure.
 */
import type { VmConfig } from '../../model/vm.ts';

export interface Medium {
  /** The drive, by its name in the guest. */
  readonly target: string;
  /** Absent: the drive is empty. */
  readonly file?: string;
}

const TARGET = /^[a-z]{1,8}[0-9]{0,3}$/;
const MAX_PATH = 4096;

/** Gives the media with this one in the place of what was in its drive. */
export function withMedium(media: readonly Medium[], medium: Medium): readonly Medium[] {
  return [...media.filter(({ target }) => target !== medium.target), medium];
}

/** Gives the config with these media in its CD drives; an image is taken as raw, as it was when it was put in. */
export function withMedia(config: VmConfig, media: readonly Medium[]): VmConfig {
  if (media.length === 0) return config;
  const disks = config.disks.map((disk) => {
    const medium = media.find(({ target }) => target === disk.target && disk.kind === 'cdrom');
    return medium === undefined ? disk : { ...disk, path: medium.file ?? '', format: 'raw' as const };
  });
  return { ...config, disks };
}

/** Parses what a save says of media; `undefined` for what no save of ours says. */
export function parseMedia(untrusted: unknown): readonly Medium[] | undefined {
  if (!Array.isArray(untrusted)) return undefined;
  const media: Medium[] = [];
  for (const entry of untrusted as readonly unknown[]) {
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { target, file } = entry as Record<string, unknown>;
    if (typeof target !== 'string' || !TARGET.test(target)) return undefined;
    if (file === undefined) media.push({ target });
    else if (typeof file === 'string' && file.startsWith('/') && file.length <= MAX_PATH) media.push({ target, file });
    else return undefined;
  }
  return media;
}
