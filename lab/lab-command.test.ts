import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../src/lib/fault.ts';
import { LAB_USAGE, parseLabCommand } from './lab-command.ts';

test('words become commands', () => {
  assert.deepEqual(parseLabCommand([]), { verb: 'start', hasGuests: false, xenstored: 'xenstored' });
  assert.deepEqual(parseLabCommand(['start', '--guests']), {
    verb: 'start',
    hasGuests: true,
    xenstored: 'xenstored',
  });
  assert.deepEqual(parseLabCommand(['start', '--oxenstored']), {
    verb: 'start',
    hasGuests: false,
    xenstored: 'oxenstored',
  });
  assert.deepEqual(parseLabCommand(['plug', 'storage', '--serial', 'S1', '--port=3']), {
    ...{ verb: 'plug', kind: 'storage', serial: 'S1', port: '3' },
    ...{ name: undefined, file: undefined },
  });
  assert.deepEqual(parseLabCommand(['pull', 'S1']), { verb: 'pull', name: 'S1' });
  assert.deepEqual(parseLabCommand(['run', 'xl list -v']), { verb: 'run', script: 'xl list -v', seconds: 60 });
  assert.deepEqual(parseLabCommand(['run', 'sleep 9', '--seconds', '9']), {
    verb: 'run',
    script: 'sleep 9',
    seconds: 9,
  });
  assert.deepEqual(parseLabCommand(['reboot', '--power-cut']), { verb: 'reboot', isPowerCut: true });
  for (const verb of ['list', 'freeze', 'thaw', 'logs', 'stop']) assert.deepEqual(parseLabCommand([verb]), { verb });
  for (const words of [['help'], ['--help'], ['plug', '-h']])
    assert.deepEqual(parseLabCommand(words), { verb: 'help' });
});

test('what is wrong is said, with where to look', () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [['start', '--guests', '--oxenstored'], /exclude each other/],
    [['plgu', 'storage'], /"plgu" is not a command/],
    [['plug'], /"plug" needs a KIND/],
    [['plug', 'banana'], /"banana" is no kind of device: storage,/],
    [['plug', 'mouse', '--file', 'x'], /a mouse has no --file/],
    [['run', 'xl', 'list'], /"run" takes no "list"; a command of several words stands in quotes/],
    [['run', 'x', '--seconds', 'many'], /whole number/],
    [['list', 'all'], /"list" takes no "all"/],
    [['stop', '--port', '1'], /"stop" takes no --port/],
    [['plug', 'mouse', '--color', 'red'], /--color/],
  ];
  for (const [words, message] of wrong)
    assert.throws(
      () => parseLabCommand(words),
      (error) => isFault(error, 'usage') && message.test(error.message) && error.hint !== undefined,
      words.join(' '),
    );
});

test('the usage text names every command that there is', () => {
  for (const verb of ['start', 'plug', 'pull', 'list', 'run', 'freeze', 'thaw', 'reboot', 'logs', 'stop'])
    assert.match(LAB_USAGE, new RegExp(`npm run lab -- (freeze \\| )?${verb}\\b`), verb);
});
