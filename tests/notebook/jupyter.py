"""A stand-in for a sandbox's runner, the Jupyter Server in it and its kernel, as good or as bad as a test wants
them. What the kernel does with a cell is a function of the test; what it does not say, is done as Jupyter does it."""
import base64
import hashlib
import json
import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mcp"))
import fake_runner  # noqa: E402

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KERNEL = "5351799e-a0f2-444b-8cea-c63b005a07ee"


class Sandbox(fake_runner.Runner):
    """Tells the address of the server, and passes connections to it out (or does not, where passes is False)."""

    def __init__(self, folder, server, passes=True):
        super().__init__(folder)
        self.server, self.passes = server, passes

    def command(self, c):
        c.end(22, "unknown")

    def call(self, c):
        self.note(c.name)
        if c.name == "jupyter":
            answer = {"socket": self.server.path, "token": "token", "url": "http://127.0.0.1:1/"}
            if self.passes:
                answer["inside"] = "/inside"
            c.data(json.dumps(answer).encode())
            c.end()
        elif c.name == "connect" and self.server.listening:
            ours, theirs = socket.socketpair()
            threading.Thread(target=self.server.serve, args=(ours,), daemon=True).start()
            payload = b"\1"
            socket.send_fds(c.connection, [struct.pack("<IIBxxx", len(payload), 0, ord("D")) + payload], [theirs.fileno()])
            theirs.close()
            c.end()
        elif c.name == "connect":
            c.end(111, "nobody listens")
        else:
            c.closed.wait()


def message(channel, header, parent, content):
    """A message of the subprotocol v1.kernel.websocket.jupyter.org. content may be bytes."""
    parts = [channel.encode()] + [p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, parent, {}, content)]
    at, offsets = 8 * (len(parts) + 2), []
    for part in parts:
        offsets.append(at)
        at += len(part)
    return struct.pack("<%dQ" % (len(parts) + 2), len(parts) + 1, *offsets, at) + b"".join(parts)


def frame(data, opcode=2, final=True):
    n = len(data)
    length = struct.pack(">B", n) if n < 126 else struct.pack(">BH", 126, n) if n < 65536 else struct.pack(">BQ", 127, n)
    return struct.pack("B", (128 if final else 0) | opcode) + length + data


class Run:
    """One execute_request, as the function that a test gave for it sees it."""

    def __init__(self, kernel, header, content):
        self.kernel, self.header, self.content = kernel, header, content
        self.code = content["code"]

    def send(self, kind, content, channel="iopub", parent=None):
        self.kernel.send(channel, kind, self.header if parent is None else parent, content)

    def status(self, state):
        self.send("status", {"execution_state": state})

    def begin(self):
        self.kernel.count += 1
        self.status("busy")
        self.send("execute_input", {"code": self.code, "execution_count": self.kernel.count})

    def print(self, text, name="stdout"):
        self.send("stream", {"name": name, "text": text})

    def reply(self, status="ok", **more):
        self.send("execute_reply", {"status": status, "execution_count": self.kernel.count, **more}, "shell")

    def end(self):
        self.reply()
        self.status("idle")


class Kernel:
    """Answers requests in their order, in a thread of its own, whether anybody is connected or not."""

    def __init__(self):
        self.lock = threading.Condition()
        self.channel = None      # the connection that messages go to
        self.kept = []           # frames for the next one
        self.requests = []
        self.cells = {}          # code -> what to do with it: a function of a Run
        self.ran = []            # the codes that were run
        self.count = self.number = 0
        threading.Thread(target=self.work, daemon=True).start()

    def send(self, channel, kind, parent, content):
        with self.lock:
            self.number += 1
            header = {"msg_id": f"kernel_{self.number}", "msg_type": kind, "session": "kernel", "version": "5.3"}
            self.raw(frame(message(channel, header, parent, content)))

    def raw(self, data):
        with self.lock:
            if self.channel is None:
                self.kept.append(data)
                return
            try:
                self.channel.sendall(data)
            except OSError:
                self.channel = None
                self.kept.append(data)

    def connected(self, channel):
        with self.lock:
            self.channel = channel
            kept, self.kept = self.kept, []
            for data in kept:
                self.raw(data)

    def disconnected(self, channel):
        with self.lock:
            if self.channel is channel:
                self.channel = None

    def take(self, header, content):
        with self.lock:
            self.requests.append((header, content))
            self.lock.notify_all()

    def work(self):
        while True:
            with self.lock:
                while not self.requests:
                    self.lock.wait()
                header, content = self.requests.pop(0)
            self.answer(header, content)

    def answer(self, header, content):
        run = Run(self, header, {"code": "", **content})
        if header["msg_type"] == "kernel_info_request":
            run.status("busy")
            run.send("kernel_info_reply", {"status": "ok", "language_info": {"name": "python"}}, "shell")
            run.status("idle")
        elif header["msg_type"] == "execute_request":
            self.ran.append(run.code)
            if content.get("silent"):  # the set-up
                run.end()
            elif run.code in self.cells:
                self.cells[run.code](run)
            else:
                run.begin()
                run.print(run.code)
                run.end()


class Server:
    """Listens at a path; REST and one kernel's channels. `rest` may answer a request instead of it (bytes, or None
    for itself); `opens` may do what it wants with a connection for the channels (True: that was all)."""

    def __init__(self, path, kernel):
        self.path, self.kernel = path, kernel
        self.requests = []
        self.rest = lambda method, path: None
        self.opens = lambda connection: False
        self.before_answer = lambda connection: False
        self.listening = True
        self.listener = fake_runner.Listener(path, self.serve)

    def stop(self):
        self.listening = False
        self.listener.stop()

    def serve(self, connection):
        try:
            with connection:
                self.serve_one(connection)
        except OSError:
            pass

    def serve_one(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        assert headers.get("authorization") == "token token", headers
        self.requests.append((method, path))
        if "upgrade" in headers:
            self.open_channels(connection, headers, body)
            return
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        answer = self.rest(method, path)
        connection.sendall(self.answer(method, path) if answer is None else answer)

    def answer(self, method, path):
        if method == "POST" and path == "/api/sessions":
            return http(201, {"id": "s-1", "kernel": {"id": KERNEL, "name": "python3"}})
        if method == "GET":
            return http(200, {"id": KERNEL, "execution_state": "idle"})
        return http(204)

    def open_channels(self, connection, headers, data):
        if self.opens(connection):
            return
        accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + GUID).digest()).decode()
        connection.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Accept: {accept}\r\n"
                            "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n\r\n").encode())
        self.kernel.connected(connection)
        try:
            self.take_frames(connection, data)
        finally:
            self.kernel.disconnected(connection)

    def take_frames(self, connection, data):
        whole = b""
        while True:
            while len(data) < 14:
                need = frame_size(data)
                if need is not None and len(data) >= need:
                    break
                piece = connection.recv(1 << 20)
                if not piece:
                    return
                data += piece
            need = frame_size(data)
            while len(data) < need:
                piece = connection.recv(1 << 20)
                if not piece:
                    return
                data += piece
            header = frame_header(data)
            mask, payload = data[header:header + 4], data[header + 4:need]
            opcode, final, data = data[0] & 15, data[0] & 128, data[need:]
            payload = unmask(payload, mask)
            if opcode == 8:
                return
            if opcode & 8:
                continue
            whole += payload
            if final:
                self.take(whole)
                whole = b""

    def take(self, data):
        count = struct.unpack_from("<Q", data)[0]
        offsets = struct.unpack_from("<%dQ" % count, data, 8)
        parts = [data[a:b] for a, b in zip(offsets, offsets[1:])]
        self.kernel.take(json.loads(parts[1]), json.loads(parts[4]))


def http(status, body=None):
    text = b"" if body is None else json.dumps(body).encode()
    return (f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n").encode() + text


def frame_header(data):
    return 2 + (2 if data[1] & 127 == 126 else 8 if data[1] & 127 == 127 else 0)


def frame_size(data):
    if len(data) < 2 or len(data) < frame_header(data):
        return None
    n = data[1] & 127
    if n == 126:
        n = struct.unpack_from(">H", data, 2)[0]
    elif n == 127:
        n = struct.unpack_from(">Q", data, 2)[0]
    return frame_header(data) + 4 + n


def unmask(payload, mask):
    n = len(payload)
    key = int.from_bytes((mask * (n // 4 + 1))[:n], "little")
    return (int.from_bytes(payload, "little") ^ key).to_bytes(n, "little")
