/** Single values of a policy file that are no patterns: names of VMs and rules, reasons, numbers, what is expected. */
import { reasonOf } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import { parseVmName } from '../model/ids.ts';
import type { PolicyAction } from '../model/policy.ts';
import type { Reading } from '../model/policy-patterns.ts';

const MAX_REASON = 200;

/** Reads the name of a VM. Whether there is one is no matter here. */
export function readVm(untrustedText: string): Reading<string> {
  try {
    return { value: parseVmName(untrustedText) };
  } catch (error) {
    return { wrong: reasonOf(error) };
  }
}

/** Reads the name of a rule: a letter, then letters, digits, spaces, `.`, `_`, `-`, 63 at most, of any language. */
export function readRuleName(untrustedText: string): Reading<string> {
  if (/^\p{L}[\p{L}\p{M}\p{N} ._-]{0,62}$/u.test(untrustedText)) return { value: untrustedText };
  return {
    wrong: `"${printable(untrustedText, 70)}" is no name: a letter followed by up to 62 letters, digits, spaces, dots or dashes`,
  };
}

/** Reads `true`, or the reason that people are told; gives no reason as the empty one. */
export function readReason(untrustedText: string): Reading<string> {
  if (untrustedText === 'true' || untrustedText === 'yes') return { value: '' };
  const isNo = untrustedText === 'false' || untrustedText === 'no' || untrustedText.trim() === '';
  if (isNo) return { wrong: 'write true, or the reason that people are to be told' };
  if (printable(untrustedText, MAX_REASON) === untrustedText) return { value: untrustedText };
  return { wrong: `a reason is one line of up to ${MAX_REASON} characters that can be seen` };
}

/** Makes a reader of a whole number. */
export function readNumber(min: number, max: number): (untrustedText: string) => Reading<number> {
  return (untrustedText) => {
    const value = /^[0-9]{1,9}$/.test(untrustedText) ? Number(untrustedText) : Number.NaN;
    if (value >= min && value <= max) return { value };
    return { wrong: `it is a whole number from ${min} to ${max}, not "${printable(untrustedText, 40)}"` };
  };
}

/** Reads `work`, `attach work`, `ask work, play`, `deny` or `nothing`. */
export function readAction(untrustedText: string): Reading<PolicyAction> {
  if (untrustedText === 'deny' || untrustedText === 'nothing') return { value: { do: untrustedText } };
  if (untrustedText === 'ask' || untrustedText === 'attach') return { wrong: `write ${FORMS}` };
  const [, verb = 'attach', names = ''] = /^(?:(attach|ask)\s+)?(.*)$/su.exec(untrustedText) ?? [];
  const vms = names.split(verb === 'ask' ? /[\s,]+/u : /,/u).map((name) => readVm(name.trim()));
  const wrong = vms.find((vm) => 'wrong' in vm);
  const [first, ...others] = vms.flatMap((vm) => ('value' in vm ? [vm.value] : []));
  if (wrong !== undefined && 'wrong' in wrong) return { wrong: `${wrong.wrong}; write ${FORMS}` };
  if (first === undefined || (verb !== 'ask' && others.length > 0)) return { wrong: `write ${FORMS}` };
  return { value: verb === 'ask' ? { do: 'ask', vms: [...new Set([first, ...others])] } : { do: 'attach', vm: first } };
}

const FORMS = 'the name of a VM, ask and names of VMs, deny, or nothing';
