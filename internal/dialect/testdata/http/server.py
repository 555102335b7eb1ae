# Print a port, then serve by http.server, which speaks HTTP/1.0 unless it is told to.
import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/" + sys.argv[1]

    def do_GET(self):
        self.send_response(200)
        if self.path != "/close":
            self.send_header("Content-Length", "5")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"hello")
        self.close_connection = self.close_connection or self.path == "/close"

    do_HEAD = do_GET

    def do_PUT(self):
        body = str(len(self.rfile.read(int(self.headers["Content-Length"])))).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
