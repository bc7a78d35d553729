/**
 * A client of the framed JSON-RPC, written from the description of the original alone: "4-byte big-endian length, then
 * JSON-RPC 2.0 {method, params: object of strings, id}; the reply is bare JSON, then close."
 */
import { connect } from 'node:net';

/** Asks a monitor at the socket for a command, and gives the reply. */
export function frame(path: string, method: string, params: Record<string, string> = {}) {
  return new Promise<{ result?: string | null; error?: object }>((resolve, reject) => {
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', method, params, id: 1 }));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    let text = '';
    const socket = connect(path, () => socket.write(Buffer.concat([length, body])));
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', reject);
    socket.on('end', () => {
      socket.destroy();
      resolve(JSON.parse(text));
    });
  });
}
