import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { DAYS, type RuleConditions } from './policy.ts';
import {
  compileTime,
  formatMoment,
  type LocalTime,
  localTimeOf,
  momentOf,
  readDays,
  readHours,
  readMoment,
} from './policy-time.ts';

const isIn = (when: RuleConditions, moment: string) => compileTime(when)?.(momentOf(moment));

suite('reading', () => {
  test('hours', () => {
    assert.deepEqual(readHours('8:00-18:00'), { value: '08:00-18:00' });
    assert.deepEqual(readHours(' 22:00 - 06:00 '), { value: '22:00-06:00' });
    assert.deepEqual(readHours('00:00-24:00'), { value: '00:00-24:00' });
    for (const bad of [
      '',
      '8-18',
      '25:00-26:00',
      '08:60-09:00',
      '24:00-06:00',
      '08:00',
      '08:00-08:00',
      '24:30-01:00',
    ]) {
      assert.ok('wrong' in readHours(bad), bad);
    }
  });

  test('days', () => {
    assert.deepEqual(readDays('Mon'), { value: ['Mon'] });
    assert.deepEqual(readDays('monday'), { value: ['Mon'] });
    assert.deepEqual(readDays('Mon-Fri'), { value: ['Mon', 'Tue', 'Wed', 'Thu', 'Fri'] });
    assert.deepEqual(readDays('Sat - mon'), { value: ['Sat', 'Sun', 'Mon'] });
    for (const day of ['Tuesday', 'wednesday', 'THURSDAY', 'Saturday', 'sunday'])
      assert.ok('value' in readDays(day), day);
    for (const bad of ['', 'Mo', 'monkey', 'Mon-', 'Mon-Tue-Wed', 'tuesd', '-'])
      assert.ok('wrong' in readDays(bad), bad);
  });

  test('moments', () => {
    assert.deepEqual(readMoment(' mon  9:05 '), { value: 'Mon 09:05' });
    assert.deepEqual(momentOf('Mon 09:05'), { day: 'Mon', minute: 545 });
    for (const bad of ['', 'Mon', '09:00', 'Mon 24:00', 'Mon 9', 'Mon 09:00 x'])
      assert.ok('wrong' in readMoment(bad), bad);
  });
});

test('hours begin with their first minute and end before their last', () => {
  const when = { time: ['08:00-18:00'] };
  assert.deepEqual(
    ['Mon 07:59', 'Mon 08:00', 'Sun 17:59', 'Mon 18:00'].map((moment) => isIn(when, moment)),
    [false, true, true, false],
  );
});

test('hours over midnight belong to the day on which they begin', () => {
  const when: RuleConditions = { time: ['22:00-06:00'], days: ['Fri', 'Sun'] };
  const moments = {
    'Fri 05:59': false,
    'Fri 21:59': false,
    'Fri 22:00': true,
    'Sat 05:59': true,
    'Sat 06:00': false,
    'Sat 23:00': false,
    'Sun 05:00': false,
    'Mon 05:00': true,
  };
  for (const [moment, expected] of Object.entries(moments)) assert.equal(isIn(when, moment), expected, moment);
});

test('several hours, days alone, and neither', () => {
  assert.equal(isIn({ time: ['08:00-09:00', '10:00-11:00'] }, 'Mon 10:30'), true);
  assert.equal(isIn({ time: ['08:00-09:00', '10:00-11:00'] }, 'Mon 09:30'), false);
  assert.equal(isIn({ days: ['Tue'] }, 'Tue 00:00'), true);
  assert.equal(isIn({ days: ['Tue'] }, 'Wed 00:00'), false);
  assert.equal(isIn({ time: ['18:00-24:00'] }, 'Wed 23:59'), true);
  assert.equal(compileTime({ running: ['work'] }), undefined);
});

test('the moment of the week is local, Monday first', () => {
  // 2 March 2026 is a Monday.
  for (const [i, day] of DAYS.entries()) {
    const at: LocalTime = { day, minute: 9 * 60 + 5 };
    assert.deepEqual(localTimeOf(new Date(2026, 2, 2 + i, 9, 5, 59).getTime()), at);
    assert.equal(formatMoment(at), `${day} 09:05`);
  }
});
