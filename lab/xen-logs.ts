/** Collects what a Xen host has to say when a test has failed there. Asks a host that may be frozen or half dead. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../src/lib/fault.ts';
import { printable } from '../src/lib/text.ts';
import type { Host } from './host.ts';

const TIMEOUT_MS = 20_000;
/** Of each log so many last lines. */
const LINES = 40;
/** What dom0 is asked, by the heading of the answer. */
const QUESTIONS: Readonly<Record<string, string>> = {
  'xl list': 'xl list -v; xl vcpu-list',
  'xl dmesg': `xl dmesg | tail -n ${LINES}`,
  'dmesg of dom0': `dmesg | tail -n ${LINES}`,
  processes: 'ps -eo pid,ppid,stat,args --width 200',
  '/var/log/xen': `find /var/log/xen -type f -size +0 -print0 | xargs -0 -r tail -n ${LINES}`,
  store: 'xenstore-ls -fp',
};

/** Gives it as text with a heading for each part; a part that cannot be had says why. Never throws. */
export async function collectLogs(host: Host): Promise<string> {
  const files = ['console', 'qemu.log'].map(async (name) => {
    const said = await readFile(join(host.folder, name), 'utf8').catch(messageOf);
    return part(name, said.trimEnd().split('\n').slice(-LINES).join('\n'));
  });
  const answers = Object.entries(QUESTIONS).map(async ([title, script]) => {
    const said = await host.run(script, { timeoutMs: TIMEOUT_MS }).then(({ output }) => output, messageOf);
    return part(title, said.trimEnd());
  });
  return (await Promise.all([...files, ...answers])).join('\n');
}

function part(title: string, untrustedText: string): string {
  const lines = untrustedText.split('\n').map((line) => `  | ${printable(line, 300)}`);
  return [`--- ${title}`, ...lines].join('\n');
}
