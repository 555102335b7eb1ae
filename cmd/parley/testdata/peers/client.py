"""client.py lines|chunks PORT: send each line of the input, print each reply."""
import socket
import sys

mode, port = sys.argv[1], int(sys.argv[2])
requests = sys.stdin.read().split("\n")
with socket.create_connection(("127.0.0.1", port)) as s:
    if mode == "lines":
        s.sendall("\n".join(requests).encode())
        s.shutdown(socket.SHUT_WR)
        while data := s.recv(4096):
            sys.stdout.write(data.decode())
    else:
        for request in requests:
            s.sendall(request.encode())
            sys.stdout.write(s.recv(4096).decode() + "|")
