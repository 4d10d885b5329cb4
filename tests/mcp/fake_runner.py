"""A stand-in for an object's runner: the server's side of base/talk.h in an object's folder, so that
`interpfs mcp` and `interpfs exec` can be tested without a kernel or a sandbox. A sandbox's `run`
runs its command here; a notebook's `run` knows a few words."""
import base64
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import zlib


def png(width, height, padding=0):
    """A picture of one colour; padding makes it as many bytes longer."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = zlib.compress(b"".join(b"\0" + b"\0" * ((width + 7) // 8) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)) + \
        chunk(b"tEXt", b"Comment\0" + b"x" * padding) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


PNG = base64.b64encode(png(1, 1)).decode()


def replace(path, text):
    """As the mount and the runners do: whoever reads it meanwhile never sees it empty."""
    with open(path + "~", "w") as f:
        f.write(text)
    os.replace(path + "~", path)


class Conversation:
    def __init__(self, runner, connection):
        self.runner, self.connection = runner, connection
        self.kind = self.name = None
        self.request = b""
        self.closed = threading.Event()  # CLOSE came, or the connection was lost
        self.said_close = False
        self.lock = threading.Lock()

    def frame(self, kind, payload):
        with self.lock:
            try:
                self.connection.sendall(struct.pack("<IIBxxx", len(payload), 0, ord(kind)) + payload)
            except OSError:
                self.closed.set()

    def data(self, payload, channel=1):
        for at in range(0, len(payload), 65000):
            self.frame("D", bytes([channel]) + payload[at:at + 65000])

    def end(self, code=0, text="", status=0):
        self.frame("E", json.dumps({"errno": code, "text": text, "exit": status}).encode())

    def read_exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.connection.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def run(self):
        try:
            while True:
                length, _, kind = struct.unpack("<IIBxxx", self.read_exactly(12))
                payload = self.read_exactly(length)
                if kind == ord("C"):
                    self.name = payload.decode()
                    self.kind = "command"
                    threading.Thread(target=self.runner.command, args=(self,), daemon=True).start()
                elif kind == ord("A"):
                    self.name = payload.decode()
                    self.kind = "call"
                elif kind == ord("D"):
                    self.request += payload
                elif kind == ord("G"):
                    threading.Thread(target=self.runner.call, args=(self,), daemon=True).start()
                elif kind == ord("X"):
                    self.said_close = True
                    self.runner.note("close " + self.name)
                    self.closed.set()
        except (EOFError, OSError):
            if not self.said_close:
                self.runner.note("lost " + str(self.name))
            self.closed.set()


class Listener:
    """A unix socket at a path, which may be longer than a socket's name; serve(connection) in a thread for each."""

    def __init__(self, path, serve):
        self.serve = serve
        self.socket = socket.socket(socket.AF_UNIX)
        folder = os.open(os.path.dirname(path), os.O_PATH)
        self.socket.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        os.close(folder)
        self.socket.listen(500)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Runner:
    """Listens in FOLDER/run/sock until stop()."""

    def __init__(self, folder):
        self.folder = folder
        self.notes = []
        self.noted = threading.Condition()
        os.makedirs(folder + "/run", exist_ok=True)
        for name, text in (("status", "1 ready 0\n"), ("want", "1 run\n")):  # never at rest in between
            replace(f"{folder}/{name}", text)
        self.listener = Listener(folder + "/run/sock", lambda connection: Conversation(self, connection).run())

    def stop(self):
        self.listener.stop()
        os.unlink(self.folder + "/run/sock")

    def note(self, text):
        with self.noted:
            self.notes.append(text)
            self.noted.notify_all()

    def wait_note(self, text, seconds=60):
        with self.noted:
            return self.noted.wait_for(lambda: text in self.notes, seconds)


class FakeNotebook(Runner):
    cells = 0

    def __init__(self, *arguments):
        self.released = threading.Event()  # ends what is held
        super().__init__(*arguments)

    def command(self, c):
        self.note("command " + c.name)
        c.end()

    def call(self, c):
        if c.name == "markdown":
            self.note("markdown " + c.request.decode())
            c.data(json.dumps({"cell": 9}).encode())
            return c.end()
        request = json.loads(c.request)
        self.note("run " + json.dumps(request, sort_keys=True))
        code, outputs, state = request["code"], [], "ok"
        for word in code.split():
            if word == "print":
                outputs.append({"output_type": "stream", "name": "stdout", "text": ["a\n", "\x1b[31mb\x1b[0m\n"]})
            elif word == "value":
                outputs.append({"output_type": "execute_result", "execution_count": 1, "metadata": {},
                                "data": {"text/plain": "array([1])"}})
            elif word == "png":
                outputs.append({"output_type": "display_data", "metadata": {},
                                "data": {"image/png": PNG[:40] + "\n" + PNG[40:] + "\n", "text/plain": "<Figure>"}})
            elif word.startswith("png:"):  # png:WIDTH:PADDING:BYTES, of which only so many are there
                width, padding, n = map(int, word[4:].split(":"))
                data = base64.b64encode(png(width, 1, padding)[:n or None]).decode()
                outputs.append({"output_type": "display_data", "metadata": {}, "data": {"image/png": data}})
            elif word.startswith("picture:"):  # picture:TYPE:DATA
                outputs.append({"output_type": "display_data", "metadata": {}, "data": {word.split(":")[1]: word.split(":")[2]}})
            elif word == "json":
                outputs.append({"output_type": "display_data", "metadata": {}, "data": {"application/json": {"a": 1}}})
            elif word == "widget":
                outputs.append({"output_type": "display_data", "metadata": {}, "data": {"application/x-widget": {}}})
            elif word == "error":
                state = "error"
                outputs.append({"output_type": "error", "ename": "NameError", "evalue": "x",
                                "traceback": ["\x1b[0;31mNameError\x1b[0m", "  x is not"]})
            elif word == "huge":
                outputs.append({"output_type": "stream", "name": "stdout",
                                "text": "first\n" + "\u00e4" * 5000000 + "\nlast\n"})
            elif word == "garbage":
                c.data(b"{")
                return c.end()
            elif word == "refused":
                return c.end(107, "notebook probe: the kernel has died; echo restart > ctl")
            elif word == "dropped":
                c.connection.shutdown(socket.SHUT_RDWR)
                return None
            elif word == "slow":
                if not c.closed.wait(30):
                    self.note("slow was never given up")
                return c.end()
            elif word == "held":
                self.note("held")
                self.released.wait(60)
            elif word == "second":
                c.closed.wait(1)
            elif word == "while_running":
                self.note("begun")
        FakeNotebook.cells += 1
        c.data(json.dumps({"cell": request.get("cell") or FakeNotebook.cells, "count": 1, "state": state,
                           "outputs": outputs}).encode())
        return c.end()


class FakeSandbox(Runner):
    slow_root = 0

    def command(self, c):
        c.end(22, "unknown")

    def call(self, c):
        if c.name == "root":
            self.note("root")
            c.closed.wait(self.slow_root)
            return c.end(95, "a stand-in has no root")
        request = json.loads(c.request)
        self.note("run " + json.dumps(request, sort_keys=True)[:200])
        argv = request.get("argv") or (["sh", "-c", request["shell"]] if request.get("shell") else
                                       ["python3", "-c", request["python"]])
        workspace = self.folder + "/workspace"
        os.makedirs(workspace, exist_ok=True)
        given = (request.get("input") or "").encode()
        try:
            p = subprocess.Popen(argv, cwd=request.get("cwd") or workspace, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                                 env={**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"})
        except OSError as e:
            return c.end(e.errno, f"{argv[0]}: {e.strerror}")

        def pump(stream, channel):
            for piece in iter(lambda: os.read(stream.fileno(), 65536), b""):
                c.data(piece, channel)

        def feed():
            try:
                p.stdin.write(given)
                p.stdin.close()
            except OSError:
                pass

        pumps = [threading.Thread(target=t, args=a) for t, a in
                 ((pump, (p.stdout, 1)), (pump, (p.stderr, 2)), (feed, ()))]
        for t in pumps:
            t.start()
        timed_out = []

        def watch():
            if not c.closed.wait(request.get("timeout") or 60):
                if p.poll() is None:
                    timed_out.append(1)
            try:
                os.killpg(p.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

        threading.Thread(target=watch, daemon=True).start()
        status = p.wait()
        self.note("ended")
        for t in pumps:
            t.join()
        if timed_out:
            return c.end(110, f"the command was ended after {request['timeout']:g} s")
        return c.end(0, "", status if status >= 0 else 128 - status)
