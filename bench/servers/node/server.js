// NodeJS:
//
//     node server.js PORT [--log]
//
// With --log it tells each event on stdout, as the pair did from which Parley grew.
'use strict';
const net = require('net');

const [port, option] = process.argv.slice(2);
const log = option === '--log' ? console.log : null;
const MAX_LINE = (64 << 10) + 1; // without its LF, with a CR

let accepted = 0;

function serve(socket) {
  const number = ++accepted;
  let partial = '';
  if (log) log(`Server: connection from ${socket.remoteAddress}:${socket.remotePort}`);

  // A character of latin1 is a byte: nothing is lost, and strings are faster than Buffers.
  socket.setEncoding('latin1');
  socket.on('data', (data) => {
    const lines = (partial + data).split('\n');
    partial = lines.pop();
    let replies = '';
    for (let line of lines) {
      if (line.length > MAX_LINE) return socket.destroy();
      if (line.endsWith('\r')) line = line.slice(0, -1);
      if (log) log(`Server: incoming data [${line.length}]: ${Buffer.from(line, 'latin1')}`);
      replies += `Request #${number} - ${line} ...\n`;
    }
    if (replies && !socket.write(replies, 'latin1')) socket.pause();
    if (partial.length > MAX_LINE) socket.destroy();
  });
  socket.on('drain', () => socket.resume());
  socket.on('error', () => {}); // close follows
  socket.on('close', () => { if (log) log('Server: Connection closed!'); });
}

const server = net.createServer({ noDelay: true }, serve);
server.listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 }, () => {
  if (log) log(`Server: started on port ${port}`);
});
