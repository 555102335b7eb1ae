// Print a port, then serve one path for each way in which a reply can end, and an Upgrade.
const http = require('http');
const server = http.createServer((req, res) => {
  let n = 0;
  req.on('data', (data) => { n += data.length; });
  req.on('end', () => {
    switch (req.url) {
      case '/hello': // with a length
        res.end('hello');
        break;
      case '/chunked':
        if (req.method !== 'HEAD') {
          res.writeHead(200, { Trailer: 'Sum' });
          res.addTrailers({ Sum: '5' });
        }
        res.write('hel');
        res.write('lo');
        res.end();
        break;
      case '/204': case '/304':
        res.writeHead(Number(req.url.slice(1)));
        res.end();
        break;
      case '/close': // until the connection ends
        res.useChunkedEncodingByDefault = false;
        res.removeHeader('Transfer-Encoding');
        res.shouldKeepAlive = false;
        res.write('hello');
        res.end();
        break;
      case '/hints':
        res.writeEarlyHints({ link: '</style.css>; rel=preload' });
        res.end('hello');
        break;
      case '/count':
        res.end(String(n));
        break;
      default:
        res.writeHead(404);
        res.end();
    }
  });
});
server.on('upgrade', (req, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
  socket.pipe(socket);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
