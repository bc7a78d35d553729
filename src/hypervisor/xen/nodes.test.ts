import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { checkPath } from '../../wire/xenstore/paths.ts';
import {
  backendPath,
  controllersPath,
  formatModelNote,
  formatNote,
  huskPath,
  modelNotePath,
  notePath,
  parseController,
  parseModelNote,
  parseNote,
  parseNumbers,
  parsePort,
  parseVmPath,
  portPath,
  readChange,
} from './nodes.ts';

const SLOT = { controller: 1, port: 8 };

suite('nodes of USB in xenstore', () => {
  test('paths are those of libxl, and may be sent', () => {
    assert.equal(portPath('qusb', 5, SLOT), '/local/domain/0/backend/qusb/5/1/port/8');
    assert.equal(portPath('devicemodel', 5, SLOT), '/libxl/5/device/vusb/1/port/8');
    assert.equal(notePath(5, SLOT), '/libxl/5/usher/usb/1/8');
    for (const path of [portPath('qusb', 5, SLOT), notePath(5, SLOT), huskPath(5, 1), modelNotePath(5)]) {
      assert.doesNotThrow(() => checkPath(path));
    }
  });

  test('the uuid of a domain', () => {
    const uuid = '4f117023-e2cf-4caf-8e86-d388b04da895';
    assert.equal(parseVmPath(`/vm/${uuid}`), uuid);
    for (const text of [undefined, '', '/vm/', uuid, `/vm/${uuid}/x`, `/vm/../${uuid}`]) {
      assert.equal(parseVmPath(text), undefined);
    }
  });

  test('whose nodes a change is about', () => {
    const slots = [portPath('qusb', 5, SLOT), portPath('devicemodel', 5, SLOT), notePath(5, SLOT), huskPath(5, 1)];
    const folders = [`${backendPath(5, 1)}/state`, `${controllersPath(5)}/1/num-ports`, '/libxl/5', '/libxl/5/device'];
    for (const path of [...slots, ...folders, '/local/domain/0/backend/qusb/5'])
      assert.equal(readChange(path), 5, path);
    assert.equal(readChange('/libxl'), 'all');
    for (const path of [
      '/libxl/5/device/vbd/51712/params',
      '/libxl/5/dm-version',
      '/libxl/usbback/1_1',
      '@releaseDomain',
    ]) {
      assert.equal(readChange(path), undefined, path);
    }
  });

  test('numbers only', () => {
    assert.deepEqual(parseNumbers(['10', '2', '02', '-1', 'x', '', '1e3', '123456']), [2, 10]);
    assert.deepEqual(parseNumbers(undefined), []);
  });

  test('ports: free, a busid, nonsense', () => {
    assert.deepEqual([undefined, ''].map(parsePort), [{ is: 'free' }, { is: 'free' }]);
    assert.deepEqual(parsePort('1-1.4'), { is: 'busid', busid: '1-1.4' });
    for (const text of ['1', '1-', '../../1-1', '1-1 ', '1-1\n', 'x'.repeat(2048)]) {
      assert.equal(parsePort(text).is, 'nonsense');
    }
  });

  test('a controller is whole, or none', () => {
    const whole = { type: 'qusb', version: '2', ports: '8' };
    assert.deepEqual(parseController(0, whole), { index: 0, type: 'qusb', version: 2, ports: 8 });
    const bad = [
      { type: 'vusb' },
      { type: undefined },
      { version: '4' },
      { version: undefined },
      { ports: '0' },
      { ports: '32' },
      { ports: '8x' },
      { ports: undefined },
    ];
    for (const part of bad) assert.equal(parseController(0, { ...whole, ...part }), undefined);
    assert.equal(parseController(256, whole), undefined);
  });

  test('what a note says is read back', () => {
    const word = fc.stringMatching(/^[!-~]{1,60}$/);
    fc.assert(
      fc.property(word, word, (generation, deviceId) => {
        const note = { busid: '3-1.4', generation, deviceId };
        assert.deepEqual(parseNote(formatNote(note)), note);
      }),
    );
  });

  test('what is no note of ours is none', () => {
    for (const text of [undefined, '', '1-1', '1-1 g', 'x g d', '1-1 g d e', '1-1  d']) {
      assert.equal(parseNote(text), undefined);
    }
  });

  test('how a device model was started is read back, unless it is too long', () => {
    const note = { argv: ['/usr/libexec/qemu', '-name', 'ü "x"\n'] as const, log: '/var/log/xen/qemu-dm-a.log' };
    assert.deepEqual(parseModelNote(formatModelNote(note)), note);
    assert.equal(formatModelNote({ argv: ['/q', 'x'.repeat(4_000)] }), undefined);
    for (const text of [
      undefined,
      '',
      'null',
      '{}',
      '{"argv":[]}',
      '{"argv":["qemu"]}',
      '{"argv":["/q",1]}',
      '[]',
      '7',
    ]) {
      assert.equal(parseModelNote(text), undefined, text);
    }
  });
});
