// A web server of Node's own kind: prints its port.
const http = require('http')

const server = http.createServer((request, response) => {
  let size = 0
  request.on('data', data => { size += data.length })
  request.on('end', () => {
    if (request.method === 'GET') {
      response.write('you asked for ')
      response.end(request.url + '\n') // chunked, since no length was given
    } else {
      response.writeHead(201, { 'Content-Type': 'text/plain' })
      response.end(size + ' bytes\n')
    }
  })
})
server.on('upgrade', (_, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n')
  socket.pipe(socket)
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
