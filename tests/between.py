"""Between interpfs and an engine: passes connections on, as an engine on another machine or in a virtual one would
have it.

    between.py SOCKET                on a port of the loopback, which it prints
    between.py SOCKET PATH PID       on a unix socket; the engine tells PID as the process of its containers
"""
import re
import socket
import sys
import threading


def pass_on(source, sink, change):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(change(data))
    except OSError:
        pass
    for end in source, sink:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def another(pid):
    """Of the same length: JSON takes spaces before a number, and one with more digits the place of a member that nobody reads."""
    def change(data):
        return re.sub(rb'(?:"Dead":false,)?"Pid":[1-9]\d*', lambda m: b'"Pid":' + pid.rjust(len(m[0]) - 6), data)
    return change


def main():
    upstream = sys.argv[1]
    if len(sys.argv) > 2:
        server = socket.socket(socket.AF_UNIX)
        server.bind(sys.argv[2])
        change = another(sys.argv[3].encode())
    else:
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        change = bytes
    server.listen(64)
    print(server.getsockname()[1] if len(sys.argv) == 2 else sys.argv[2], flush=True)
    while True:
        near = server.accept()[0]
        far = socket.socket(socket.AF_UNIX)
        far.connect(upstream)
        for pair in (near, far, bytes), (far, near, change):
            threading.Thread(target=pass_on, args=pair, daemon=True).start()


main()
