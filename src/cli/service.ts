/** `usher service`: the systemd unit of the daemon. The VMs run in scopes of their own and outlive it. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { writeFileAtomic } from '../lib/atomic-file.ts';
import { exec } from '../lib/exec.ts';
import { Fault } from '../lib/fault.ts';
import type { Output } from './command.ts';

const UNIT = '/etc/systemd/system/usherd.service';

/**
 * Gives the unit for a daemon that this Node runs from this bundle. KillMode=process: stopping it stops no VM. On Xen the
 * toolstack's daemons come first; /sys stays writable, for a device that leaves a guest is given back to the kernel there.
 */
export function serviceUnit(node: string, bundle: string): string {
  return `[Unit]
Description=Usher: USB devices to VMs, and a monitor for every VM
Documentation=file://${join(dirname(dirname(bundle)), 'docs/architecture.md')}
After=local-fs.target systemd-udevd.service xen.service xenstored.service xen-init-dom0.service xenconsoled.service

[Service]
Type=exec
ExecStart=${quote(node)} --max-semi-space-size=1 ${quote(bundle)}
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

/** Writes the unit, then has systemd start it now and at each boot; or prints it only. */
export async function installService(out: Output, isPrintOnly: boolean): Promise<undefined> {
  const unit = serviceUnit(process.execPath, bundlePath());
  if (isPrintOnly) return void out.print(unit.trimEnd());
  demandSystemd('install');
  await writeFileAtomic(UNIT, unit);
  await systemctl('daemon-reload');
  await systemctl('enable', '--now', 'usherd.service');
  out.print(`installed ${UNIT}; the daemon runs. Look: systemctl status usherd`);
}

/** Stops the daemon and takes the unit away. */
export async function removeService(out: Output): Promise<undefined> {
  demandSystemd('remove');
  if (!existsSync(UNIT)) return void out.print('the service is not installed');
  await systemctl('disable', '--now', 'usherd.service');
  await rm(UNIT, { force: true });
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
    throw new Fault('denied', { user: String(process.getuid?.()), operation: `service ${what}` });
}

function bundlePath(): string {
  return resolve(dirname(process.argv[1] ?? ''), 'usherd.cjs');
}

/** Quotes a word of ExecStart; `%` and `$` are doubled (systemd.service(5), "Command lines"). */
function quote(path: string): string {
  return `"${path.replaceAll(/["\\]/g, '\\$&').replaceAll(/[%$]/g, '$&$&')}"`;
}

async function systemctl(...words: string[]): Promise<void> {
  await exec(['systemctl', ...words], { timeoutMs: 60_000 });
}
