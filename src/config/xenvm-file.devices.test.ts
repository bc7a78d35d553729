import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatDiagnostic } from './diagnostics.ts';
import { whyNoKey } from './key-file.ts';
import { errorsOf, settingsOf, warningsOf } from './testing/vm-text.ts';
import { parseVmFile } from './xenvm-file.ts';

test('reads disks of all types, and paths with colons', () => {
  const text = `disk = /a:b:c.img:file:hda:w:disk
disk = images/d.qcow2:qcow:hdb:r:disk:none
disk = /v.vhd:vhd:xvdp:w:disk:
disk = /cd.iso:aio:hdd:r:cdrom
disk = /dev/vg/test:phy:sda:w:disk
disk = /x.img:raw:sdb:w:disk
disk = /x.qcow2:qcow2:sdc:w:disk`;
  assert.deepEqual(
    settingsOf(text).disks?.map(({ path, format, isReadOnly, kind }) => [path, format, isReadOnly, kind]),
    [
      ['/a:b:c.img', 'raw', false, 'disk'],
      ['/etc/vm/images/d.qcow2', 'qcow2', true, 'disk'],
      ['/v.vhd', 'vhd', false, 'disk'],
      ['/cd.iso', 'raw', true, 'cdrom'],
      ['/dev/vg/test', 'raw', false, 'disk'],
      ['/x.img', 'raw', false, 'disk'],
      ['/x.qcow2', 'qcow2', false, 'disk'],
    ],
  );
});

test('refuses disks that make no sense, field by field', () => {
  const at = '/etc/vm/work.vm:1:8: ';
  assert.deepEqual(errorsOf('disk = /x.img'), [
    `${at}A disk is path:type:target:mode:kind, such as "/vm/root.img:file:hda:w:disk", not "/x.img".`,
  ]);
  assert.deepEqual(errorsOf('disk = :fil:sdaa:x:dsk'), [
    `${at}"disk path" needs a path.`,
    `${at}"disk type" is raw, qcow2 or vhd, not "fil".`,
    `${at}A disk target is hda to hdd, sda to sdz or xvda to xvdp, not "sdaa".`,
    `${at}"disk mode" is r or w, not "x".`,
    `${at}"disk kind" is disk or cdrom, not "dsk". Did you mean "disk"?`,
  ]);
  assert.match(errorsOf('disk = /x:file:sda:w:disk:temporary').join(), /does not do "temporary" for disks/);
  assert.match(errorsOf('disk = /x:constructor:sda:w:disk').join(), /"disk type" is raw, qcow2 or vhd/);
  assert.match(errorsOf('disk = /x:file:sda:w:disk\ndisk = /y:file:sda:w:disk').join(), /:2:8: There are two disks/);
  assert.match(warningsOf('disk = /x:file:hdc:w:cdrom').join(), /taken as read-only/);
  assert.equal(settingsOf('disk = /x:file:hdc:w:cdrom').disks?.[0]?.isReadOnly, true);
});

test('reads how a disk is encrypted, behind five fields and behind six', () => {
  const encryption = (text: string) => settingsOf(`disk = /x:file:sda:w:disk${text}`).disks?.[0]?.encryption;
  const usual = { cipher: 'aes-xts-plain', keyBits: 256, keyFile: '/etc/vm/k' };
  assert.deepEqual(encryption(':key-file=k'), usual);
  assert.deepEqual(encryption(':none:key-file=k'), usual);
  assert.deepEqual(encryption(':key-size=512:cipher=aes-cbc-plain64:key-file=/a:b=c:d'), {
    cipher: 'aes-cbc-plain64',
    keyBits: 512,
    keyFile: '/a:b=c:d',
  });
  const error = (text: string, type = 'file') => errorsOf(`disk = /x:${type}:sda:w:disk${text}`).join();
  assert.match(error(':cipher=aes-xts-plain'), /needs a key-file=/);
  assert.match(error(':cipher=;rm:key-file=/k'), /A cipher is such as "aes-xts-plain64", not ";rm"/);
  assert.match(error(':key-size=129:key-file=/k'), /A key has 128, 192, 256, 384, 512 bits/);
  assert.match(error(':key-size=x:key-file=/k'), /"disk key-size" is a whole number/);
  assert.match(error(':key-file=/k', 'qcow'), /Only a disk of the type phy, file or aio/);
  assert.match(error(':backend-domid=3'), /does not do "backend-domid=3"/);
  assert.match(error(':key-file=/k:key-size=256:key-size=256'), /does not do "key-size=256"/);
});

test('a key that is missing or too short is an error at its place, when somebody looks for keys', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'usher-keys-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'short'), Buffer.alloc(31));
  await writeFile(join(folder, 'good'), Buffer.alloc(32));
  const errorOf = (key: string, more: Parameters<typeof parseVmFile>[2] = { whyNoKey }) => {
    const text = `memory = 64\ndisk = /x:file:sda:w:disk:cipher=aes-xts-plain64:key-file=${key}:key-size=256`;
    return parseVmFile(text, join(folder, 'work.cfg'), more).errors.map(formatDiagnostic).join();
  };
  const at = `${folder}/work.cfg:2:50: The disk sda cannot be opened: the key file ${folder}/`;
  assert.equal(errorOf('none'), `${at}none is not there.`);
  assert.equal(errorOf('short'), `${at}short has 31 bytes, and a key of 256 bits has 32.`);
  assert.equal(errorOf('.'), `${at.slice(0, -1)} is a folder.`);
  assert.equal(errorOf('good'), '');
  assert.equal(errorOf('/dev/zero'), '', 'a device tells no size');
  assert.equal(errorOf('none', {}), '');
});

test("reads USB controllers in xl's syntax", () => {
  const controllers = (text: string) => settingsOf(text).usbControllers;
  assert.deepEqual(controllers('usbctrl = version=3,ports=15'), [{ type: 'auto', version: 3, ports: 15 }]);
  assert.deepEqual(controllers('usbctrl = type=devicemodel, version=1\nusbctrl = version=2'), [
    { type: 'devicemodel', version: 1, ports: 2 },
    { type: 'auto', version: 2, ports: 6 },
  ]);
  assert.deepEqual(controllers(`usbctrl = ['version=3,ports=4', "type=pv,version=1,ports=31",]`), [
    { type: 'auto', version: 3, ports: 4 },
    { type: 'pv', version: 1, ports: 31 },
  ]);
  assert.deepEqual(controllers('usbctrl = type=qusb'), [{ type: 'qusb', version: 2, ports: 8 }]);
  assert.deepEqual(controllers('usbctrl = none\nusbctrl = version=2'), [{ type: 'auto', version: 2, ports: 6 }]);
});

test('refuses controllers that make no sense, at the word', () => {
  const error = (value: string) => errorsOf(`usbctrl = ${value}`).join();
  assert.match(error('version=1,ports=4'), /:1:21: A USB controller of version 1 always has 2 ports/);
  assert.match(error('version=3,ports=16'), /:1:21: "usbctrl ports" is from 1 to 15/);
  assert.match(error('version=4'), /:1:11: "usbctrl version" is from 1 to 3/);
  assert.match(error('type=pv,version=3'), /:1:19: "usbctrl version" is from 1 to 2/);
  assert.match(error('type=fast'), /"usbctrl type" is auto, qusb, pv or devicemodel/);
  assert.match(error('speed=3'), /takes type=, version= and ports=/);
  assert.match(error('version=3,version=2'), /:1:21: "version" stands twice/);
  assert.match(error(`['version=3' 'version=2']`), /with quotes and commas/);
  assert.match(error(`['version=3', 'ports=x']`), /:1:26: "usbctrl ports" is a whole number/);
  assert.match(error(`[${"'version=3',".repeat(17)}]`), /:1:11: .*at most 16/);
  assert.match(error(`[${"'version=3',".repeat(16)}]\nusbctrl = version=2`), /:2:11: .*at most 16/);
});
