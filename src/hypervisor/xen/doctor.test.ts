import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Fault } from '../../lib/fault.ts';
import type { Finding } from '../driver.ts';
import { type DoctorParts, diagnoseXen } from './doctor.ts';
import { Xl } from './xl.ts';

/** What `xl info` prints on Xen 4.17, in the lines that are read. */
const INFO =
  'host                   : dom0\\nxen_version            : 4.17.7\\nxen_caps               : xen-3.0-x86_64 hvm-3.0-x86_32 \\n';

let folder: string;
let made = 0;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-xen-doctor-'));
});
after(() => rm(folder, { recursive: true }));

/** Makes a host by its files: what stands in /proc/xen/capabilities, what processes run, what xl says. */
async function hostOf(parts: {
  capabilities?: string;
  commands?: readonly string[][];
  info?: string;
  privcmd?: boolean;
}): Promise<DoctorParts> {
  const root = join(folder, String(made++));
  const { capabilities, commands = [], info = INFO, privcmd = true } = parts;
  await mkdir(join(root, 'xen'), { recursive: true });
  if (capabilities !== undefined) await writeFile(join(root, 'xen/capabilities'), capabilities);
  for (const [i, words] of commands.entries()) {
    await mkdir(join(root, String(100 + i)));
    await writeFile(join(root, String(100 + i), 'cmdline'), words.map((word) => `${word}\0`).join(''));
  }
  if (privcmd) await writeFile(join(root, 'privcmd'), '');
  const binary = join(root, 'xl');
  await writeFile(binary, `#!/bin/sh\nprintf '${info}'\n`, { mode: 0o755 });
  return {
    xl: new Xl({ binary }),
    tryStore: async () => undefined,
    procRoot: root,
    privcmd: join(root, 'privcmd'),
    uid: 0,
  };
}

const DOM0 = 'control_d\n';
const LOGGING = ['/usr/sbin/xenconsoled', '--pid-file=/run/x', '--log=guest'];
const levels = (findings: readonly Finding[]) => findings.map(({ level, subject }) => `${level} ${subject}`);

test('a host that has everything is fine', async () => {
  const findings = await diagnoseXen(await hostOf({ capabilities: DOM0, commands: [LOGGING] }));
  assert.deepEqual(levels(findings), [
    'ok Xen',
    'ok xenstored',
    'ok xl',
    'ok console logs of PV and PVH guests',
    'ok root',
  ]);
  assert.equal(findings[2]?.says, 'Xen 4.17.7');
});

test('what is no control domain is told in one line, with what to do', async () => {
  const [bare, ...more] = await diagnoseXen(await hostOf({}));
  assert.match(bare?.says ?? '', /does not run on Xen/);
  assert.match(bare?.advice ?? '', /xen-system-amd64/);
  assert.deepEqual(more, []);
  const [guest] = await diagnoseXen(await hostOf({ capabilities: '\n' }));
  assert.match(guest?.says ?? '', /a guest of Xen/);
});

test('without xenstored xl is not asked: it would hang', async () => {
  const host = await hostOf({ capabilities: DOM0, info: 'never asked' });
  const tryStore = async () => {
    throw new Fault('xenstore.unreachable', { path: '/run/xenstored/socket', what: 'nobody listens there' });
  };
  const findings = await diagnoseXen({ ...host, tryStore });
  assert.deepEqual(levels(findings), ['ok Xen', 'error xenstored']);
  assert.match(findings[1]?.advice ?? '', /systemctl start xenstored/);
});

test('a right that is missing, an xl that is missing or too old, a processor that cannot', async () => {
  const find = async (host: DoctorParts, subject: string) =>
    (await diagnoseXen(host)).find((finding) => finding.subject === subject);
  const rights = await find(await hostOf({ capabilities: DOM0, privcmd: false }), 'calls of the hypervisor');
  assert.equal(rights?.level, 'error');
  const host = await hostOf({ capabilities: DOM0 });
  const missing = await find({ ...host, xl: new Xl({ binary: join(folder, 'none') }) }, 'xl');
  assert.deepEqual([missing?.level, /apt install/.test(missing?.advice ?? '')], ['error', true]);
  const old = await find(await hostOf({ capabilities: DOM0, info: INFO.replace('4.17.7', '4.4.1') }), 'xl');
  assert.deepEqual([old?.level, old?.says], ['error', 'Xen 4.4.1']);
  const pvOnly = await find(
    await hostOf({ capabilities: DOM0, info: INFO.replace(/ hvm\S+/, '') }),
    'HVM and PVH guests',
  );
  assert.equal(pvOnly?.level, 'note');
  const mute = await find(await hostOf({ capabilities: DOM0, info: 'nonsense' }), 'xl');
  assert.equal(mute?.says, 'Xen of no known version');
});

test('who is not root is told what root is needed for', async () => {
  const host = await hostOf({ capabilities: DOM0, commands: [LOGGING] });
  const [, missing] = await diagnoseXen({ ...host, uid: 1000 });
  const there = (await diagnoseXen(host)).at(-1);
  assert.deepEqual([missing?.level, missing?.subject, there?.level, there?.subject], ['error', 'root', 'ok', 'root']);
  for (const word of ['privcmd', 'xenbus', '/sys/bus/usb', 'QMP']) {
    assert.ok(missing?.says.includes(word) && there?.says.includes(word), word);
  }
});

test('consoles that nobody keeps, and xl’s own answers to deaths, are told', async () => {
  const silent = await diagnoseXen(
    await hostOf({ capabilities: DOM0, commands: [['xenconsoled', '--pid-file=/run/x']] }),
  );
  assert.deepEqual(levels(silent).slice(3), ['note console logs of PV and PVH guests', 'ok root']);
  assert.match(silent[3]?.advice ?? '', /--log=guest/);
  const none = await diagnoseXen(await hostOf({ capabilities: DOM0 }));
  assert.equal(none[3]?.level, 'warning');
  const commands = [
    LOGGING,
    ['/usr/lib/xen-4.17/bin/xl', 'create', '/etc/xen/w\u001beb.cfg'],
    ['xl', 'create', '-e', '-q', '/run/usher/xen/x/xl.cfg'],
    ['xl', 'restore', '-pe', '/a', '/b'],
    ['xl', 'save', '-p', '3', '/a'],
    ['vim', 'create'],
  ];
  const watched = await diagnoseXen(await hostOf({ capabilities: DOM0, commands }));
  assert.deepEqual(levels(watched).slice(3), [
    'ok console logs of PV and PVH guests',
    'warning xl in the background',
    'ok root',
  ]);
  assert.match(watched[4]?.says ?? '', /process 101 \(xl create \/etc\/xen\/w\\u\{1b\}eb\.cfg\)/);
  assert.match(watched[4]?.advice ?? '', /kill 101/);
});
