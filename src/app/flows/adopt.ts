/**
 * Takes a stranger into the inventory: a domain that runs and belongs to no VM. Its config is written from what the
 * driver can tell; the domain itself is not touched.
 */
import { unlink, writeFile } from 'node:fs/promises';
import { printVmFile } from '../../config/xenvm-file.ts';
import type { DomainDescription } from '../../hypervisor/driver.ts';
import type { NewVm } from '../../inventory/inventory.ts';
import { Fault, isFault, messageOf } from '../../lib/fault.ts';
import { listWords, nearest, printable } from '../../lib/text.ts';
import { isUuid, parseVmName } from '../../model/ids.ts';
import type { VmRecord } from '../../model/vm.ts';
import { isLiving } from '../../monitor/states.ts';
import type { Engine } from '../engine.ts';
import { listStrangers, type Stranger } from '../strangers.ts';

type Parts = Pick<Engine, 'fleet' | 'drivers' | 'inventory'>;

/** Takes a VM into the inventory and the fleet, or into neither. */
export type TakeIn = (from: NewVm) => Promise<VmRecord>;

/**
 * Takes a stranger in, found by name or uuid; gives its VM, and what that one's config lacks. With `file`, the config is
 * written there, and nothing is replaced; when the adoption fails, it is gone again. @throws Fault `vm.exists`,
 * `vm.not_found`, `vm.state`, `vm.name_invalid`, `hypervisor.failed`, `file.unwritable`
 */
export async function adoptStranger(
  engine: Parts,
  untrustedRef: string,
  options: { readonly name?: string | undefined; readonly file?: string | undefined },
  takeIn: TakeIn,
): Promise<{ readonly record: VmRecord; readonly warnings: readonly string[] }> {
  const { driver: driverName, domain } = await findStranger(engine, untrustedRef);
  if (!isLiving(domain)) {
    const details = { verb: 'adopt', vm: printable(domain.name, 70), state: 'halted', expected: 'running or paused' };
    throw new Fault('vm.state', details, { hint: 'Who made it has to clear it away.' });
  }
  const driver = await engine.drivers.get(driverName);
  if (driver.describe === undefined) {
    throw new Fault('hypervisor.failed', { what: `the driver ${driverName} cannot tell what a domain is made of` });
  }
  const { settings, omits } = onOneLineEach(await driver.describe(domain.uuid));
  const name = parseVmName(options.name ?? domain.name);
  const config = { ...settings, uuid: domain.uuid, name, driver: driverName, ...LEFT_ALONE };
  const content = `# Written by Usher from what ${driverName} told of a domain that others made.\n${printVmFile(config)}`;
  const warnings = [
    ...(omits.length === 0 ? [] : [`Its config lacks ${listWords(omits, 'and')}: started from it, the VM has none.`]),
    'When it dies it is left to whoever made it: see on_crash, on_halt and on_reboot in its config.',
  ];
  const { file } = options;
  if (file === undefined) return { record: await takeIn({ content, name }), warnings };
  await writeNew(file, content);
  try {
    return { record: await takeIn({ path: file, name }), warnings };
  } catch (error) {
    await unlink(file).catch(() => undefined);
    throw error;
  }
}

/** Who made it may answer its death, too: both together would start it twice. */
const LEFT_ALONE = { onCrash: 'preserve', onHalt: 'preserve', onReboot: 'preserve' } as const;

async function findStranger(engine: Parts, untrustedRef: string): Promise<Stranger> {
  const strangers = await listStrangers(engine);
  const isMeant = ({ domain }: Stranger) =>
    isUuid(untrustedRef) ? domain.uuid === untrustedRef.toLowerCase() : domain.name === untrustedRef;
  const [found, another] = strangers.filter(isMeant);
  if (found !== undefined && another === undefined) return found;
  if (another !== undefined) {
    const what = `"${printable(untrustedRef, 70)}" names several domains: give the uuid`;
    throw new Fault('params.invalid', { field: 'domain', what });
  }
  if (isKnown(engine.inventory, untrustedRef)) {
    const key = isUuid(untrustedRef) ? 'uuid' : 'name';
    throw new Fault('vm.exists', { key, value: untrustedRef }, { hint: 'It is in the inventory: usher vm list' });
  }
  const near =
    untrustedRef.length > 63
      ? undefined
      : nearest(
          untrustedRef,
          strangers.map(({ domain }) => domain.name),
        );
  const hint = near === undefined ? 'See: usher vm list --all' : `Did you mean "${printable(near, 70)}"?`;
  throw new Fault('vm.not_found', { vm: printable(untrustedRef, 70) }, { hint });
}

function isKnown(inventory: Engine['inventory'], ref: string): boolean {
  try {
    inventory.findVm(ref);
    return true;
  } catch (error) {
    if (!isFault(error, 'vm.not_found')) throw error;
    return false;
  }
}

/** Leaves out what a config file could not hold: a text with a line break would be read as two lines. */
function onOneLineEach({ settings, omits }: DomainDescription): DomainDescription {
  const entries = Object.entries(settings);
  const kept = entries.filter(([, value]) => isOnOneLine(value));
  const cut = entries.filter((entry) => !kept.includes(entry)).map(([field]) => `its ${field} (control characters)`);
  return { settings: Object.fromEntries(kept), omits: [...omits, ...cut] };
}

function isOnOneLine(value: unknown): boolean {
  if (typeof value === 'string') return !/\p{Cc}/u.test(value);
  return typeof value !== 'object' || value === null || Object.values(value).every(isOnOneLine);
}

async function writeNew(file: string, content: string): Promise<void> {
  await writeFile(file, content, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
    throw new Fault('file.unwritable', { file, what: messageOf(error) }, { cause: error });
  });
}
