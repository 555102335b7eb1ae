"""server.py line|chunk: print a port, serve one connection: You said REQUEST."""
import socket
import sys

with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    conn, _ = server.accept()
    with conn:
        if sys.argv[1] == "line":
            for line in conn.makefile("rb"):
                conn.sendall(b"You said " + line)
        else:
            while data := conn.recv(4096):
                conn.sendall(b"You said " + data)
