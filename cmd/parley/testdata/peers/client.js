// client.js lines|chunks PORT: send each line of the input, print each reply.
const net = require('net');
const fs = require('fs');
const [mode, port] = process.argv.slice(2);
const requests = fs.readFileSync(0, 'utf8').split('\n');
const socket = net.connect({ port: Number(port), host: '127.0.0.1' }, () => {
  if (mode === 'lines') socket.end(requests.join('\n'));
  else socket.write(requests.shift());
});
socket.on('data', (data) => {
  process.stdout.write(mode === 'lines' ? data : data + '|');
  if (mode === 'lines') return;
  if (requests.length > 0) socket.write(requests.shift());
  else socket.end();
});
