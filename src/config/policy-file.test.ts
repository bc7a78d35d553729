import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { EMPTY_POLICY } from '../model/policy.ts';
import { formatDiagnostic } from './diagnostics.ts';
import { parsePolicy } from './policy-file.ts';

const vms = new Set(['work', 'play', 'vault']);
const read = (text: string) => parsePolicy(text, 'policy.yaml', vms);
const errorsOf = (text: string) => read(text).errors.map(formatDiagnostic);
const warningsOf = (text: string) => read(text).warnings.map(formatDiagnostic);

/** A rule with these lines. */
const rule = (...lines: string[]) => `rules:\n  - ${lines.join('\n    ')}\n`;
const field = (line: string) => rule('match:', `  ${line}`, 'attach: work');
const expectation = (...lines: string[]) => `expect:\n  - ${lines.join('\n    ')}\n`;

suite('what can be written', () => {
  test('no rules', () => {
    for (const text of ['rules:\n', 'rules: []\nexpect: []\n', 'mode: enforce']) {
      assert.deepEqual(read(text), { policy: EMPTY_POLICY, errors: [], warnings: [] });
    }
  });

  test('everything', () => {
    const text = `
mode: observe
rules:
  - name: modem
    match:
      switches: [12d1:1f01, "12D1:14db:*"]
      port: [3-1, "*:3-2"]
      hub: usb3
      location: 0000:00:14.0
      backend: host
      speed: [high, super]
      attachedAs: removable
    attach: work
    when: { running: [work, play], time: [8:00-18:00, 22:00-06:00], days: [Sat-Mon, Wed], atMost: 2 }
  - match:
      id: ["0951:*", "*:*:a%20b"]
      serial: ["", a b]
      vendor: King*
      product: "*"
      class: 08
    ask: play
  - match:
      class:
        any: [keyboard, 0301]
        all: mouse
        only: [hid, 03**01, E0, "*01"]
    deny: true
  - match: everything
    deny: nobody asked for it
expect:
  - device: { id: 0951:1666:a%20b:080650, vendor: kingston, port: 4-1, location: 0000:00:14.0/1, speed: low, attachedAs: fixed }
    to: ask play
    running: []
  - device: { class: [storage, keyboard], serial: "a b", product: x }
    to: deny
    by: modem
    at: mon 9:00
`;
    const { errors, policy } = parsePolicy(text.replace('    by: modem\n', ''), 'policy.yaml');
    assert.deepEqual(errors, []);
    assert.deepEqual(policy, {
      mode: 'observe',
      rules: [
        {
          name: 'modem',
          match: {
            switches: ['12d1:1f01:*:*', '12d1:14db:*:*'],
            port: ['dom0:3-1', '*:3-2'],
            hub: ['dom0:usb3'],
            location: ['0000:00:14.0/*'],
            backend: ['dom0'],
            speed: ['high', 'super'],
            attachedAs: ['removable'],
          },
          action: { do: 'attach', vm: 'work' },
          when: {
            running: ['work', 'play'],
            time: ['08:00-18:00', '22:00-06:00'],
            days: ['Mon', 'Wed', 'Sat', 'Sun'],
            atMost: 2,
          },
          line: 4,
        },
        {
          match: {
            id: ['0951:*:*:*', '*:*:a%20b:*'],
            serial: ['', 'a%20b'],
            vendor: ['King*'],
            product: ['*'],
            class: { any: ['08'] },
          },
          action: { do: 'ask', vms: ['play'] },
          line: 15,
        },
        {
          match: { class: { any: ['keyboard', '0301'], all: ['mouse'], only: ['hid', '03*01', 'e0', '*01'] } },
          action: { do: 'deny' },
          line: 22,
        },
        { match: {}, action: { do: 'deny', reason: 'nobody asked for it' }, line: 28 },
      ],
      expect: [
        {
          device: {
            id: '0951:1666:a%20b:080650',
            vendor: 'kingston',
            port: 'dom0:4-1',
            location: '0000:00:14.0/1',
            speed: 'low',
            attachedAs: 'fixed',
          },
          to: { do: 'ask', vms: ['play'] },
          running: [],
          line: 31,
        },
        {
          device: { class: ['storage', 'keyboard'], serial: 'a b', product: 'x' },
          to: { do: 'deny' },
          at: 'Mon 09:00',
          line: 34,
        },
      ],
    });
  });

  test('CRLF, a byte order mark and JSON make no difference', () => {
    const text = rule('match:', '  class: 08', 'attach: work');
    const { policy } = read(text);
    assert.ok(policy);
    assert.deepEqual(read(text.replaceAll('\n', '\r\n')).policy, policy);
    assert.deepEqual(read(`\ufeff${text}`).policy, policy);
    const json = JSON.stringify({ rules: [{ match: { class: '08' }, attach: 'work' }] });
    assert.deepEqual(read(json).policy?.rules[0]?.match, policy.rules[0]?.match);
  });

  test('what is given twice in a list counts once', () => {
    assert.deepEqual(read(field('port: [3-1, "dom0:3-1"]')).policy?.rules[0]?.match, { port: ['dom0:3-1'] });
  });
});

suite('what is beyond the grammar', () => {
  test('a rule that never decides, where it stands', () => {
    const text = `rules:\n  - { name: disks, match: { class: storage }, deny: true }\n  - match: { class: "0806", speed: low }\n    attach: work\n`;
    assert.deepEqual(warningsOf(text), [
      'policy.yaml:3:5: This rule never decides: rule 1 "disks" (line 2) matches whatever it matches.',
    ]);
    assert.ok(read(text).policy);
  });

  test('VMs that there are not, each where it stands; nothing when nobody says which there are', () => {
    const text = `rules:\n  - match: everything\n    ask: [work, wrk]\n    when: { running: [gone] }\nexpect:\n  - { device: { id: 0951:1666 }, to: "ask work, wrk", running: [gone] }\n`;
    assert.deepEqual(warningsOf(text), [
      'policy.yaml:3:17: There is no VM "wrk". Did you mean "work"?',
      'policy.yaml:4:23: There is no VM "gone".',
      'policy.yaml:6:38: There is no VM "wrk". Did you mean "work"?',
      'policy.yaml:6:65: There is no VM "gone".',
    ]);
    assert.deepEqual(parsePolicy(text, 'policy.yaml').warnings, []);
  });

  test('an expectation that does not hold is an error: what was expected, what is, and by which rule', () => {
    const text = `rules:\n  - match: { class: storage }\n    attach: work\nexpect:\n  - device: { id: 0951:1666, class: storage }\n    to: deny\n`;
    assert.deepEqual(errorsOf(text), [
      'policy.yaml:5:5: "deny" for 0951:1666 is expected, and it is work: rule 1 (line 2) decides.',
    ]);
    assert.deepEqual(errorsOf(text.replace('deny', 'work')), []);
  });

  test('expectations are not asked of a policy that cannot be read', () => {
    const text = `rules:\n  - { match: { clas: hid }, deny: true }\n${expectation('device: { id: 0951:1666 }', 'to: work')}`;
    assert.equal(errorsOf(text).length, 1);
  });
});
