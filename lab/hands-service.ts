/**
 * Lets programs inside a host ask for devices: serves `DeviceHands` on a virtio-serial port, a line of JSON for each
 * question and one for each answer. The other end is dom0/hands.
 *
 *     {"id":1,"plug":"storage","serial":"S1","port":"3"}   {"id":1,"plugged":{"name":"S1","kind":"storage","port":"3","busid":"2-3","serial":"S1"}}
 *     {"id":2,"pull":"S1"}                                 {"id":2,"pulled":{…}}
 *     {"id":3,"list":true}                                 {"id":3,"list":[…]}
 *     {"id":4,"read":"S1","offset":0,"length":512}         {"id":4,"bytes":"<base64>"}, the content, also after a pull
 *     {"id":5,"sum":"S1"}                                  {"id":5,"sha256":"<hex>","bytes":8388608}, the same
 *
 * `plug` also takes `name`, and for a stick `sizeMiB` with `files` (names to base64) or `bytes` (base64). What fails is
 * answered by {"id":1,"error":{"code":"usb.port_busy","message":"…"}}.
 */
import { createHash } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import * as v from 'valibot';
import { asFault, Fault, messageOf } from '../src/lib/fault.ts';
import { LineSplitter } from '../src/lib/lines.ts';
import { DEVICE_KINDS, type DeviceHands, type PluggedDevice } from './device-hands.ts';
import type { StickContent } from './stick.ts';

const MAX_LINE_BYTES = 4 * 1024 * 1024;
const MAX_READ_BYTES = 64 * 1024;

const base64 = v.pipe(
  v.string(),
  v.base64(),
  v.transform((text) => Buffer.from(text, 'base64')),
);
const text = v.optional(v.string());
const Question = v.union([
  v.strictObject({
    id: v.number(),
    plug: v.picklist(DEVICE_KINDS),
    ...{ name: text, serial: text, port: text },
    files: v.optional(v.record(v.string(), base64)),
    bytes: v.optional(base64),
    sizeMiB: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(256))),
  }),
  v.strictObject({ id: v.number(), pull: v.string() }),
  v.strictObject({ id: v.number(), list: v.literal(true) }),
  v.strictObject({
    id: v.number(),
    read: v.string(),
    offset: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
    length: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_READ_BYTES)), MAX_READ_BYTES),
  }),
  v.strictObject({ id: v.number(), sum: v.string() }),
]);
type Question = v.InferOutput<typeof Question>;

/**
 * Serves the hands on the port whose Unix socket is `path`; gives the function that ends that.
 *
 * INVARIANTS: questions are answered in any order, each once, by its id; a line that is no question ends nothing.
 */
export function serveHands(hands: DeviceHands, path: string): () => void {
  const socket = createConnection(path);
  const splitter = new LineSplitter(MAX_LINE_BYTES);
  socket.on('data', (chunk: Buffer) => {
    for (const untrustedLine of splitter.push(chunk)) void answerLine(hands, untrustedLine.toString(), socket);
  });
  socket.on('error', () => undefined); // The host has ended.
  return () => socket.destroy();
}

async function answerLine(hands: DeviceHands, untrustedLine: string, socket: Socket): Promise<void> {
  let id = 0;
  let answer: object;
  try {
    const untrustedQuestion: unknown = JSON.parse(untrustedLine);
    id = v.is(v.looseObject({ id: v.number() }), untrustedQuestion) ? untrustedQuestion.id : 0;
    const question = v.safeParse(Question, untrustedQuestion);
    if (!question.success) throw new Fault('params.invalid', { field: 'question', what: untrustedLine.slice(0, 200) });
    answer = await perform(hands, question.output);
  } catch (error) {
    const { code } = asFault(error);
    answer = { error: { code, message: messageOf(error) } };
  }
  socket.write(`${JSON.stringify({ id, ...answer })}\n`);
}

async function perform(hands: DeviceHands, question: Question): Promise<object> {
  if ('plug' in question) {
    const { id: _, plug, files, bytes, sizeMiB, ...options } = question;
    const parts = { ...(files && { files }), ...(bytes && { bytes }), ...(sizeMiB && { sizeMiB }) };
    const content: StickContent | undefined = Object.keys(parts).length > 0 ? parts : undefined;
    return { plugged: shown(await hands.plug(plug, { ...options, content })) };
  }
  if ('pull' in question) return { pulled: shown(await hands.pull(question.pull)) };
  if ('list' in question) return { list: hands.plugged.map(shown) };
  if ('sum' in question) {
    const content = await readFile(hands.fileOf(question.sum));
    return { sha256: createHash('sha256').update(content).digest('hex'), bytes: content.length };
  }
  const file = await open(hands.fileOf(question.read));
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(question.length), 0, question.length, question.offset);
    return { bytes: buffer.subarray(0, bytesRead).toString('base64') };
  } finally {
    await file.close();
  }
}

/** Paths of this machine mean nothing in there. */
function shown({ file: _, ...device }: PluggedDevice): object {
  return device;
}
