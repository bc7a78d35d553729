/** The value of `extra-hvm`: arguments for the device model, `k=v,k=v`; a comma of a value is doubled, as QEMU has it. */
import { printable } from '../lib/text.ts';
import type { ExtraArgument } from '../model/vm.ts';
import type { ValueContext } from './values.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$/;
const MAX_ARGUMENTS = 64;

/** Options by which Usher finds, confines and steers the process: with another value the VM would be lost to it. */
const RESERVED: ReadonlySet<string> = new Set(
  `action add-fd accel chroot D d daemonize display enable-kvm h help incoming kernel loadvm M m machine mon monitor name
  no-reboot no-shutdown no-user-config nodefaults nographic pidfile preconfig qmp qmp-pretty readconfig runas S sandbox
  snapshot trace uuid version xen-attach xen-domid`.split(/\s+/),
);

/** Parses arguments and adds them to those of the lines before; commas alone are like no line. */
export function parseExtraArguments(
  text: string,
  context: ValueContext,
  before?: readonly ExtraArgument[],
): readonly ExtraArgument[] | undefined {
  const added: ExtraArgument[] = [];
  for (const match of text.matchAll(/(?:[^,]|,,)+/g)) {
    const at = match.index;
    const item = match[0].trim();
    if (item === '') continue;
    const equals = item.indexOf('=');
    const name = (equals === -1 ? item : item.slice(0, equals)).trimEnd();
    if (!NAME.test(name)) {
      const shown = printable(item, 40);
      return context.error(`An argument is "name=value", such as "device=virtio-rng-pci", not "${shown}".`, at);
    }
    if (RESERVED.has(name)) {
      return context.error(`Usher itself says "-${name}" to the device model; take it out of "${context.key}".`, at);
    }
    const value = item
      .slice(equals + 1)
      .trimStart()
      .replaceAll(',,', ',');
    added.push(equals === -1 ? { name } : { name, value });
  }
  if (added.length === 0) return before;
  const all = [...(before ?? []), ...added];
  if (all.length <= MAX_ARGUMENTS) return all;
  return context.error(`There are at most ${MAX_ARGUMENTS} arguments.`);
}

/** Prints an argument so that `parseExtraArguments` gives it again. */
export function printExtraArgument({ name, value }: ExtraArgument): string {
  return value === undefined ? name : `${name}=${value.replaceAll(',', ',,')}`;
}
