# Stands in for services that are not to be had as a package, or want a port of their own.
#
#   stand_in.py finger|whois|ami|mllp          serves, and prints its port
#   stand_in.py finger|ami|mllp HOST PORT      is a client of it
import socket
import sys


def until(conn, end):
    """Reads up to an end, or the end of file."""
    data = b""
    while not data.endswith(end):
        byte = conn.recv(1)
        if not byte:
            return data
        data += byte
    return data


def serve_finger(conn):
    user = until(conn, b"\n").strip()
    conn.sendall(b"Login: " + user + b"\r\nPlan:\r\n  None.\r\n")


def serve_ami(conn):
    conn.sendall(b"Asterisk Call Manager/5.0.1\r\n")
    while action := until(conn, b"\r\n\r\n"):
        name = action.split(b"\r\n")[0].split(b": ")[1]
        conn.sendall(b"Response: Success\r\nMessage: " + name + b" done\r\n\r\n")
        if name == b"Logoff":
            return
        conn.sendall(b"Event: Heard\r\nAction: " + name + b"\r\n\r\n")


def serve_mllp(conn):
    while message := until(conn, b"\x1c\r"):
        control = message.split(b"|")[9]
        for piece in b"\x0bMSH|^~\\&|ADT\rMSA|AA|" + control, b"\x1c", b"\r":
            conn.sendall(piece)


def use_finger(conn):
    conn.sendall(b"ann\r\n")
    print(until(conn, b"never").decode())


def use_ami(conn):
    until(conn, b"\r\n")
    for name in b"Login", b"Ping", b"Logoff":
        # The end of an action is split wherever it can be.
        for piece in b"Action: " + name, b"\r", b"\n", b"\r", b"\n":
            conn.sendall(piece)
        until(conn, b"\r\n\r\n")
        if name != b"Logoff":
            until(conn, b"\r\n\r\n")
    until(conn, b"never")


def use_mllp(conn):
    for n in range(3):
        # What is outside of messages is to be passed over.
        for piece in b"noise", b"\x0b", b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|%d|P|2.5\rPID|1\r" % n, b"\x1c", b"\r":
            conn.sendall(piece)
        until(conn, b"\x1c\r")


what = sys.argv[1]
if len(sys.argv) > 2:
    with socket.create_connection((sys.argv[2], int(sys.argv[3]))) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        globals()["use_" + what](conn)
        conn.shutdown(socket.SHUT_WR)
        until(conn, b"never")
    sys.exit()

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    with listener.accept()[0] as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        globals()["serve_" + {"whois": "finger"}.get(what, what)](conn)
        conn.shutdown(socket.SHUT_WR)
        until(conn, b"never")
