/** Reading and changing nodes, the same within a transaction and without. How a question is sent is up to the heirs. */
import { Fault } from '../../lib/fault.ts';
import { isXenstoreError } from './error.ts';
import {
  type DirectoryPart,
  decodeBytes,
  decodeDirectoryPart,
  decodeNames,
  decodeOk,
  decodePermissions,
  decodeText,
} from './payloads.ts';
import { formatPermission, type Permission } from './permissions.ts';
import type { Question } from './requests.ts';
import type { XenstoreWaitOptions } from './session.ts';

const ABSENT = { value: undefined };
const GONE = { value: true } as const;
const NOT_THERE = { value: false };
const isThere = () => true;

/** A directory that changed so often while its parts were read is read in a transaction, which sees one state of it. */
const MAX_RESTARTS = 3;

/**
 * What can be done with nodes. Paths are absolute, or relative to the own domain's home when we are a domU.
 *
 * All of it throws XenstoreError when xenstored refuses (`EACCES`, `EINVAL`, `ENOSPC`, `E2BIG` for a quota…), and Fault
 * `params.invalid` for a path or value that may not be sent, `timeout`, `aborted`, `wire.closed`, `wire.broken`. After the
 * last four a change may have taken effect.
 */
export abstract class Nodes {
  protected abstract ask<T>(question: Question<T>, waiting?: XenstoreWaitOptions): Promise<T>;
  /** Reads a directory part by part, in one state of the store. */
  protected abstract settledDirectory(path: string, waiting?: XenstoreWaitOptions): Promise<string[] | undefined>;

  /**
   * Gives a node's value as text, `undefined` when there is no such node. Values are bytes: they are read as UTF-8, with
   * U+FFFD for what is none, and nothing is escaped. What a guest may write is untrusted.
   */
  read(path: string, waiting?: XenstoreWaitOptions): Promise<string | undefined> {
    return this.ask<string | undefined>({ name: 'READ', path, decode: decodeText, whenAbsent: ABSENT }, waiting);
  }

  /** Gives a node's value as it is, `undefined` when there is no such node. */
  readBytes(path: string, waiting?: XenstoreWaitOptions): Promise<Buffer | undefined> {
    return this.ask<Buffer | undefined>({ name: 'READ', path, decode: decodeBytes, whenAbsent: ABSENT }, waiting);
  }

  /** Tells whether there is such a node. */
  exists(path: string, waiting?: XenstoreWaitOptions): Promise<boolean> {
    return this.ask<boolean>({ name: 'READ', path, decode: isThere, whenAbsent: NOT_THERE }, waiting);
  }

  /**
   * Gives the names of a node's children, `undefined` when there is no such node. A directory too large for a packet is
   * read in parts; a daemon that has no parts sends it all the same, or refuses it with `E2BIG`.
   */
  async directory(path: string, waiting?: XenstoreWaitOptions): Promise<string[] | undefined> {
    try {
      const question = { name: 'DIRECTORY', path, decode: decodeNames, whenAbsent: ABSENT } as const;
      return await this.ask<string[] | undefined>(question, waiting);
    } catch (error) {
      if (!isXenstoreError(error, 'E2BIG')) throw error;
      try {
        return await this.#largeDirectory(path, waiting);
      } catch (second) {
        // A daemon without DIRECTORY_PART says one of these: what it said first is the truth.
        throw isXenstoreError(second, 'ENOSYS', 'EINVAL') ? error : second;
      }
    }
  }

  /** Sets a node's value, any bytes; the node and its parents are made if need be, with the permissions of their parent. */
  async write(path: string, value: string | Uint8Array, waiting?: XenstoreWaitOptions): Promise<void> {
    await this.ask<true>({ name: 'WRITE', path, value, decode: decodeOk }, waiting);
  }

  /** Makes a node, and its parents; one that is there keeps its value. */
  async mkdir(path: string, waiting?: XenstoreWaitOptions): Promise<void> {
    await this.ask<true>({ name: 'MKDIR', path, decode: decodeOk }, waiting);
  }

  /** Removes a node and what is below it. One that is not there is fine; the root is refused, for oxenstored would obey. */
  async rm(path: string, waiting?: XenstoreWaitOptions): Promise<void> {
    if (path === '/') throw new Fault('params.invalid', { field: 'path', what: 'the root cannot be removed' });
    await this.ask<true>({ name: 'RM', path, decode: decodeOk, whenAbsent: GONE }, waiting);
  }

  /** Gives a node's permissions, the owner's first; `undefined` when there is no such node. */
  getPermissions(path: string, waiting?: XenstoreWaitOptions): Promise<Permission[] | undefined> {
    const question = { name: 'GET_PERMS', path, allowsSpecial: true, decode: decodePermissions, whenAbsent: ABSENT };
    return this.ask(question as Question<Permission[] | undefined>, waiting);
  }

  /** Sets a node's permissions; the first entry names the owner and what everybody else may do. */
  async setPermissions(path: string, permissions: readonly Permission[], waiting?: XenstoreWaitOptions): Promise<void> {
    const text = permissions.map((permission) => `${formatPermission(permission)}\0`).join('');
    await this.ask<true>({ name: 'SET_PERMS', path, allowsSpecial: true, text, decode: decodeOk }, waiting);
  }

  async #largeDirectory(path: string, waiting?: XenstoreWaitOptions): Promise<string[] | undefined> {
    for (let restarts = 0; restarts <= MAX_RESTARTS; restarts++) {
      const names = await this.readParts(path, waiting);
      if (names !== 'changed') return names;
    }
    return this.settledDirectory(path, waiting);
  }

  /** Reads a directory part by part, `changed` when it changed meanwhile. */
  protected async readParts(path: string, waiting?: XenstoreWaitOptions): Promise<string[] | 'changed' | undefined> {
    const names: string[] = [];
    let generation: string | undefined;
    for (let offset = 0; ; ) {
      const part = await this.ask<DirectoryPart | undefined>(
        { name: 'DIRECTORY_PART', path, text: `${offset}\0`, decode: decodeDirectoryPart, whenAbsent: ABSENT },
        waiting,
      );
      if (part === undefined) return undefined;
      generation ??= part.generation;
      if (part.generation !== generation) return 'changed';
      names.push(...part.names);
      if (part.isLast) return names;
      if (part.bytes === 0) return 'changed';
      offset += part.bytes;
    }
  }
}
