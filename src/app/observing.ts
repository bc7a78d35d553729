/**
 * Observe mode: whether this daemon is to move nothing by itself, and what is told then. For who tries a policy, and for
 * who has locked himself out: a word on the kernel's command line, or a file, is enough.
 */
import { access, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Places } from '../config/places.ts';
import type { Settings } from '../config/settings.ts';
import type { Publish } from '../model/event.ts';
import { formatAction, formatRuleRef } from '../model/policy.ts';
import type { Verdict } from '../usb/plan-types.ts';

/** The word on the kernel's command line. */
export const OBSERVE_WORD = 'usher.observe';

/** Says why assignments and rules are only observed; `undefined` when they are followed. */
export async function whyObserving(
  places: Pick<Places, 'settingsFile'>,
  settings: Pick<Settings, 'mode'>,
  kernelFile = '/proc/cmdline',
): Promise<string | undefined> {
  const words = (await readFile(kernelFile, 'utf8').catch(() => '')).split(/\s+/);
  if (words.includes(OBSERVE_WORD)) return `the kernel was started with ${OBSERVE_WORD}`;
  const file = join(dirname(places.settingsFile), 'observe');
  const isThere = await access(file).then(
    () => true,
    () => false,
  );
  if (isThere) return `the file ${file} is there`;
  return settings.mode === 'observe' ? 'the settings say so' : undefined;
}

/** Tells, once for each change, which rules would decide about devices and are not followed. */
export class Observations {
  readonly #publish: Publish;
  readonly #told = new Map<string, string>();

  constructor(publish: Publish) {
    this.#publish = publish;
  }

  /** Takes note of the newest verdicts. A device about which no rule has anything to say is the fallback: nothing is told. */
  look(verdicts: readonly Verdict[]): void {
    const present = new Set<string>();
    for (const { device, decider, policy } of verdicts) {
      if (policy?.rule === undefined || decider.by === 'rule' || decider.by === 'guard') continue;
      present.add(device);
      const [rule, says] = [formatRuleRef(policy.rule), formatAction(policy.action)];
      const word = `${rule} ${says}`;
      if (this.#told.get(device) === word) continue;
      this.#told.set(device, word);
      this.#publish('usb.observed', { device, rule, says });
    }
    for (const device of this.#told.keys()) if (!present.has(device)) this.#told.delete(device);
  }
}
