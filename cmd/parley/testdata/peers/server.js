// server.js line|chunk: print a port, serve connections: You said REQUEST.
const net = require('net');
const readline = require('readline');
const server = net.createServer((socket) => {
  if (process.argv[2] === 'line') {
    readline.createInterface({ input: socket }).on('line', (line) => socket.write('You said ' + line + '\n'));
  } else {
    socket.on('data', (data) => socket.write('You said ' + data));
  }
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
