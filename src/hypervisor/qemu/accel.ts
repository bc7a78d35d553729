/** Decides between KVM and emulation, and says why. Looks at the host; starts nothing. */
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { errnoOf } from '../../lib/fault.ts';

export interface Accelerator {
  readonly name: 'kvm' | 'tcg';
  /** Why this one, as a sentence. */
  readonly why: string;
  /** What would make KVM usable; absent when it is used, or cannot be helped. */
  readonly advice?: string;
}

/** What a person wants: `auto` takes KVM where it can work. */
export type AcceleratorWish = 'auto' | 'tcg';

export interface AcceleratorOptions {
  readonly wish?: AcceleratorWish | undefined;
  readonly kvm?: string;
  readonly cpuinfo?: string;
}

/**
 * Chooses KVM only where it can work: the device opens *and* the processor has the extension. A `/dev/kvm` without the
 * extension (seen in containers on emulated machines) makes `-accel kvm` hang for ever instead of failing.
 */
export async function chooseAccelerator(options: AcceleratorOptions = {}): Promise<Accelerator> {
  const { wish = 'auto', kvm = '/dev/kvm', cpuinfo = '/proc/cpuinfo' } = options;
  if (wish === 'tcg') return { name: 'tcg', why: 'The settings say so (accelerator), so guests are emulated.' };
  const flags = await readFile(cpuinfo, 'utf8').catch(() => '');
  if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(flags)) {
    return { name: 'tcg', why: 'The processor has neither vmx nor svm, so guests are emulated, which is slower.' };
  }
  try {
    await access(kvm, constants.R_OK | constants.W_OK);
    return { name: 'kvm', why: `The processor has the extension, and ${kvm} can be opened.` };
  } catch (error) {
    const isMissing = errnoOf(error) === 'ENOENT';
    return {
      name: 'tcg',
      why: `${kvm} ${isMissing ? 'does not exist' : 'cannot be opened'}, so guests are emulated, which is slower.`,
      advice: isMissing
        ? 'Load the module kvm_intel or kvm_amd, and switch on virtualisation in the firmware.'
        : 'Add the user that Usher runs as to the group kvm.',
    };
  }
}
