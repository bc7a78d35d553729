/** `usher service`: the systemd unit of the daemon. The VMs run in scopes of their own and outlive it. */
import { existsSync, statSync } from 'node:fs';
import { chmod, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { writeFileAtomic } from '../lib/atomic-file.ts';
import { exec } from '../lib/exec.ts';
import { Fault } from '../lib/fault.ts';
import type { Output } from './command.ts';

const UNIT = '/etc/systemd/system/usherd.service';
const UDEV_RULE = '/etc/udev/rules.d/60-usher.rules';
const SYSUSERS = '/etc/sysusers.d/usher.conf';
/** Who runs it when root does not: made by share/sysusers.d/usher.conf, with a group of that name. */
const SERVICE_USER = 'usher';

/**
 * Gives the unit for a daemon that this Node runs from this bundle. KillMode=process: stopping it stops no VM. On Xen the
 * toolstack's daemons come first; /sys stays writable, for a device that leaves a guest is given back to the kernel there.
 * Unprivileged, for QEMU alone: as the user `usher`, in the same folders. The runtime folder stays when it stops, for the
 * guests have their sockets there.
 */
export function serviceUnit(node: string, bundle: string, isUnprivileged = false): string {
  const user = isUnprivileged
    ? `User=${SERVICE_USER}
Group=${SERVICE_USER}
Environment=USHER_SYSTEM=1
StateDirectory=usher
StateDirectoryMode=0700
ConfigurationDirectory=usher
RuntimeDirectory=usher
RuntimeDirectoryMode=0750
RuntimeDirectoryPreserve=yes
CapabilityBoundingSet=
`
    : '';
  return `[Unit]
Description=Usher: USB devices to VMs, and a monitor for every VM
Documentation=file://${join(dirname(dirname(bundle)), 'docs/architecture.md')}
After=local-fs.target systemd-udevd.service xen.service xenstored.service xen-init-dom0.service xenconsoled.service

[Service]
Type=exec
${user}ExecStart=${quote(node)} --max-semi-space-size=1 ${quote(bundle)}
Restart=always
RestartSec=1
KillMode=process
UMask=0077
LimitNOFILE=65536
NoNewPrivileges=yes
ProtectKernelModules=yes
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
`;
}

/**
 * Writes the unit, then has systemd start it now and at each boot; or prints it only. Unprivileged, the user, the groups and
 * the udev rule are made before.
 */
export async function installService(
  out: Output,
  {
    isPrintOnly = false,
    isUnprivileged = false,
  }: { readonly isPrintOnly?: boolean; readonly isUnprivileged?: boolean },
): Promise<undefined> {
  const bundle = bundlePath();
  const unit = serviceUnit(process.execPath, bundle, isUnprivileged);
  if (isPrintOnly) return void out.print(unit.trimEnd());
  demandSystemd('install');
  if (isUnprivileged) await prepareUser(out, [process.execPath, bundle]);
  await writeFileAtomic(UNIT, unit);
  await chmod(UNIT, 0o644);
  await systemctl('daemon-reload');
  await systemctl('enable', '--now', 'usherd.service');
  out.print(`installed ${UNIT}; the daemon runs. Look: systemctl status usherd`);
}

/** Makes the user and the groups, and gives them the devices. @throws Fault `hypervisor.missing` on Xen, `usage` when the user could not run it */
async function prepareUser(out: Output, programs: readonly string[]): Promise<void> {
  const capabilities = await readFile('/proc/xen/capabilities', 'utf8').catch(() => '');
  if (/\bcontrol_d\b/.test(capabilities)) {
    const what = 'on Xen the daemon has to run as root';
    throw new Fault(
      'hypervisor.missing',
      { what },
      { hint: 'What for: usher doctor. Install it as root: usher service install' },
    );
  }
  for (const program of programs) {
    const closed = closedFolder(program);
    if (closed === undefined) continue;
    const what = `The user "${SERVICE_USER}" could not run ${program}: ${closed} is closed to others`;
    throw new Fault('usage', { what }, { hint: 'Put Usher where everybody may read it, such as /opt/usher.' });
  }
  const share = join(dirname(dirname(bundlePath())), 'share');
  const copies = [
    [join(share, 'sysusers.d/usher.conf'), SYSUSERS],
    [join(share, 'udev/60-usher.rules'), UDEV_RULE],
  ] as const;
  for (const [from, to] of copies) {
    await mkdir(dirname(to), { recursive: true });
    await writeFileAtomic(to, await readFile(from));
    await chmod(to, 0o644);
    out.print(`installed ${to}`);
  }
  await run('systemd-sysusers', SYSUSERS);
  await run('udevadm', 'control', '--reload');
  await run('udevadm', 'trigger', '--subsystem-match=usb');
}

/** Gives the innermost folder on the way to a file that others may not enter; `undefined` when there is none. */
export function closedFolder(file: string): string | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

/** Stops the daemon and takes the unit away. */
export async function removeService(out: Output): Promise<undefined> {
  demandSystemd('remove');
  if (!existsSync(UNIT)) return void out.print('the service is not installed');
  await systemctl('disable', '--now', 'usherd.service');
  for (const file of [UNIT, UDEV_RULE, SYSUSERS]) await rm(file, { force: true });
  await systemctl('daemon-reload');
  out.print('removed the service; VMs go on, the inventory stays');
}

function demandSystemd(what: string): void {
  if (!existsSync('/run/systemd/system')) {
    const hint =
      'Run "usherd" by whatever starts programs on this host, or print the unit: usher service install --print';
    throw new Fault(
      'hypervisor.missing',
      { what: `systemd does not run this host, so there is no service to ${what}` },
      { hint },
    );
  }
  if (process.getuid?.() !== 0)
    throw new Fault('denied', {
      user: String(process.getuid?.()),
      operation: `service ${what}`,
      what: 'only root may',
    });
}

function bundlePath(): string {
  return resolve(dirname(process.argv[1] ?? ''), 'usherd.cjs');
}

/** Quotes a word of ExecStart; `%` and `$` are doubled (systemd.service(5), "Command lines"). */
function quote(path: string): string {
  return `"${path.replaceAll(/["\\]/g, '\\$&').replaceAll(/[%$]/g, '$&$&')}"`;
}

async function systemctl(...words: string[]): Promise<void> {
  await run('systemctl', ...words);
}

async function run(program: string, ...words: string[]): Promise<void> {
  await exec([program, ...words], { timeoutMs: 60_000 });
}
