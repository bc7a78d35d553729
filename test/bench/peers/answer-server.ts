/**
 * The barest server: on each of its sockets it answers with fixed bytes. `node answer-server.ts hangup FILE SOCKET...`
 * answers who connects and hangs up; `echo FILE SOCKET...` answers each chunk that comes.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { attend } from './peer.ts';

const [mode, file = '', ...sockets] = process.argv.slice(2);
const answer = readFileSync(file);
for (const path of sockets) {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    if (mode === 'hangup') socket.end(answer);
    else socket.on('data', () => socket.write(answer));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
}
attend();
