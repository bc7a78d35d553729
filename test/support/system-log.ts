/** A system log of a test's own: a unix datagram socket, which Node cannot listen on. */
import { closeSync, unlinkSync } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load(null);
const socket = libc.func('int socket(int domain, int type, int protocol)');
const bind = libc.func('int bind(int fd, const void *address, uint32_t size)');
const recv = libc.func('intptr_t recv(int fd, _Out_ void *data, size_t length, int flags)');

// unix(7), recv(2).
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_DONTWAIT = 0x40;

export class SystemLog {
  readonly path: string;
  readonly #fd: number;
  readonly #lines: string[] = [];

  /** Listens at `path`. */
  constructor(path: string) {
    this.path = path;
    this.#fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0) as number;
    const address = Buffer.concat([Buffer.of(AF_UNIX, 0), Buffer.from(path), Buffer.of(0)]);
    if (bind(this.#fd, address, address.length) !== 0) throw new Error(`nothing can be bound to ${path}`);
  }

  /** All that has come so far. */
  get lines(): readonly string[] {
    for (;;) {
      const data = Buffer.alloc(8192);
      const bytes = Number(recv(this.#fd, data, data.length, MSG_DONTWAIT));
      if (bytes < 0) return this.#lines;
      this.#lines.push(data.toString('utf8', 0, bytes));
    }
  }

  close(): void {
    closeSync(this.#fd);
    unlinkSync(this.path);
  }
}
