/** Tells one boot of the host from another. */
import { readFileSync } from 'node:fs';

let known: string | undefined;

/** Gives the kernel's id of this boot (random(4)); the same for as long as the host runs. */
export function bootId(): string {
  known ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return known;
}
