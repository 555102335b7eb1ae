# A web server of Python's own kind: prints its port.
import http.server
import socketserver


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/none":
            self.send_response(204)
            self.end_headers()
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "Sum")
            self.end_headers()
            for piece in b"one ", b"two ", b"three":
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nSum: 3\r\n\r\n")
        elif self.path == "/close":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"until the end\n" * 1000)
        else:
            self.answer(200, b"you asked for " + self.path.encode() + b"\n")

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1234567")
        self.end_headers()

    def do_POST(self):
        self.do_PUT()

    def do_PUT(self):
        length = int(self.headers["Content-Length"])
        self.answer(201, b"%d bytes\n" % len(self.rfile.read(length)))

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):  # which would look for the name of this machine
        socketserver.TCPServer.server_bind(self)


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
