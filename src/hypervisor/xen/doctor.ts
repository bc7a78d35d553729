/** What `usher doctor` says about Xen on this host: is it there, is this dom0, do its daemons run, who else acts. */
import { access, constants, readFile } from 'node:fs/promises';
import { errnoOf, isFault, messageOf } from '../../lib/fault.ts';
import { listWords, printable } from '../../lib/text.ts';
import type { Finding } from '../driver.ts';
import type { Xl } from './xl.ts';
import { isMonitor, listCommands } from './xl-processes.ts';

export interface DoctorParts {
  readonly xl: Xl;
  /** Connects to xenstored, and lets go again. */
  readonly tryStore: () => Promise<void>;
  /** Default: `/proc`. */
  readonly procRoot?: string | undefined;
  /** Default: `/dev/xen/privcmd`, by which the hypervisor is called. */
  readonly privcmd?: string | undefined;
  /** Who we are. Default: the process's user. */
  readonly uid?: number | undefined;
}

const INFO_TIMEOUT_MS = 10_000;
/** Older ones lack `device_model_args` for qusb, `-e` for restore, or QEMU as the backend of PVUSB. */
const OLDEST = { major: 4, minor: 11 };

/** Examines the host. Never throws. Gives an error first when nothing else is worth a look. */
export async function diagnoseXen({
  xl,
  tryStore,
  procRoot = '/proc',
  privcmd = '/dev/xen/privcmd',
  uid = process.getuid?.() ?? 0,
}: DoctorParts): Promise<Finding[]> {
  const place = await examinePlace(procRoot);
  if (place.level === 'error') return [place];
  const user = examineUser(uid);
  const rights = [...(user.level === 'error' ? [user] : []), ...(await examineRights(privcmd))];
  const store = await examineStore(tryStore);
  if (store.level === 'error') return [place, ...rights, store]; // Without it xl would only hang.
  return [
    place,
    ...rights,
    store,
    ...(await examineXl(xl)),
    await examineConsoles(procRoot),
    ...(await examineMonitors(procRoot)),
    ...(user.level === 'ok' ? [user] : []),
  ];
}

async function examinePlace(procRoot: string): Promise<Finding> {
  const subject = 'Xen';
  try {
    const capabilities = await readFile(`${procRoot}/xen/capabilities`, 'utf8');
    if (/\bcontrol_d\b/.test(capabilities)) return { level: 'ok', subject, says: 'this is the control domain' };
    const advice = 'Install and run Usher in dom0.';
    return { level: 'error', subject, says: 'this is a guest of Xen, not its control domain', advice };
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') return { level: 'error', subject, says: messageOf(error) };
    const advice =
      'Boot the host by its Xen entry: apt install xen-system-amd64, then reboot. If it runs on Xen, mount xenfs at /proc/xen.';
    return { level: 'error', subject, says: 'this machine does not run on Xen', advice };
  }
}

/** What root is needed for here, where QEMU alone would do with less. */
const NEEDS_ROOT = [
  'xl, which calls the hypervisor by /dev/xen/privcmd',
  'xenstore, by the socket of xenstored or /dev/xen/xenbus: domains, their USB controllers and ports',
  'the QMP sockets of device models in /run/xen',
  'the drivers of USB devices in /sys/bus/usb: to take a device from the kernel and give it back',
];

function examineUser(uid: number): Finding {
  const what = `on Xen for ${listWords(NEEDS_ROOT, 'and')}`;
  if (uid === 0) return { level: 'ok', subject: 'root', says: `Usher runs as root, which it needs ${what}` };
  const says = `Usher does not run as root, which it needs ${what}`;
  const advice =
    'Run it as root: sudo usher service install. Who may do what is said by groups and the setting "access".';
  return { level: 'error', subject: 'root', says, advice };
}

async function examineRights(privcmd: string): Promise<Finding[]> {
  try {
    await access(privcmd, constants.R_OK | constants.W_OK);
    return [];
  } catch (error) {
    const says = errnoOf(error) === 'ENOENT' ? `${privcmd} is not there` : `${privcmd} may not be used by this user`;
    const advice = errnoOf(error) === 'ENOENT' ? 'Load the module: modprobe xen-privcmd' : 'Run the daemon as root.';
    return [{ level: 'error', subject: 'calls of the hypervisor', says, advice }];
  }
}

async function examineStore(tryStore: () => Promise<void>): Promise<Finding> {
  const subject = 'xenstored';
  try {
    await tryStore();
    return { level: 'ok', subject, says: 'it answers' };
  } catch (error) {
    const advice =
      'Start it: systemctl start xenstored, or service xen start. What it knew of domains that run is lost when it was killed.';
    return { level: 'error', subject, says: messageOf(error), advice };
  }
}

async function examineXl(xl: Xl): Promise<Finding[]> {
  const subject = 'xl';
  try {
    const info = parseInfo(await xl.run(['info'], { what: '"xl info"', timeoutMs: INFO_TIMEOUT_MS }));
    const [version = 'of no known version', capabilities = ''] = [info.get('xen_version'), info.get('xen_caps')];
    const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
    const isOld = Number(major) < OLDEST.major || (Number(major) === OLDEST.major && Number(minor) < OLDEST.minor);
    const says = `Xen ${printable(version, 40)}`;
    const advice = `Usher needs Xen ${OLDEST.major}.${OLDEST.minor} or newer, and is tested with 4.17.`;
    const program: Finding = isOld ? { level: 'error', subject, says, advice } : { level: 'ok', subject, says };
    if (/\bhvm-/.test(capabilities)) return [program];
    const lacks = 'the processor, or the firmware, gives no hardware virtualisation: only PV guests can run';
    return [
      program,
      { level: 'note', subject: 'HVM and PVH guests', says: lacks, advice: 'Switch on VT-x or AMD-V in the firmware.' },
    ];
  } catch (error) {
    const advice = isFault(error) ? error.hint : undefined;
    const finding: Finding = { level: 'error', subject, says: messageOf(error) };
    return [advice === undefined ? finding : { ...finding, advice }];
  }
}

/** Reads `key : value` lines. */
function parseInfo(untrustedText: string): Map<string, string> {
  return new Map(
    untrustedText.split('\n').flatMap((line) => {
      const [, key, value] = /^(\w+)\s*:\s*(.*)$/.exec(line) ?? [];
      return key === undefined || value === undefined ? [] : [[key, value.trim()] as const];
    }),
  );
}

async function examineConsoles(procRoot: string): Promise<Finding> {
  const subject = 'console logs of PV and PVH guests';
  const daemon = (await listCommands('xenconsoled', procRoot))[0];
  const advice =
    'In /etc/default/xen set XENCONSOLED_ARGS="--log=guest", then, with no guest running, restart it: service xen restart.';
  if (daemon === undefined)
    return { level: 'warning', subject, says: 'xenconsoled does not run: guests have no console', advice };
  const isLogging = daemon.words.some(
    (word, i) => /^(--log=)?(guest|all)$/.test(word) && (word.startsWith('--') || daemon.words[i - 1] === '--log'),
  );
  if (isLogging) return { level: 'ok', subject, says: 'xenconsoled keeps what guests say' };
  return { level: 'note', subject, says: 'xenconsoled keeps nothing of what guests say', advice };
}

/** An xl that answers the deaths of its domain itself gets in the way of ours. */
async function examineMonitors(procRoot: string): Promise<Finding[]> {
  const monitors = (await listCommands('xl', procRoot)).filter(isMonitor);
  return monitors.map(({ pid, words }) => ({
    level: 'warning',
    subject: 'xl in the background',
    says: `process ${pid} (xl ${printable(words.join(' '), 100)}) answers the death of its domain too`,
    advice: `If a VM of Usher is meant, end it: kill ${pid}. The domain goes on, and Usher answers its death.`,
  }));
}
