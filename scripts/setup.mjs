// Installs what the project needs on a Debian machine: Debian packages and npm packages. Idempotent, silent and
// without network when nothing is missing. Runs on any Node (>= 18) and imports nothing, for it runs before npm does.
//
//   node scripts/setup.mjs [npm | test | bench]      npm: npm packages only; test (default); bench: test and its peers
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Debian packages by the command that needs them, each with its reason. */
const DEBIAN = {
  npm: {},
  test: {
    'qemu-system-x86': 'runs the guests',
    'qemu-utils': 'makes disks and their overlays',
    'busybox-static': 'is the user space of the small guests',
    kmod: 'resolves the kernel modules that a guest needs',
    cpio: 'packs initramfs images',
    'xz-utils': 'unpacks the kernel',
    e2fsprogs: 'makes the file systems of guests and USB sticks without mounting',
    iproute2: 'puts guests on bridges',
    xorriso: 'makes the CD that a guest boots from',
    isolinux: 'is the boot loader of that CD',
    'syslinux-common': 'has its modules',
    gcc: 'builds what stands in for Xen below a real xenstored, and the module xen-hcd',
    make: 'builds the module xen-hcd',
    libelf1: 'lets the kernel build check its modules',
    'libc6-dev': 'has the headers for that',
  },
  bench: {
    // The test:/// driver lives in libvirt0, which it brings; no libvirt daemon is needed.
    'libvirt-clients': 'virsh, the peer of `usher vm list`',
  },
};
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const goal = process.argv[2] ?? 'test';
if (!(goal in DEBIAN)) {
  console.error(`setup: unknown goal "${goal}", one of: ${Object.keys(DEBIAN).join(' ')}`);
  process.exit(2);
}

const wanted = { ...(goal === 'npm' ? {} : DEBIAN.test), ...(goal === 'bench' ? DEBIAN.bench : {}) };
installDebian(Object.keys(wanted).filter((name) => !isInstalled(name)));
installNpm();

/** Tells whether dpkg has the package fully installed. */
function isInstalled(name) {
  const answer = spawnSync('dpkg-query', ['-W', '-f', '${Status}', name], { encoding: 'utf8' });
  return answer.status === 0 && answer.stdout === 'install ok installed';
}

/** Installs the missing Debian packages, as root or by sudo; otherwise prints the one command to run and exits 1. */
function installDebian(missing) {
  if (missing.length === 0) return;
  const install = ['apt-get', 'install', '-y', '-q', '--no-install-recommends', ...missing];
  const isRoot = process.getuid() === 0;
  if (!isRoot && spawnSync('sudo', ['-n', 'true']).status !== 0) {
    console.error(`setup: Debian packages are missing. Run this once, then try again:\n  sudo ${install.join(' ')}`);
    process.exit(1);
  }
  const sudo = isRoot ? [] : ['sudo', '-n'];
  console.log(`setup: installing ${missing.map((name) => `${name} (${wanted[name]})`).join(', ')}`);
  const hasLists = readdirSync('/var/lib/apt/lists').some(
    (name) => name.endsWith('_Packages') || name.endsWith('.lz4'),
  );
  if (!hasLists) run([...sudo, 'apt-get', 'update', '-q']);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  if (!run([...sudo, ...install], env, true)) {
    run([...sudo, 'apt-get', 'update', '-q']); // The lists may be older than the archive.
    run([...sudo, ...install], env);
  }
}

/**
 * Installs from the lock file when it changed since the last time. `npm install --no-save` and not `npm ci`: the latter
 * refuses when a registry lacks a tool's build for some *other* platform, which optional dependencies may.
 */
function installNpm() {
  const lock = readFileSync(join(root, 'package-lock.json'));
  const key = createHash('sha256').update(lock).digest('hex');
  const stamp = join(root, 'node_modules', '.usher-setup');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return;
  console.log('setup: installing npm packages');
  run(['npm', 'install', '--no-save', '--loglevel=error', '--engine-strict=false', '--prefix', root]);
  writeFileSync(stamp, key);
}

/** Runs a command with its output shown, without its standard input; exits with a sentence when it fails. */
function run(argv, env = process.env, mayFail = false) {
  try {
    execFileSync(argv[0], argv.slice(1), { stdio: ['ignore', 'inherit', 'inherit'], env, cwd: root });
    return true;
  } catch (error) {
    if (mayFail) return false;
    console.error(`setup: "${argv.join(' ')}" failed: ${error.message}`);
    process.exit(1);
  }
}
