/** Holds the documents to what is there: links lead somewhere, commands and scripts exist, promises have their tests. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { OPTIONS } from '../../src/cli/auto-usb-attach/options.ts';
import type { CommandSpec } from '../../src/cli/command.ts';
import { POLICY_COMMANDS } from '../../src/cli/commands/policy.ts';
import { SYSTEM_COMMANDS } from '../../src/cli/commands/system.ts';
import { USB_COMMANDS } from '../../src/cli/commands/usb.ts';
import { VM_COMMANDS } from '../../src/cli/commands/vm.ts';
import { OLD_OPTIONS } from '../../src/cli/qvm-usb/old-forms.ts';
import { VERBS } from '../../src/cli/qvm-usb/verbs.ts';
import { AUTO_ATTACH_SETTINGS } from '../../src/config/auto-usb-attach.ts';

const ROOT = join(import.meta.dirname, '../..');
const PAGES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...globSync('docs/**/*.md', { cwd: ROOT }).sort()];
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

test('every link leads to a file, and to a heading of it', () => {
  const broken: string[] = [];
  for (const page of PAGES) {
    for (const [, link = ''] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? page : normalize(join(dirname(page), path));
      if (!existsSync(join(ROOT, target))) broken.push(`${page}: ${link}`);
      else if (anchor !== undefined && !anchorsOf(read(target)).has(anchor)) broken.push(`${page}: ${link}`);
    }
  }
  assert.deepEqual(broken, []);
});

test('every usher command that a document shows exists, with its options', () => {
  const commands: readonly CommandSpec[] = [...VM_COMMANDS, ...USB_COMMANDS, ...POLICY_COMMANDS, ...SYSTEM_COMMANDS];
  let seen = 0;
  for (const page of PAGES) {
    for (const line of shellLines(read(page))) {
      const words = /(?:^|[ /(])usher ((?:[^#;|>)]| >)+)/.exec(line)?.[1]?.trim().split(/\s+/);
      if (words === undefined) continue;
      const command = commands.find(({ noun, verb, aliases = [] }) =>
        noun === undefined ? words[0] === verb : words[0] === noun && [verb, ...aliases].includes(words[1] ?? ''),
      );
      assert.ok(command, `${page}: there is no command "usher ${words.join(' ')}"`);
      const flags = (command.options ?? []).flatMap((option) => option.flags.match(/--?[a-z-]+/g) ?? []);
      for (const word of words.filter((other) => /^--?[a-z]/.test(other))) {
        assert.ok(
          ['--json', '--help', ...flags].includes(word),
          `${page}: "usher ${words.join(' ')}" takes no ${word}`,
        );
      }
      seen++;
    }
  }
  assert.ok(seen > 30, `only ${seen} commands were found: the pattern is broken`);
});

test('every npm script that a document names exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  for (const page of PAGES) {
    for (const [, name = ''] of read(page).matchAll(
      /`npm (?:run )?(setup|build|check|test|demo|bench|reference|format)\b/g,
    )) {
      assert.ok(scripts[name], `${page}: npm run ${name}`);
    }
    for (const [, name = ''] of read(page).matchAll(/npm run (\w+)/g))
      assert.ok(scripts[name], `${page}: npm run ${name}`);
  }
});

test('every promise names what holds it, numbered without a gap', () => {
  const promises = read('docs/specification.md')
    .split('\n')
    .filter((line) => /^\| \d+ \|/.test(line));
  assert.ok(promises.length > 20);
  for (const [i, line] of promises.entries()) {
    assert.match(line, new RegExp(`^\\| ${i + 1} \\|`), line);
    assert.match(line, /\]\(\.\.\/(src\/[^)]+\.test|test\/[^)]+|scripts\/demo)\.ts\)|\*no test yet\*/, line);
  }
});

test('every decision has its parts and its number', () => {
  for (const [i, path] of globSync('docs/decisions/*.md', { cwd: ROOT }).sort().entries()) {
    const text = read(path);
    assert.ok(path.includes(`/${String(i + 1).padStart(4, '0')}-`), path);
    for (const part of ['Context', 'Decision', 'Consequences', 'How we would know that it was wrong']) {
      assert.ok(text.includes(`\n## ${part}\n`), `${path} has no "${part}"`);
    }
  }
});

test('every known issue names a cure and a test that is there, or says that it has none yet', () => {
  const rows = read('docs/known-issues.md')
    .split('\n')
    .filter((line) => /^\| \d+ \|/.test(line));
  assert.ok(rows.length > 30, `only ${rows.length} issues were found: the pattern is broken`);
  for (const [i, line] of rows.entries()) {
    const [number, issue = '', cure = '', tests = ''] = line
      .split('|')
      .map((cell) => cell.trim())
      .slice(1);
    assert.equal(number, String(i + 1), line);
    assert.ok(issue.length > 10 && cure.length > 10, line);
    if (tests === '*none yet*') continue;
    const named = [...tests.matchAll(/\]\(\.\.\/([^)]+)\) "([^"]+)"/g)];
    assert.ok(named.length > 0, `${line}: neither a test nor *none yet*`);
    for (const [, path = '', name = ''] of named) assert.ok(read(path).includes(name), `${path} has no test "${name}"`);
  }
});

test('every option of the compatible commands has its place in their page', () => {
  const page = read('docs/compatible-commands.md');
  const options = [OLD_OPTIONS, ...VERBS.map((verb) => verb.options), OPTIONS].flatMap((one) => Object.keys(one));
  for (const option of options) assert.match(page, new RegExp(`--${option}\\b`));
  for (const { name, aliases } of VERBS)
    assert.ok(page.includes(`\`${name}\` (${aliases.map((one) => `\`${one}\``).join(', ')})`), name);
  for (const { key } of Object.values(AUTO_ATTACH_SETTINGS)) assert.match(page, new RegExp(`\`${key}\\b`));
});

/** The lines of the code blocks that a shell would read. */
function shellLines(text: string): string[] {
  return [...text.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block = '']) => block.split('\n'));
}

/** Headings as GitHub makes anchors of them. */
function anchorsOf(text: string): Set<string> {
  const titles = [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => title);
  return new Set(
    titles.map((title) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}
