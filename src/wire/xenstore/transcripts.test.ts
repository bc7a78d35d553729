/** The parser and the session against recorded talk of the real daemons (test/fixtures/xenstore). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isXenstoreError } from './error.ts';
import { encodePacket, PACKET_TYPES, type Packet, packetName, type RequestName } from './packets.ts';
import { PacketParser } from './parser.ts';
import * as payloads from './payloads.ts';
import type { Question } from './requests.ts';
import { openedFake } from './testing/fake-xenstored.ts';

const FIXTURES = new URL('../../../test/fixtures/xenstore/', import.meta.url);
const LINE = /^([<>]) (\d+) (\d+) (\d+) (.*)$/;

const DECODERS: Partial<Record<RequestName, Question<unknown>['decode']>> = {
  READ: payloads.decodeBytes,
  DIRECTORY: payloads.decodeNames,
  DIRECTORY_PART: payloads.decodeDirectoryPart,
  GET_PERMS: payloads.decodePermissions,
  GET_DOMAIN_PATH: payloads.decodeString,
  TRANSACTION_START: payloads.decodeNumber,
  IS_DOMAIN_INTRODUCED: payloads.decodeTruth,
  GET_FEATURE: payloads.decodeNumber,
};

interface Line extends Packet {
  readonly isClient: boolean;
}

function readTranscript(name: string): Line[] {
  const lines = readFileSync(new URL(`${name}.txt`, FIXTURES), 'utf8').split('\n');
  return lines.flatMap((line) => {
    const [, from, type, requestId, transactionId, body = ''] = LINE.exec(line) ?? [];
    if (from === undefined) return [];
    return {
      isClient: from === '>',
      type: Number(type),
      requestId: Number(requestId),
      transactionId: Number(transactionId),
      body: Buffer.from(JSON.parse(body) as string, 'latin1'),
    };
  });
}

for (const name of ['xenstored', 'oxenstored']) {
  const lines = readTranscript(name);

  test(`reads what ${name} said, cut at every byte`, () => {
    const expected = lines.filter(({ isClient }) => !isClient).map(({ isClient: _, ...said }) => said);
    assert.ok(expected.length > 35);
    const bytes = Buffer.concat(expected.map(encodePacket));
    for (let cut = 0; cut <= bytes.length; cut++) {
      const parser = new PacketParser();
      const packets = [...parser.push(bytes.subarray(0, cut)), ...parser.push(bytes.subarray(cut))];
      assert.deepEqual(packets, expected, `cut at ${cut}`);
    }
  });

  test(`understands what ${name} said`, async () => {
    const events: string[] = [];
    const { fake, session } = await openedFake({ onEvent: ({ path }) => events.push(path) });
    const answers = new Map<number, { sent: Packet; answer: Promise<unknown> }>();
    for (const { isClient, type, requestId, transactionId, body } of lines) {
      const asked = packetName(type) as RequestName;
      if (isClient) {
        const decode = DECODERS[asked] ?? payloads.decodeOk;
        const answer = session.request({ name: asked, value: body, transactionId, decode }).catch((error) => error);
        const sent = await fake.next();
        assert.deepEqual(sent.body, body);
        answers.set(requestId, { sent, answer });
      } else if (type === PACKET_TYPES.WATCH_EVENT) {
        fake.stream.write(encodePacket({ type, requestId, transactionId, body }));
      } else {
        const { sent, answer } = answers.get(requestId) ?? assert.fail(`nobody asked ${requestId}`);
        fake.stream.write(encodePacket({ type, requestId: sent.requestId, transactionId, body }));
        const got = await answer;
        if (type === PACKET_TYPES.ERROR) assert.ok(isXenstoreError(got) && `${got.errno}\0` === body.toString());
        else assert.ok(!(got instanceof Error), String(got));
      }
    }
    assert.equal(session.isOpen, true);
    assert.deepEqual(
      events,
      lines
        .filter(({ type }) => type === PACKET_TYPES.WATCH_EVENT)
        .map(({ body }) => body.toString().slice(0, body.indexOf(0))),
    );
  });
}
