import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { formatDiagnostic } from './diagnostics.ts';
import { parsePolicy } from './policy-file.ts';

const vms = new Set(['work', 'play', 'vault']);
const read = (text: string) => parsePolicy(text, 'policy.yaml', vms);
const errorsOf = (text: string) => read(text).errors.map(formatDiagnostic);

/** A rule with these lines. */
const rule = (...lines: string[]) => `rules:\n  - ${lines.join('\n    ')}\n`;
const field = (line: string) => rule('match:', `  ${line}`, 'attach: work');
const when = (text: string) => rule('match: everything', 'attach: work', `when: ${text}`);
const expectation = (...lines: string[]) => `expect:\n  - ${lines.join('\n    ')}\n`;

const EMPTY = '1:1: The file is empty; a policy without rules is written as "rules: []".';
/** What is wrong, and what is said of it, whole or as a pattern. */
const BAD: [string, string, string | RegExp][] = [
  ['nothing', '', EMPTY],
  ['nothing but a comment', '# nothing\n', EMPTY],
  ['nothing but a mark', '\ufeff', EMPTY],
  ['an unknown key of the policy', 'rule: []', '1:1: There is no "rule" in a policy. Did you mean "rules"?'],
  ['a far-off key', 'colours: []', '1:1: There is no "colours" in a policy. It has mode, rules and expect.'],
  ['a merge key', '<<: {}', '1:1: There is no "<<" in a policy. It has mode, rules and expect.'],
  [
    'an unknown mode',
    'mode: enforced',
    /^1:7: "mode": it is enforce, observe, not "enforced". Did you mean "enforce"\?$/,
  ],
  ['a mode without a value', 'mode:', '1:6: "mode" has no value.'],
  ['a mode that is a list', 'mode: [observe]', '1:7: "mode" is one value.'],
  ['a text for a policy', 'deny everything', /^1:1: Here a policy is written as "name: value"/],
  ['a list for a policy', '- match: everything', /^1:1: Here a policy is written/],
  ['rules that are a map', 'rules: { a: b }', '1:8: Here is a list of rules: each begins with "- ".'],
  ['a rule that is a text', 'rules: [deny]', /^1:9: Here a rule is written/],
  ['an empty rule', 'rules:\n  -\n', /^2:4: Here a rule is written/],
  [
    'an unknown key of a rule',
    rule('mtch: everything', 'deny: true'),
    /^2:5: There is no "mtch" in a rule. Did you mean "match"\?$/,
  ],
  ['no match', rule('deny: true'), '2:5: This rule has no "match"; for every device write "match: everything".'],
  [
    'an empty match',
    rule('match: {}', 'deny: true'),
    '2:12: "match" is empty; for every device write "match: everything".',
  ],
  ['a match without a value', rule('match:', 'deny: true'), /^2:11: "match" has fields/],
  ['a match that is a text', rule('match: all', 'deny: true'), /^2:12: "match" has fields/],
  ['no action', rule('match: everything'), '2:5: This rule does nothing: it has one of attach, ask or deny.'],
  [
    'two actions',
    rule('match: everything', 'deny: true', 'attach: work'),
    '4:5: A rule has one action, and this one has "deny".',
  ],
  [
    'a VM that is the host',
    rule('match: everything', 'attach: dom0'),
    /^3:13: "attach": "dom0" cannot be a VM name: it is reserved/,
  ],
  ['two VMs to attach to', rule('match: everything', 'attach: [work, play]'), '3:13: "attach" is one value.'],
  ['no VM to ask for', rule('match: everything', 'ask: []'), '3:10: "ask" is an empty list.'],
  ['a VM name out of a list', rule('match: everything', 'ask: [work, 1x]'), /^3:17: "ask": "1x" cannot be a VM name/],
  ['deny: false', rule('match: everything', 'deny: false'), /^3:11: "deny": write true, or the reason/],
  ['a reason of two lines', rule('match: everything', 'deny: "a\\nb"'), /^3:11: "deny": a reason is one line/],
  ['a name that is none', rule('name: 3rd', 'match: everything', 'deny: true'), /^2:11: "name": "3rd" is no name/],
  [
    'a name that does harm',
    rule('name: "a\\e[2J"', 'match: everything', 'deny: true'),
    /^2:11: "name": "a\\u\{1b\}\[2J" is no name/,
  ],
  ['an unknown field', field('clas: storage'), '3:7: There is no "clas" in "match". Did you mean "class"?'],
  ['a field without a value', field('id:'), '3:10: "id" has no value.'],
  ['a field with an empty list', field('id: []'), '3:11: "id" is an empty list.'],
  ['a field that is a map', field('id: { a: b }'), '3:11: "id" is one value, or a list of them.'],
  ['a list in a list', field('id: [[0951:1666]]'), '3:12: "id" is one value.'],
  ['a bad id in a list', field('id: [0951:1666, 0951]'), /^3:23: "id": "0951" is no device id: a device id is vid:pid/],
  ['id and switches', field('id: 0951:1666\n      switches: 0951:1666'), /^4:7: A rule has "id" or "switches"/],
  [
    'a switcher without a product',
    field('switches: [12d1:*]'),
    /^3:18: "switches": "12d1:\*" has to name vendor and product/,
  ],
  [
    'a class that there is not',
    field('class: storge'),
    /^3:14: "class": there is no class "storge".* Did you mean "storage"\?$/,
  ],
  ['an unknown part of class', field('class: { none: hid }'), /^3:16: There is no "none" in "class". /],
  ['an empty class', field('class: {}'), '3:14: "class" has any, all or only.'],
  ['a port that is a hub', field('port: usb3'), /^3:13: "port": "usb3" is no port.*"hub"\.$/],
  [
    'a star without quotes',
    field('port: *:3-1'),
    '3:13: What begins with * has to be in quotes, as "*": YAML takes it for an alias otherwise.',
  ],
  ['a star alone', field('port: *'), /^3:13: What begins with \* has to be in quotes/],
  ['a star without quotes in a list', field('product: [*x*, b]'), /^3:17: What begins with \*/],
  ['a speed that there is not', field('speed: fast'), '3:14: "speed": it is low, full, high, super, not "fast".'],
  ['attached as nothing', field('attachedAs: builtin'), '3:19: "attachedAs": it is removable, fixed, not "builtin".'],
  [
    'an unknown condition',
    when('{ runing: work }'),
    /^4:13: There is no "runing" in "when". Did you mean "running"\?$/,
  ],
  ['conditions that are a text', when('always'), /^4:11: Here "when" is written as/],
  ['no condition', when('{}'), '4:11: "when" has no condition; without it a rule always holds.'],
  ['hours that are none', when('{ time: 8-18 }'), /^4:19: "time": "8-18" is no range of hours/],
  ['a day that is none', when('{ days: [Mon, Xyz] }'), /^4:25: "days": "Xyz" is no day/],
  ['none at most', when('{ atMost: 0 }'), '4:21: "atMost": it is a whole number from 1 to 1000, not "0".'],
  ['a huge number', when('{ atMost: 99999999999999999999 }'), /^4:21: "atMost": it is a whole number/],
  ['a negative number', when('{ atMost: -1 }'), /^4:21: "atMost"/],
  [
    'a count of what is denied',
    rule('match: everything', 'deny: true', 'when: { atMost: 2 }'),
    /^4:21: "atMost" counts the devices in a VM/,
  ],
  [
    'a name given twice',
    `${rule('name: a', 'match: everything', 'deny: true')}  - { name: a, match: everything, deny: true }`,
    '5:13: The rule in line 2 is called "a" already.',
  ],
  [
    'a key given twice',
    rule('match: everything', 'deny: true', 'deny: no'),
    '4:5: "deny" stands here for the second time.',
  ],
  [
    'an anchor and its alias',
    'rules:\n  - &a { match: everything, deny: true }\n  - *a\n',
    /^3:5: What begins with \*/,
  ],
  [
    'a tag',
    'mode: !!js/function x',
    '1:21: This has a tag (what begins with !), and those have no place in this file.',
  ],
  ['two documents', 'mode: observe\n---\nmode: enforce', '2:1: A second document begins here; the file has one.'],
  ['a tab', 'rules:\n\t- match: everything', /^2:1: Lines are indented by spaces; here is a tab\.$/],
  ['a list that does not end', 'rules: [', /^1:9: /],
  ['a key that is a map', '{ { a: b }: c }', '1:3: A key is a word.'],
  ['NUL', 'mode: ob\0serve', '1:9: The character \\u{0} has no place in this file.'],
  ['an escape', '# \u001b[2J\n', '1:3: The character \\u{1b} has no place in this file.'],
  [
    'a mark that turns text around',
    'mode: observe\n# \u202e eversba\n',
    '2:3: The character \\u{202e} has no place in this file.',
  ],
  [
    'an old carriage return',
    'mode: observe\rrules: []',
    '1:14: A carriage return without a line feed has no place in this file.',
  ],
  ['an expectation without a device', expectation('to: deny'), '2:5: This expectation has no "device".'],
  ['an expectation without an end', expectation('device: { id: 0951:1666 }'), '2:5: This expectation has no "to".'],
  ['a device without anything', expectation('device: {}', 'to: deny'), '2:13: Nothing is said of this device.'],
  [
    'a device with a star',
    expectation('device: { id: 0951:* }', 'to: nothing'),
    /^2:19: "id": "0951:\*" is not the id of one device/,
  ],
  [
    'a port with a star',
    expectation('device: { port: "3-*" }', 'to: nothing'),
    /^2:21: "port": "3-\*" is about one device/,
  ],
  [
    'a serial given twice',
    expectation('device: { id: 0951:1666:S1, serial: S1 }', 'to: nothing'),
    /^2:41: The serial number stands in "id" already/,
  ],
  [
    'interfaces given twice',
    expectation('device: { id: "0951:1666::080650", class: hid }', 'to: nothing'),
    /^2:47: The interfaces stand in "id" already/,
  ],
  [
    'a broken serial',
    expectation('device: { id: 0951:1666:%ff }', 'to: nothing'),
    /^2:19: "id": .* is not the id of one device/,
  ],
  ['an end that is none', expectation('device: { id: 0951:1666 }', 'to: ask'), /^3:9: "to": /],
  [
    'an end that is two',
    expectation('device: { id: 0951:1666 }', 'to: work, play'),
    /^3:9: "to": write the name of a VM, ask/,
  ],
  [
    'a rule that is not there',
    `${rule('name: disks', 'match: everything', 'deny: true')}${expectation('device: { id: 0951:1666 }', 'to: deny', 'by: disk')}`,
    '8:9: There is no rule "disk". Did you mean "disks"?',
  ],
  [
    'a moment that is none',
    expectation('device: { id: 0951:1666 }', 'to: nothing', 'at: noon'),
    /^4:9: "at": "noon" is no moment/,
  ],
  [
    'a match of nothing',
    field('class: { any: storage, only: printer }'),
    '3:14: No device matches this rule: "class" asks for what excludes itself.',
  ],
  [
    'fields that exclude each other',
    field('port: 3-1\n      hub: usb4'),
    '3:13: No device matches this rule: "port" and "hub" exclude each other.',
  ],
];

suite('what is wrong is told at its place', () => {
  for (const [what, text, expected] of BAD) {
    test(what, () => {
      const errors = errorsOf(text).map((line) => line.replace(/^policy\.yaml:/, ''));
      assert.equal(read(text).policy, undefined);
      assert.equal(errors.length, 1, errors.join('\n'));
      if (typeof expected === 'string') assert.equal(errors[0], expected);
      else assert.match(errors[0] ?? '', expected);
      assert.doesNotMatch(errors.join(), /[\p{Cc}\p{Cf}]/u);
    });
  }

  test('all at once, in their order', () => {
    const text = `mode: off\nrules:\n  - match: { speed: fast, id: x }\n    when: { atMost: no }\n  - deny: true\n    deny: false\n`;
    assert.deepEqual(
      errorsOf(text).map((line) => line.split(':').slice(1, 3).join(':')),
      ['1:7', '3:5', '3:21', '3:31', '4:21', '5:5', '6:5'],
    );
  });
});
