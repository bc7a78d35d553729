/** Disks that are opened and closed by a cryptsetup that only notes what it was asked for: no kernel is needed. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { completeConfig } from '../config/xenvm-file.ts';
import { systemClock } from '../lib/clock.ts';
import { pollUntil } from '../lib/deadline.ts';
import { Fault, isFault } from '../lib/fault.ts';
import { silentLog } from '../lib/log.ts';
import { newUuid, type VmUuid } from '../model/ids.ts';
import type { DiskConfig, VmConfig } from '../model/vm.ts';
import type { Domain, Driver } from './driver.ts';
import { withEncryptedDisks } from './encrypted-disks.ts';

/** Notes its arguments; what it opens is a link. While there is a file `busy`, nothing can be closed. */
const PROGRAM = `#!/bin/sh
cd "$(dirname "$0")"
echo "$*" >> calls
test -e broken && { cat broken >&2; exit 1; }
case "$1" in
  open) for word; do path=$name; name=$word; done; ln -s "$path" "mapper/$name" || exit 5;;
  close) test -e busy && { echo "Device $2 is still in use." >&2; exit 5; }
    test -L "mapper/$2" || { echo "Device $2 is not active." >&2; exit 4; }; rm "mapper/$2";;
  --version) echo "cryptsetup 2.6.1 flags: UDEV";;
esac
`;

/** A driver whose domains are a map; what it is started with is kept. */
class Domains {
  readonly name = 'qemu';
  readonly started: VmConfig[] = [];
  readonly there = new Map<VmUuid, Domain>();
  failure: Error | undefined;
  beforeStart: () => void | Promise<void> = () => undefined;

  async start(config: VmConfig, { signal }: { readonly signal?: AbortSignal }): Promise<Domain> {
    await this.beforeStart();
    if (this.failure !== undefined) throw this.failure;
    if (signal?.aborted) throw new Fault('aborted', { what: 'The start' });
    if (this.there.has(config.uuid)) throw new Fault('vm.exists', { key: 'uuid', value: config.uuid });
    this.started.push(config);
    const { uuid, name } = config;
    const domain: Domain = { uuid, name, handle: 1, run: 'running', controllers: [], attachments: [] };
    this.there.set(uuid, domain);
    return domain;
  }
  find = async (uuid: VmUuid) => this.there.get(uuid);
  list = async () => [...this.there.values()];
  destroy = async (uuid: VmUuid) => void this.there.delete(uuid);
  save = async (uuid: VmUuid) => void this.there.delete(uuid);
  async reset(uuid: VmUuid): Promise<void> {
    const domain = this.there.get(uuid);
    this.there.delete(uuid);
    await this.beforeStart();
    if (domain !== undefined) this.there.set(uuid, domain);
  }
  diagnose = async () => [{ level: 'ok' as const, subject: 'QEMU', says: 'it is there' }];
  close = async () => undefined;
}

interface Rig {
  readonly folder: string;
  readonly domains: Domains;
  readonly driver: Driver;
  readonly config: VmConfig;
  /** What cryptsetup was asked for since the last question. */
  calls(): Promise<string[]>;
  /** Another daemon, with the same domains. */
  again(more?: { readonly isApart: (uuid: string) => boolean }): Driver;
  /** Names of what is open. */
  open(): Promise<string[]>;
}

async function rig(t: TestContext, more: Partial<DiskConfig> = {}): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'usher-disks-'));
  t.after(() => rm(folder, { recursive: true }));
  const [image, keyFile, binary] = ['disk.img', 'key', 'cryptsetup'].map((name) => join(folder, name));
  await mkdir(join(folder, 'mapper'));
  await mkdir(join(folder, 'sys/block'), { recursive: true });
  await writeFile(image ?? '', '');
  await truncate(image ?? '', 1 << 20);
  await writeFile(keyFile ?? '', Buffer.alloc(64, 7));
  await writeFile(binary ?? '', PROGRAM);
  await chmod(binary ?? '', 0o755);
  const encryption = { cipher: 'aes-xts-plain64', keyBits: 512, keyFile: keyFile ?? '' };
  const plain = { path: image ?? '', format: 'raw', target: 'hdb', isReadOnly: false, kind: 'disk' } as const;
  const disks: DiskConfig[] = [plain, { ...plain, target: 'hda', encryption, ...more }];
  const domains = new Domains();
  const again: Rig['again'] = (options = { isApart: () => false }) =>
    withEncryptedDisks(domains as unknown as Driver, {
      folder: join(folder, 'notes'),
      clock: systemClock,
      log: silentLog,
      binary,
      mapperFolder: join(folder, 'mapper'),
      sysfsRoot: join(folder, 'sys'),
      ...options,
    });
  return {
    ...{ folder, domains, driver: again(), again },
    config: completeConfig({ disks }, { name: 'work', uuid: newUuid() }),
    async calls() {
      const text = await readFile(join(folder, 'calls'), 'utf8').catch(() => '');
      await rm(join(folder, 'calls'), { force: true });
      return text.split('\n').filter((line) => line !== '');
    },
    open: () => readdir(join(folder, 'mapper')),
  };
}

const RUN = { isPaused: false };
const refusedWith = (what: RegExp) => (error: unknown) => isFault(error, 'vm.start_failed') && what.test(error.message);

/** Waits until nothing is open and nothing is noted. */
async function untilClosed({ folder, open }: Rig): Promise<void> {
  await pollUntil({ what: 'The end of all mappings', timeoutMs: 10_000, everyMs: 10 }, async () =>
    (await open()).length === 0 && (await readdir(join(folder, 'notes'))).length === 0 ? true : undefined,
  );
}

test('a disk is opened in plain mode, handed on as a block device, and closed with its domain', async (t) => {
  const { driver, domains, config, folder, calls, open } = await rig(t);
  const { uuid } = config;
  const name = `usher-${uuid}-hda`;
  await driver.start(config, RUN);
  const options = '--cipher aes-xts-plain64 --key-size 512 --key-file';
  assert.deepEqual(await calls(), [
    `close ${name}`,
    `open --type plain --batch-mode ${options} ${folder}/key ${folder}/disk.img ${name}`,
  ]);
  const [plain, opened] = domains.started[0]?.disks ?? [];
  assert.deepEqual(plain, config.disks[0], 'other disks are left as they are');
  assert.deepEqual(opened, { ...config.disks[0], target: 'hda', path: join(folder, 'mapper', name) });
  await assert.rejects(driver.start(config, RUN), (error) => isFault(error, 'vm.exists'));
  assert.deepEqual(await open(), [name], 'a second start closes nothing');
  await driver.reset(uuid);
  assert.deepEqual(await open(), [name], 'nor does a reset');
  await driver.destroy(uuid);
  assert.deepEqual(await open(), []);
  assert.deepEqual(await readdir(join(folder, 'notes')), []);
  await driver.destroy(uuid);
  assert.deepEqual((await calls()).slice(-1), [`close ${name}`], 'once it is closed cryptsetup is not asked again');
});

test('a disk that is only read is opened for reading, by several VMs too', async (t) => {
  const { driver, config, folder, calls } = await rig(t, { isReadOnly: true });
  await driver.start(config, RUN);
  assert.match((await calls())[1] ?? '', / --readonly /);
  const loop = join(folder, 'sys/block/loop0');
  await mkdir(join(loop, 'loop'), { recursive: true });
  await mkdir(join(loop, 'holders/dm-0'), { recursive: true });
  await writeFile(join(loop, 'loop/backing_file'), `${folder}/disk.img\n`);
  await writeFile(join(loop, 'ro'), '0\n');
  await writeFile(join(loop, 'holders/dm-0/ro'), '1\n');
  await driver.start({ ...config, uuid: newUuid() }, RUN);
  await writeFile(join(loop, 'holders/dm-0/ro'), '0\n');
  await assert.rejects(driver.start({ ...config, uuid: newUuid() }, RUN), refusedWith(/in use as \/dev\/loop0/));
});

test('whatever ends a domain closes its disks: a crash, a save, a start that fails or is given up', async (t) => {
  const all = await rig(t);
  const { driver, domains, config, open } = all;
  const { uuid } = config;
  await driver.start(config, RUN);
  domains.there.delete(uuid);
  assert.equal(await driver.find(uuid), undefined);
  await untilClosed(all);

  await driver.start(config, RUN);
  await driver.save(uuid, '/save', { afterwards: 'stopped' });
  assert.deepEqual(await open(), []);

  domains.failure = new Fault('vm.start_failed', { vm: 'work', what: 'no memory' });
  await assert.rejects(driver.start(config, RUN), refusedWith(/no memory/));
  assert.deepEqual(await open(), []);
  domains.failure = undefined;

  const [isBegun, mayGoOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  domains.beforeStart = () => {
    isBegun.resolve();
    return mayGoOn.promise;
  };
  const start = driver.start(config, RUN);
  await isBegun.promise;
  assert.equal((await open()).length, 1);
  const end = driver.destroy(uuid);
  mayGoOn.resolve();
  await assert.rejects(start, (error) => isFault(error, 'aborted'));
  await end;
  assert.deepEqual(await open(), []);
});

test('while a reset has no domain, a look at it closes nothing', async (t) => {
  const { driver, domains, config, open } = await rig(t);
  await driver.start(config, RUN);
  domains.beforeStart = async () => {
    assert.equal(await driver.find(config.uuid), undefined);
    assert.deepEqual(await driver.list(), []);
  };
  await driver.reset(config.uuid);
  await driver.close();
  assert.equal((await open()).length, 1);
});

test('the next daemon closes what a killed one left, and nothing that is in a domain or of another home', async (t) => {
  const all = await rig(t);
  const { driver, domains, config, folder, again, open } = all;
  const other = { ...config, uuid: newUuid() };
  await driver.start(config, RUN);
  await driver.start({ ...other, disks: other.disks.map((disk) => ({ ...disk, target: 'hdc' })) }, RUN);
  const foreign = `usher-${newUuid()}-hda`;
  await symlink('/nowhere', join(folder, 'mapper', foreign));
  domains.there.delete(config.uuid); // Whether it ever was there, nobody knows any more.
  await again().list();
  await pollUntil({ what: 'The end', timeoutMs: 10_000, everyMs: 10 }, async () =>
    (await open()).length === 3 ? undefined : true,
  );
  assert.deepEqual((await open()).sort(), [foreign, `usher-${other.uuid}-hdc`].sort());
});

test('what another process cares for is closed only when that one has gone', async (t) => {
  const all = await rig(t);
  const { driver, domains, config, again, open } = all;
  await driver.start(config, RUN);
  domains.there.delete(config.uuid); // As before its domain is there.
  let isApart = true;
  let looks = 0;
  const daemon = again({ isApart: () => ++looks > 0 && isApart });
  await daemon.list();
  await pollUntil({ what: 'A look', timeoutMs: 10_000, everyMs: 5 }, async () => (looks > 0 ? true : undefined));
  await daemon.destroy(config.uuid);
  assert.equal((await open()).length, 1);
  isApart = false;
  await daemon.list();
  await untilClosed(all);
});

test('a mapping that nobody noted is closed before the disk is opened again', async (t) => {
  const { driver, config, folder, calls } = await rig(t);
  await symlink('/nowhere', join(folder, 'mapper', `usher-${config.uuid}-hda`));
  await driver.start(config, RUN);
  assert.equal((await calls()).length, 2);
});

test('a disk that is still in use is closed later', async (t) => {
  const all = await rig(t);
  const { driver, config, folder, open } = all;
  await driver.start(config, RUN);
  await writeFile(join(folder, 'busy'), '');
  const end = driver.destroy(config.uuid);
  await pollUntil({ what: 'A try', timeoutMs: 5_000, everyMs: 10 }, async () =>
    /^close/m.test(await readFile(join(folder, 'calls'), 'utf8').catch(() => '')) ? true : undefined,
  );
  await rm(join(folder, 'busy'));
  await end;
  assert.deepEqual(await open(), []);
});

test('what cannot be opened is refused with the reason, and nothing is left of it', async (t) => {
  const { driver, domains, config, folder, calls, open } = await rig(t);
  const refused = async (what: RegExp, hint?: RegExp) => {
    await assert.rejects(driver.start(config, RUN), (error) => {
      assert.ok(isFault(error, 'vm.start_failed'), String(error));
      assert.match(error.message, what);
      if (hint !== undefined) assert.match(error.hint ?? '', hint);
      return true;
    });
    assert.deepEqual(await open(), []);
  };
  const said = 'Cannot initialize device-mapper. Is dm_mod kernel module loaded?\n';
  await writeFile(join(folder, 'broken'), said);
  await refused(
    /encrypted disk hda cannot be opened: the kernel of this host has no device-mapper/,
    /modprobe dm_crypt/,
  );
  // As cryptsetup 2.6.1 says it of a kernel without the cipher.
  await writeFile(
    join(folder, 'broken'),
    'device-mapper: reload ioctl on x (254:0) failed: No such file or directory\n',
  );
  await refused(/hda cannot be opened: the kernel does not take the cipher/, /modprobe dm_crypt/);
  await writeFile(join(folder, 'broken'), 'Requested offset is beyond real size of device.\n');
  await refused(/hda cannot be opened: Requested offset is beyond/);
  await rm(join(folder, 'broken'));
  await calls();

  const key = join(folder, 'key');
  await truncate(key, 16);
  await refused(/the key file .*\/key has 16 bytes, and a key of 512 bits has 64/);
  await rm(key);
  await refused(/the key file .*\/key is not there/);
  assert.deepEqual(await calls(), [], 'cryptsetup was not even asked');
  await writeFile(key, Buffer.alloc(64));

  const loop = join(folder, 'sys/block/loop3/loop');
  await mkdir(loop, { recursive: true });
  await writeFile(join(loop, 'backing_file'), `${folder}/disk.img\n`);
  await writeFile(join(loop, '../ro'), '0\n');
  await refused(/disk\.img is in use as \/dev\/loop3/);
  await rm(loop, { recursive: true });

  await rm(join(folder, 'cryptsetup'));
  await refused(/hda cannot be opened: cryptsetup is not there/, /apt install cryptsetup-bin/);
  assert.deepEqual(domains.started, []);
  assert.ok(!existsSync(join(folder, 'notes', config.uuid)));
});

test('a VM without such disks never meets cryptsetup', async (t) => {
  const { driver, domains, config, calls } = await rig(t);
  const plain = { ...config, disks: config.disks.slice(0, 1) };
  await driver.start(plain, RUN);
  await driver.find(config.uuid);
  await driver.destroy(config.uuid);
  assert.deepEqual(domains.started, [plain]);
  assert.deepEqual(await calls(), []);
});

test('doctor tells whether such disks can be had', async (t) => {
  const { driver, folder } = await rig(t);
  const told = async () => (await driver.diagnose()).slice(1);
  assert.deepEqual(await told(), [
    { level: 'ok', subject: 'encrypted disks', says: 'cryptsetup 2.6.1 flags: UDEV opens them' },
  ]);
  await rm(join(folder, 'cryptsetup'));
  const advice = 'Install it: apt install cryptsetup-bin';
  const says = 'VMs with such disks are refused: cryptsetup is not there';
  assert.deepEqual(await told(), [{ level: 'note', subject: 'encrypted disks', says, advice }]);
});
