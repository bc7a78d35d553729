/** Reads the payloads of requests, has the in-memory store do what they say, and writes the replies. For tests only. */
import { MAX_PAYLOAD_BYTES, type RequestName } from '../packets.ts';
import { checkPath, MAX_RELATIVE_PATH_BYTES } from '../paths.ts';
import { formatPermission, type Permission, parsePermission } from '../permissions.ts';
import type { StoreClient } from './memory-client.ts';
import type { MemoryDaemonOptions, ReceivedRequest } from './memory-daemon.ts';
import { Refusal } from './memory-store.ts';

const FEWEST_FIELDS: Partial<Record<RequestName, number>> = { WATCH: 2, UNWATCH: 2, SET_TARGET: 2, INTRODUCE: 3 };

/** Performs a request and gives the payload of its reply. @throws Refusal */
export function performRequest(
  client: StoreClient,
  request: ReceivedRequest,
  body: Buffer,
  options: MemoryDaemonOptions,
): Buffer {
  if (body.length > 0 && !body.includes(0)) throw new Refusal('EINVAL');
  if (request.fields.length < (FEWEST_FIELDS[request.name] ?? 0)) throw new Refusal('EINVAL');
  const answer = askStore(client, request, options);
  if (answer !== undefined) return answer;
  changeStore(client, request, body, options);
  return strings(['OK']);
}

/** Gives strings as payloads have them, each with a NUL at its end. */
export function strings(words: readonly string[]): Buffer {
  return Buffer.from(words.map((word) => `${word}\0`).join(''));
}

/** The requests whose replies say something. */
function askStore(
  client: StoreClient,
  { name, fields, transactionId }: ReceivedRequest,
  { features, hasDirectoryPart = true }: MemoryDaemonOptions,
): Buffer | undefined {
  const [first = '', second = ''] = fields;
  switch (name) {
    case 'READ':
      return client.read(pathFrom(first), transactionId);
    case 'DIRECTORY':
      return strings(client.directory(pathFrom(first), transactionId).names);
    case 'DIRECTORY_PART':
      if (!hasDirectoryPart) throw new Refusal('ENOSYS');
      return directoryPart(client.directory(pathFrom(first), transactionId), Number(second));
    case 'GET_PERMS':
      return strings(client.getPermissions(pathFrom(first), transactionId).map(formatPermission));
    case 'TRANSACTION_START':
      return strings([String(client.startTransaction(transactionId))]);
    case 'GET_DOMAIN_PATH':
      return strings([`/local/domain/${domidFrom(first)}`]);
    case 'IS_DOMAIN_INTRODUCED':
      return strings([client.isIntroduced(domidFrom(first)) ? 'T' : 'F']);
    case 'CONTROL':
      if (first !== 'help') throw new Refusal('EINVAL');
      return strings(['help\t\n']);
    case 'GET_FEATURE':
      if (features === undefined) throw new Refusal('ENOSYS');
      return strings([String(features)]);
    default:
      return undefined;
  }
}

/** The requests that are answered by OK. */
function changeStore(
  client: StoreClient,
  { name, fields, transactionId }: ReceivedRequest,
  body: Buffer,
  { features = 0 }: MemoryDaemonOptions,
): void {
  const [first = '', second = '', third] = fields;
  switch (name) {
    case 'WRITE':
      client.write(pathFrom(first), body.subarray(body.indexOf(0) + 1), transactionId);
      break;
    case 'MKDIR':
      client.mkdir(pathFrom(first), transactionId);
      break;
    case 'RM':
      client.rm(pathFrom(first), transactionId);
      break;
    case 'SET_PERMS':
      client.setPermissions(pathFrom(first), fields.slice(1).map(permissionFrom), transactionId);
      break;
    case 'WATCH':
      client.watch(
        pathFrom(first, true),
        second,
        (features & 4) !== 0 && third !== undefined ? Number(third) : undefined,
      );
      break;
    case 'UNWATCH':
      client.unwatch(pathFrom(first, true), second);
      break;
    case 'RESET_WATCHES':
      client.reset();
      break;
    case 'TRANSACTION_END':
      if (first !== 'T' && first !== 'F') throw new Refusal('EINVAL');
      client.endTransaction(transactionId, first === 'T');
      break;
    case 'INTRODUCE':
      client.introduce(domidFrom(first));
      break;
    case 'RELEASE':
      client.release(domidFrom(first));
      break;
    case 'RESUME':
      client.resume(domidFrom(first));
      break;
    case 'SET_TARGET':
      client.setTarget(domidFrom(first), domidFrom(second));
      break;
    default:
      throw new Refusal('ENOSYS');
  }
}

/** Names from an offset on, as many as fit, behind the generation; an empty name after the last. */
function directoryPart(
  { names, generation }: { readonly names: readonly string[]; readonly generation: number },
  offset: number,
): Buffer {
  if (!Number.isInteger(offset) || offset < 0) throw new Refusal('EINVAL');
  const head = strings([String(generation)]);
  const rest = strings(names).subarray(offset);
  const room = MAX_PAYLOAD_BYTES - head.length - 1;
  const end = rest.length <= room ? rest.length : rest.lastIndexOf(0, room - 1) + 1;
  return Buffer.concat([head, rest.subarray(0, end), Buffer.alloc(end === rest.length ? 1 : 0)]);
}

/** The C daemon counts from the domain's home on, and allows as much there as for a relative path. */
function pathFrom(text: string, allowsSpecial = false): string {
  if (text.replace(/^\/local\/domain\/\d{1,5}\//, '').length > MAX_RELATIVE_PATH_BYTES) throw new Refusal('EINVAL');
  try {
    checkPath(text, allowsSpecial);
  } catch {
    throw new Refusal('EINVAL');
  }
  return text;
}

function permissionFrom(text: string): Permission {
  const permission = parsePermission(text);
  if (permission === undefined) throw new Refusal('EINVAL');
  return permission;
}

function domidFrom(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new Refusal('EINVAL');
  return Number(text);
}
