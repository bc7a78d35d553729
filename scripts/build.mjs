// `npm run build`: bundles the daemon and the CLI into dist/ as CommonJS (starts faster than ESM), each with its lazy
// parts beside it, and puts koffi's prebuilt module where the bundles find it. What the launchers in bin/ run.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: {
    usher: 'src/cli/usher.ts',
    usherd: 'src/cli/usherd.ts',
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
  // CommonJS has no import.meta; lib/native.ts asks it where to look for koffi.
  define: { 'process.env.USHER_VERSION': JSON.stringify(version), 'import.meta.url': 'bundleUrl' },
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
});
// koffi is a native module: a bundle cannot hold it, so the parts that are used stand beside the bundle.
for (const arch of ['x64', 'arm64']) {
  const platform = join(root, 'node_modules/@koromix', `koffi-linux-${arch}`);
  if (existsSync(platform))
    cpSync(platform, join(dist, 'node_modules/@koromix', `koffi-linux-${arch}`), { recursive: true });
}
cpSync(join(root, 'node_modules/koffi'), join(dist, 'node_modules/koffi'), {
  recursive: true,
  filter: (from) => !/koffi\/(src|vendor|doc)(\/|$)/.test(from),
});
writeFileSync(join(dist, 'package.json'), `${JSON.stringify({ name: 'usher-dist', version, type: 'commonjs' })}\n`);
