import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SaveStreamError, SaveStreamParser } from './save-stream.ts';
import { record, sampleHead, sampleSave } from './testing/sample-save.ts';

const CONFIG = '{"c_info": {"name": "wéb"}}';
const SAMPLE = sampleSave({ config: CONFIG, emulator: [Buffer.alloc(33, 3)] });

function parse(bytes: Buffer): SaveStreamParser {
  const parser = new SaveStreamParser();
  parser.push(bytes);
  return parser;
}

function refuses(bytes: Buffer, says: RegExp): void {
  assert.throws(
    () => parse(bytes),
    (error) => error instanceof SaveStreamError && says.test(error.message),
    String(says),
  );
}

test('a whole file is whole, and its config is found', () => {
  const parser = parse(SAMPLE);
  assert.deepEqual([parser.stage, parser.untrustedConfig], ['whole', CONFIG]);
});

test('it is the same in whatever chunks it comes', () => {
  const cuts = fc.array(fc.nat(SAMPLE.length), { maxLength: 20 });
  fc.assert(
    fc.property(cuts, (at) => {
      const parser = new SaveStreamParser();
      const ends = [...at.sort((a, b) => a - b), SAMPLE.length];
      ends.forEach((end, i) => {
        parser.push(SAMPLE.subarray(ends[i - 1] ?? 0, end));
      });
      assert.deepEqual([parser.stage, parser.untrustedConfig], ['whole', CONFIG]);
    }),
  );
});

test('a file that is cut anywhere is not whole, and tells in which part it stands', () => {
  const stages = new Set<string>();
  for (let length = 0; length < SAMPLE.length; length++) {
    const { stage } = parse(SAMPLE.subarray(0, length));
    assert.notEqual(stage, 'whole', `cut at ${length}`);
    stages.add(stage);
  }
  assert.deepEqual([...stages], ['head', 'memory', 'tail']);
});

test('a reader may pass over what nobody looks at', () => {
  const parser = new SaveStreamParser();
  let looked = 0;
  for (let at = 0; at < SAMPLE.length; ) {
    const { passable } = parser;
    if (passable > 0) {
      parser.pass(passable);
      at += passable;
    } else {
      parser.push(SAMPLE.subarray(at, ++at));
      looked++;
    }
  }
  assert.equal(parser.stage, 'whole');
  assert.ok(looked < 300, `it looked at ${looked} bytes`);
  assert.throws(() => parser.pass(1), RangeError);
});

test('what is no save of xl is refused with the reason', () => {
  const changed = (offset: number, value: number) => {
    const copy = Buffer.from(SAMPLE);
    copy.writeUInt32LE(value, offset);
    return copy;
  };
  const libxc = sampleHead({ config: CONFIG }).length + 8;
  refuses(Buffer.from('this was never a guest\n'.repeat(100)), /not written by xl save/);
  refuses(changed(28, 0), /not written by xl save/);
  refuses(changed(32, 0x04030201), /byte order/);
  refuses(sampleSave({ config: CONFIG, flags: 0 }), /flags 0x0/);
  refuses(sampleSave({ config: CONFIG, flags: 7 }), /flags 0x7/);
  refuses(changed(44, 0), /no config/);
  refuses(changed(44, 0xffffffff), /no config/);
  refuses(changed(48, 1000), /longer than its header says/);
  refuses(changed(libxc - 16, 7), /form that is not known/);
  refuses(changed(libxc, 0), /memory is of a form/);
  refuses(changed(libxc + 12, 0), /memory is of a form/);
  refuses(changed(libxc + 44, 0x7fffffff), /a record of 2147483647 bytes/);
  refuses(Buffer.concat([SAMPLE, Buffer.from('x')]), /more behind its end/);
  refuses(Buffer.concat([sampleHead({ config: CONFIG }), record(0)]), /no memory/);
  const memory = SAMPLE.subarray(libxc - 8, SAMPLE.length - 8 - 48);
  refuses(Buffer.concat([SAMPLE.subarray(0, SAMPLE.length - 8), memory]), /memory twice/);
});

test('any bytes are a save, not whole yet, or refused', () => {
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
  fc.assert(
    fc.property(bytes, fc.nat(SAMPLE.length), (noise, at) => {
      try {
        parse(Buffer.concat([SAMPLE.subarray(0, at), noise, SAMPLE.subarray(at)]));
      } catch (error) {
        assert.ok(error instanceof SaveStreamError);
      }
    }),
  );
});
