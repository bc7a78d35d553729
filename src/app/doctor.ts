/** `usher doctor`: what of the host is there, what is missing, and what to do. */
import { access, constants, readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type Places, placesOf } from '../config/places.ts';
import { DEFAULT_SETTINGS, loadSettings } from '../config/settings.ts';
import type { Driver, Finding } from '../hypervisor/driver.ts';
import { errnoOf, messageOf } from '../lib/fault.ts';
import { examineDatabase } from '../lib/sqlite.ts';
import { size } from '../lib/text.ts';
import { readControllers, tellController } from '../usb/given-away.ts';
import { HOST_ROOTS } from '../usb/host-files.ts';
import type { Engine } from './engine.ts';
import { driverOfHost, hasSignsOfXen } from './host-driver.ts';

/** Less free space than this in the state folder is worth a warning. */
const LITTLE_BYTES = 512 * 1024 * 1024;

/** Examines the host for a daemon that runs. */
export async function diagnose(engine: Engine): Promise<Finding[]> {
  const { drivers, places, version, inventory, fleet, defaultDriver } = engine;
  const daemon: Finding = {
    level: 'ok',
    subject: 'daemon',
    says: `usherd ${version}, process ${process.pid}, home ${places.home}`,
  };
  const needed = new Set([defaultDriver, ...inventory.listVms().map((vm) => vm.driver)]);
  const isMeantForXen = await hasSignsOfXen();
  const inDrivers = drivers.names.map(async (name): Promise<Finding[]> => {
    const findings = await drivers.get(name).then(
      (driver) => driver.diagnose(),
      (error: unknown): Finding[] => [{ level: 'error', subject: name, says: messageOf(error) }],
    );
    if (needed.has(name)) return findings;
    return findings.map(name === 'xen' && isMeantForXen ? asWarning : asNote);
  });
  const warned = fleet.list().filter(({ uuid }) => fleet.warningsOf(uuid).length > 0);
  const vms = warned.map(({ uuid, name }): Finding => {
    return {
      level: 'warning',
      subject: `VM ${name}`,
      says: fleet.warningsOf(uuid).at(-1) ?? '',
      advice: `usher vm show ${name}`,
    };
  });
  const troubled = fleet.list().flatMap(({ uuid, name }): Finding[] => {
    const { usbTrouble } = fleet.domainOf(uuid) ?? {};
    if (usbTrouble === undefined) return [];
    const advice = `usher vm restart ${name}`;
    return [{ level: 'warning', subject: `VM ${name}`, says: `no device can be attached: ${usbTrouble}`, advice }];
  });
  return [
    daemon,
    ...storeFindings(places),
    ...auditFindings(engine),
    ...(await hostFindings(places.stateFolder)),
    ...policyFindings(engine),
    ...(await Promise.all(inDrivers)).flat(),
    ...troubled,
    ...vms,
  ];
}

/** What is wrong with the policy, and whether anything is followed at all. */
function policyFindings({ policy, observeReason }: Engine): Finding[] {
  const subject = 'policy';
  const { rules, mode } = policy.policy;
  const broken: Finding[] =
    policy.problem === undefined
      ? []
      : [
          {
            ...{ level: 'warning', subject, says: `what holds is not the file: ${policy.problem}` },
            advice: 'usher policy check, then: usher policy load',
          },
        ];
  const observing: Finding[] =
    observeReason === undefined
      ? []
      : [{ level: 'warning', subject, says: `assignments and rules move nothing: ${observeReason}` }];
  const holds: Finding[] =
    rules.length === 0 ? [] : [{ level: 'ok', subject, says: `${rules.length} rules, mode ${mode}` }];
  return [...broken, ...observing, ...holds];
}

/** What is wrong with the trail as it is written now. */
function auditFindings({ audit, anchors }: Engine): Finding[] {
  const subject = 'audit trail';
  const owed: Finding[] =
    audit.owed === 0
      ? []
      : [
          {
            ...{ level: 'error', subject, says: `${audit.owed} outcomes could not be written yet` },
            advice: 'Nothing that would have to be audited is done until they can be: make room on the disk.',
          },
        ];
  if (anchors.trouble === undefined) return owed;
  const says = `its head cannot be told to the system log (${anchors.trouble}): rows that are cut off its end would not be missed`;
  const advice = 'Run a syslog daemon or journald, or note the head of "usher audit verify" elsewhere.';
  return [...owed, { level: 'warning', subject, says, advice }];
}

/** Examines the host when no daemon runs. */
export async function diagnoseHost(): Promise<Finding[]> {
  const places = placesOf(process.env);
  const folders = { runtimeDir: places.runtimeFolder, stateDir: places.stateFolder };
  const findings = [...storeFindings(places), ...(await hostFindings(places.stateFolder))];
  const { defaultDriver } = await loadSettings(places.settingsFile).then(
    ({ settings }) => settings,
    (error: unknown) => {
      findings.push({ level: 'error', subject: 'settings', says: messageOf(error) });
      return DEFAULT_SETTINGS;
    },
  );
  const needed = defaultDriver === 'auto' ? await driverOfHost() : defaultDriver;
  if (needed === 'qemu') {
    const { QemuDriver } = await import('../hypervisor/qemu/driver.ts');
    findings.push(...(await examine(new QemuDriver(folders))));
  }
  if (needed === 'xen' || (await hasSignsOfXen())) {
    const { XenDriver } = await import('../hypervisor/xen/driver.ts');
    const ofXen = await examine(new XenDriver(folders));
    findings.push(...(needed === 'xen' ? ofXen : ofXen.map(asWarning)));
  }
  return findings;
}

async function examine(driver: Driver): Promise<Finding[]> {
  try {
    return await driver.diagnose();
  } finally {
    await driver.close();
  }
}

/** What is wrong with a driver that this host is meant for, and that no VM needs now, is worth advice. */
function asWarning(finding: Finding): Finding {
  return finding.level === 'error' ? { ...finding, level: 'warning' } : finding;
}

/** What is wrong with a driver that no VM needs is worth knowing, and no more. */
function asNote(finding: Finding): Finding {
  const { level, subject, says } = finding;
  return level === 'ok' ? finding : { level: 'note', subject, says };
}

async function hostFindings(stateFolder: string): Promise<Finding[]> {
  return [...(await usbFindings()), ...(await controllerFindings()), ...(await spaceFindings(stateFolder))];
}

function storeFindings({ stateFolder, databaseFile, auditFile }: Places): Finding[] {
  const advice = 'Stop the daemon, keep a copy of the file, and put a backup in its place; without one, move it away.';
  const findings = [databaseFile, auditFile, join(stateFolder, 'events.db')].map((file): Finding | undefined => {
    const what = examineDatabase(file);
    return what === undefined
      ? undefined
      : { level: 'error', subject: 'store', says: `${file} is damaged: ${what}`, advice };
  });
  return findings.filter((finding) => finding !== undefined);
}

/** Every USB controller by its PCI address; the devices of those that somebody else has are not on this host. */
async function controllerFindings(): Promise<Finding[]> {
  const controllers = await readControllers(HOST_ROOTS).catch(() => []);
  return controllers.map((controller): Finding => {
    const level = controller.keeper === 'host' ? 'ok' : 'note';
    return { level, subject: 'USB of this host', says: tellController(controller) };
  });
}

async function usbFindings(): Promise<Finding[]> {
  const subject = 'USB of this host';
  try {
    const names = await readdir('/sys/bus/usb/devices');
    const roots = names.filter((name) => name.startsWith('usb')).length;
    if (roots === 0)
      return [{ level: 'note', subject, says: 'no USB controller: only software devices can be routed' }];
    await access('/dev/bus/usb', constants.R_OK | constants.X_OK);
    return [{ level: 'ok', subject, says: `${roots} root hubs` }];
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      return [{ level: 'note', subject, says: 'the kernel shows no USB: only software devices can be routed' }];
    }
    const advice =
      'Run the daemon as root, or with the udev rule that comes with Usher: usher service install --unprivileged.';
    return [{ level: 'error', subject, says: messageOf(error), advice }];
  }
}

async function spaceFindings(folder: string): Promise<Finding[]> {
  try {
    const { bavail, bsize } = await statfs(folder);
    const free = bavail * bsize;
    const says = `${size(free)} free in ${folder}`;
    if (free >= LITTLE_BYTES) return [{ level: 'ok', subject: 'space', says }];
    return [{ level: 'warning', subject: 'space', says, advice: 'Suspending a VM needs as much as its memory.' }];
  } catch {
    return [];
  }
}
