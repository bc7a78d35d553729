// `npm run build`: bundles the daemon and the CLI into dist/ as CommonJS (starts faster than ESM), each with its lazy
// parts beside it, and puts koffi's prebuilt module where the bundles find it. What the launchers in bin/ run.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
/** What the CLI imports dynamically is a bundle of its own, so that the commands that do not need it do not read it. */
const APART = [
  'app/daemon',
  'app/doctor',
  'app/own-monitor',
  'app/audit-offline',
  'api/operations',
  'cli/anchors-file',
  'cli/grammar',
  'cli/service',
  'config/auto-usb-attach-file',
  'config/policy-file',
  'config/vm-keys',
  'config/vm-keys-help',
  'config/xenvm-file',
];
const apart = {
  name: 'apart',
  setup({ onResolve }) {
    onResolve({ filter: /\.ts$/ }, ({ path, importer, kind }) => {
      if (kind !== 'dynamic-import' || !importer.includes('/src/cli/')) return undefined;
      const name = basename(path, '.ts');
      if (!APART.some((part) => basename(part) === name)) return { errors: [{ text: `${path} is not in APART` }] };
      return { path: `./${name}.cjs`, external: true };
    });
  },
};

/** Commander loads child_process for subcommands that are programs of their own, which ours are not: 5 ms of each start. */
const childProcessLate = {
  name: 'child-process-late',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes('/node_modules/commander/') ? { path: 'late', namespace: 'child-process' } : undefined,
    );
    const contents = "exports.spawn = (...args) => require('node:child_process').spawn(...args);";
    onLoad({ filter: /^late$/, namespace: 'child-process' }, () => ({ contents, loader: 'js' }));
  },
};

await build({
  absWorkingDir: root,
  entryPoints: {
    usher: 'src/cli/usher.ts',
    usherd: 'src/cli/usherd.ts',
    'qvm-usb': 'src/cli/qvm-usb.ts',
    'auto-usb-attach': 'src/cli/auto-usb-attach.ts',
    xenvm: 'src/cli/xenvm.ts',
    'xenvm-cmd': 'src/cli/xenvm-cmd.ts',
    ...Object.fromEntries(APART.map((path) => [basename(path), `src/${path}.ts`])),
    'sim-world': 'src/hypervisor/simulator/world-process.ts',
  },
  outdir: dist,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  minifySyntax: true,
  legalComments: 'none',
  logLevel: 'warning',
  external: ['koffi'],
  plugins: [apart, childProcessLate],
  // CommonJS has no import.meta.url; native.ts finds koffi by it.
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
  define: { 'process.env.USHER_VERSION': JSON.stringify(version), 'import.meta.url': 'bundleUrl' },
});
// koffi is a native module: a bundle cannot hold it, so the parts that are used stand beside the bundle.
for (const arch of ['x64', 'arm64']) {
  const platform = join(root, 'node_modules/@koromix', `koffi-linux-${arch}`);
  if (existsSync(platform))
    cpSync(platform, join(dist, 'node_modules/@koromix', `koffi-linux-${arch}`), { recursive: true });
}
cpSync(join(root, 'node_modules/koffi'), join(dist, 'node_modules/koffi'), {
  recursive: true,
  filter: (from) => !/koffi\/(vendor|doc)(\/|$)|\.(cc|hh|h|S|asm|txt|md)$/.test(from),
});
writeFileSync(join(dist, 'package.json'), `${JSON.stringify({ name: 'usher-dist', version, type: 'commonjs' })}\n`);
