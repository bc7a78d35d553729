/**
 * The bare script that attaching is compared with: resident, as the daemon is. A line that comes on its socket is written
 * to QMP as it is, and QEMU's answer goes back. `node bare-attach.ts SOCKET QMP_SOCKET`
 */
import { connect, createServer, type Socket } from 'node:net';
import { attend } from './peer.ts';

const [path = '', qmpPath = ''] = process.argv.slice(2);
let asker: Socket | undefined;
const qmp = connect(qmpPath);
qmp.on('data', (chunk: Buffer) => asker?.write(chunk));
const server = createServer((socket) => {
  asker = socket;
  socket.on('data', (chunk: Buffer) => qmp.write(chunk));
});
server.listen(path, attend);
