"""A notebook's runner against a kernel, a server and connections that do what they should not. It may end a cell
badly, and say why; it may not hang, die, lose what came before, or write a notebook that is none."""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import jupyter  # noqa: E402

PROGRAM = os.path.abspath(os.environ.get("INTERPFS", "build/asan/interpfs"))
WAIT = 60
LOST = 4  # seconds after which the second end of a cell is asked for (backend/kernel/messages.c)


def talk(folder):
    here = os.open(folder + "/run", os.O_PATH)
    try:
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(WAIT)
        s.connect(f"/proc/self/fd/{here}/sock")
        return s
    finally:
        os.close(here)


def put(kind, payload):
    return struct.pack("<IIBxxx", len(payload), 0, ord(kind)) + payload


class Answer:
    """A call under way."""

    def __init__(self, folder, name, request):
        self.text, self.ending = b"", None
        self.s = talk(folder)
        pieces = [put("D", request[i:i + 65536]) for i in range(0, len(request), 65536)]
        self.s.sendall(put("A", name.encode()) + b"".join(pieces) + put("G", b""))
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        data = b""
        while self.ending is None:
            piece = self.s.recv(1 << 20)
            if not piece:
                self.ending = {"errno": -1, "text": "the connection is lost"}
                return
            data += piece
            while len(data) >= 12 and len(data) >= 12 + struct.unpack_from("<I", data)[0]:
                n, _, kind = struct.unpack_from("<IIB", data)
                payload, data = data[12:12 + n], data[12 + n:]
                if kind == ord("D"):
                    self.text += payload[1:]
                elif kind == ord("E"):
                    self.ending = json.loads(payload)

    def end(self, seconds=WAIT):
        self.thread.join(seconds)
        if self.ending is None:
            raise AssertionError(f"no answer within {seconds} s; so far {self.text[-500:]!r}")
        self.s.close()
        return self.text.decode(errors="replace")


class Notebook:
    def __init__(self, state, serial):
        self.state, self.folder, self.generation = state, f"{state}/notebooks/{serial}", 0
        self.serial = serial
        os.makedirs(self.folder + "/run")
        self.write("status", "0 draft 1\n")
        self.write("spec.json", json.dumps({"generation": 1, "fields": {"sandbox": "lab"}, "references": {
            "sandbox": {"kind": "sandbox", "serial": 1, "name": "lab"}}}))

    def write(self, name, text):
        with open(f"{self.folder}/.new", "w") as f:
            f.write(text)
        os.rename(f"{self.folder}/.new", f"{self.folder}/{name}")

    def read(self, name):
        try:
            with open(f"{self.folder}/{name}", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def want(self, what):
        self.generation += 1
        self.write("want", f"{self.generation} {what}\n")

    def start(self):
        self.p = subprocess.Popen([PROGRAM, "runner", self.state, "notebook", str(self.serial)], stdout=subprocess.PIPE)
        self.p.stdout.read()
        self.p.stdout.close()
        return self

    def state_now(self):
        """Of what was wanted last; "" before that was acted on."""
        words = self.read("status").split()
        return words[1] if len(words) > 1 and words[0] == str(self.generation) else ""

    def until(self, *states, seconds=WAIT):
        end = time.monotonic() + seconds
        while self.state_now() not in states:
            if time.monotonic() > end or (self.p.poll() is not None and self.state_now() not in states):
                raise AssertionError(f"it is {self.state_now()}, not {states}: {self.read('failure')}{self.read('log')}")
            time.sleep(0.005)

    def begin(self, name, request=""):
        return Answer(self.folder, name, request.encode())

    def call(self, name, request="", seconds=WAIT):
        return self.begin(name, request).end(seconds)

    def cell(self, number):
        words = (self.read(f"cells/{number}/status").splitlines() or [""])[-1].split()
        return words[0] if words else ""

    def cells(self):
        return max([int(n) for n in os.listdir(self.folder + "/cells") if n.isdigit()], default=0)

    def notebook(self):
        """As the mount puts it together."""
        text, cells = self.read("notebook-head.json"), []
        for n in range(1, self.cells() + 1):
            with open(f"{self.folder}/cells/{n}/fragment", "rb") as f:
                data = f.read()
            data = data[:data.rfind(b"\n") + 1]
            cells.append(data.decode() + ("]}]}" if data[-2:-1] == b'"' else "]}\n\n"))
        document = json.loads(text + ",".join(cells) + "]}\n")
        for cell in document["cells"]:
            for output in cell.get("outputs", []):
                assert isinstance(output, dict) and isinstance(output["output_type"], str), output
                if output["output_type"] == "stream":
                    assert all(isinstance(t, str) for t in output["text"]) and output["name"] in ("stdout", "stderr")
                if "data" in output:
                    assert isinstance(output["data"], dict) and isinstance(output["metadata"], dict), output
        return document


class Case(unittest.TestCase):
    passes = True  # connections out of the sandbox; False: the relay's socket is used

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="interpfs-hostile.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        state = self.tmp + "/state"
        os.mkdir(state, 0o700)
        subprocess.run([PROGRAM, "runner", state, "notebook", "1"], stderr=subprocess.DEVNULL)  # makes the layout
        for kind in ("sandboxes", "notebooks"):
            os.makedirs(f"{state}/{kind}/names", exist_ok=True)
        os.makedirs(state + "/sandboxes/1/run")
        self.kernel = jupyter.Kernel()
        self.server = jupyter.Server(state + "/sandboxes/1/run/jupyter.sock", self.kernel)
        self.addCleanup(self.stop_server)
        self.sandbox = jupyter.Sandbox(state + "/sandboxes/1", self.server, self.passes)
        self.addCleanup(self.sandbox.stop)
        self.nb = Notebook(state, 2)
        self.nb.want("run")
        self.addCleanup(self.end)

    def stop_server(self):
        if self.server.listening:
            self.server.stop()

    def end(self):
        if self.nb.p.poll() is None:
            self.nb.p.kill()
        self.nb.p.wait()

    def start(self):
        self.nb.start().until("idle")

    def lives(self):
        """The notebook goes on: it is idle, a cell runs, all that was written is a notebook."""
        self.nb.until("idle")
        n = self.nb.cells()
        self.assertEqual(self.nb.call("exec", "still here"), "still here")
        self.assertEqual((self.nb.cells(), self.nb.cell(n + 1)), (n + 1, "ok"))
        self.assertIsNone(self.nb.p.poll())
        return self.nb.notebook()

    def run_cell(self, function, seconds=WAIT):
        """Runs a cell with which the kernel does this; what its caller gets."""
        name = f"cell {len(self.kernel.cells)}"
        self.kernel.cells[name] = function
        return self.nb.call("exec", name, seconds)

    def log_lines(self, words):
        return [line for line in self.nb.read("log").splitlines() if words in line]


class Messages(Case):
    def test_well(self):
        self.start()
        self.assertEqual(self.run_cell(lambda r: (r.begin(), r.print("a\n"), r.print("b"), r.end())), "a\nb")
        cell = self.lives()["cells"][0]
        self.assertEqual((cell["execution_count"], cell["outputs"][0]["text"]), (1, ["a\n", "b"]))
        self.assertIn("connect", self.sandbox.notes)

    def test_garbage(self):
        self.start()

        def garbage(r):
            r.begin()
            good = jupyter.message("iopub", r.header, r.header, {})
            for data in (b"", b"x", b"\0" * 7, b"\0" * 8, b"\xff" * 64, good[:-1], good + b"x", good[:40],
                         struct.pack("<Q", 1 << 61) + good[8:], struct.pack("<QQ", 6, 8) + good[16:],
                         jupyter.message("iopub", b"{", r.header, {}), jupyter.message("iopub", b"", b"", b""),
                         jupyter.message("iopub", b"[1]", b"null", b"7"), os.urandom(1000)):
                r.kernel.raw(jupyter.frame(data))
                r.kernel.raw(jupyter.frame(data, opcode=1) if all(b < 128 for b in data) else b"")
            r.print("after")
            r.end()
        self.assertEqual(self.run_cell(garbage), "after")
        self.lives()
        self.assertTrue(self.log_lines("a kernel message"))

    def test_a_flood_of_garbage_does_not_fill_the_log(self):
        self.start()

        def flood(r):
            r.begin()
            for _ in range(2000):
                r.kernel.raw(jupyter.frame(b"x" * 100))
            r.end()
        self.run_cell(flood)
        self.lives()
        self.assertLess(len(self.log_lines("a kernel message")), 100)

    def test_wrong_types(self):
        values = [None, True, 0, -1, 1e300, 10 ** 30, "", "text", [], [1, [2]], {}, {"a": {"b": []}}, "\ud800", "a\0b\x7f\u2028"]
        self.start()

        def wrong(r):
            r.begin()
            for v in values:
                for kind in ("stream", "display_data", "execute_result", "error", "execute_input", "status", "clear_output",
                             "update_display_data", "comm_msg", "execute_request", "kernel_info_reply", "unheard_of"):
                    r.send(kind, v)
                for name in ("stdout", v):
                    r.send("stream", {"name": name, "text": v})
                r.send("display_data", {"data": v, "metadata": v, "transient": v})
                r.send("display_data", {"data": {"text/plain": v, "image/png": v, "application/json": v, "": v, "../x": v},
                                        "metadata": {"k": v}, "transient": {"display_id": v}})
                r.send("update_display_data", {"data": {"text/plain": v}, "metadata": v, "transient": {"display_id": v}})
                r.send("execute_result", {"data": {"text/plain": ["a", v]}, "metadata": {}, "execution_count": v})
                r.send("error", {"ename": v, "evalue": v, "traceback": v})
                r.send("error", {"ename": "E", "evalue": "v", "traceback": [v, "line"]})
                r.send("execute_input", {"code": v, "execution_count": v})
                r.send("status", {"execution_state": v})
                r.send("clear_output", {"wait": v})
            r.print("after")
            r.end()
        self.run_cell(wrong)
        cell = self.lives()["cells"][0]
        self.assertEqual(cell["outputs"][-1]["text"][-1], "after")

    def test_for_nobody(self):
        """Parents that are unknown, another client's, of cells that wait or have long ended."""
        self.start()
        client = []

        def look(r):
            client.append(r.header["session"])
            r.begin()
            r.end()
        self.run_cell(look)

        def strange(r):
            r.begin()
            number, cell = r.header["msg_id"].split("-")[1:]
            for parent in ("", "x", "other-1-1", f"{client[0]}", f"{client[0]}-", f"{client[0]}--", f"{client[0]}-x-1",
                           f"{client[0]}-{number}", f"{client[0]}-{number}-", f"{client[0]}-{number}-{cell}-1",
                           f"{client[0]}-{number}-99999999999999999999", f"{client[0]}-99999999999999999999-1",
                           f"{client[0]}-{int(number) + 1}-{int(cell) + 1}", f"{client[0]}-1-1", f"{client[0]}-{number}-0",
                           "x" * 5000):
                for kind, content in (("stream", {"name": "stdout", "text": "not mine"}), ("status", {"execution_state": "idle"}),
                                      ("execute_reply", {"status": "ok"}), ("display_data", {"data": {"text/plain": "no"}, "metadata": {}})):
                    if parent or kind != "status":
                        r.send(kind, content, parent={"msg_id": parent})
            r.send("stream", {"name": "stdout", "text": "no parent"}, parent={})
            r.print("mine")
            r.end()
        waiting = []

        def holds(r):
            n = self.nb.cells()
            waiting.append(self.nb.begin("exec", "the next"))
            while self.nb.cells() == n:
                time.sleep(0.005)
            strange(r)
        self.assertEqual(self.run_cell(holds), "mine")
        self.assertEqual(waiting[0].end(), "the next")
        self.lives()

    def test_late(self):
        """What threads print after their cell has ended, also while it runs again."""
        self.start()
        runs, ended = [], threading.Event()

        def first(r):
            runs.append(r)
            r.begin()
            r.print("first\n")
            r.end()
        self.run_cell(first)

        def second(r):
            r.begin()
            runs[0].print("late\n")
            runs[0].send("display_data", {"data": {"text/plain": "late display"}, "metadata": {}})
            r.print("second\n")
            r.end()
        self.run_cell(second)
        output = self.nb.read("cells/1/output")
        self.assertEqual(output, "first\nlate\nlate display\n")

        def again(r):
            r.begin()
            r.print("again\n")
            runs[0].print("old\n", "stderr")
            runs[0].send("display_data", {"data": {"text/plain": "old display"}, "metadata": {}})
            r.print("and on\n")
            r.end()
            ended.set()
        self.kernel.cells["again"] = again
        self.nb.call("edit 1", "again")
        document = self.lives()
        self.assertEqual([o.get("text") for o in document["cells"][0]["outputs"]],
                         [["again\n"], ["old\n"], None, ["and on\n"]])

    def test_out_of_order(self):
        self.start()

        def reply_first(r):
            r.reply()
            r.begin()
            r.print("a")
            r.status("idle")
        self.assertEqual(self.run_cell(reply_first), "a")

        def idle_first(r):
            r.begin()
            r.print("b")
            r.status("idle")
            time.sleep(0.05)
            r.reply()
        self.assertEqual(self.run_cell(idle_first), "b")

        def twice(r):
            for _ in range(3):
                r.begin()
                r.print("c")
                r.end()
        self.run_cell(twice)
        self.lives()

        def nothing(r):
            r.end()
        self.assertEqual(self.run_cell(nothing), "")
        self.assertEqual(self.nb.notebook()["cells"][-1]["outputs"], [])

        def aborted(r):
            r.reply("aborted")
        self.run_cell(aborted)
        self.assertEqual(self.nb.cell(self.nb.cells()), "interrupted")
        self.lives()

    def test_one_end_is_lost(self):
        """A reply without an idle (the kernel's publisher drops what nobody takes fast enough), and the reverse."""
        self.start()
        begin = time.monotonic()
        text = self.run_cell(lambda r: (r.begin(), r.print("a\n"), r.reply()))
        self.assertTrue(text.startswith("a\n[interpfs: output may be missing here"), text)
        self.assertGreater(time.monotonic() - begin, LOST - 1)
        self.assertEqual(self.nb.cell(1), "ok")
        self.lives()
        text = self.run_cell(lambda r: (r.begin(), r.print("b\n"), r.status("idle")))
        self.assertTrue(text.startswith("b\n") and "how this cell ended" in text, text)
        self.assertEqual(self.nb.cell(3), "interrupted")
        self.lives()
        text = self.run_cell(lambda r: (r.begin(), r.send("error", {"ename": "E", "evalue": "v", "traceback": ["t"]}), r.status("idle")))
        self.assertEqual(text, "t\n[error E]\n")
        self.assertEqual(self.nb.cell(5), "error")
        self.lives()

    def test_a_long_cell_is_not_hurried(self):
        """Idle was forged; the cell goes on for longer than an end is waited for."""
        self.start()

        def forged(r):
            r.begin()
            r.status("idle")
            for i in range(12):
                time.sleep(LOST / 8)
                r.print(f"{i}\n")
            r.reply()
        self.assertEqual(self.run_cell(forged), "".join(f"{i}\n" for i in range(12)))
        self.assertEqual(self.nb.cell(1), "ok")
        self.lives()

    def test_enormous(self):
        self.start()

        def enormous(r):
            r.begin()
            r.print("x" * (40 << 20))
            deep = b"[" * 100000 + b"]" * 100000
            for content in (deep, b'{"name":"stdout","text":' + deep + b"}", b'{"data":{"application/json":' + deep + b'},"metadata":{}}'):
                r.send("stream", content)
                r.send("display_data", content)
            for _ in range(3):
                r.send("display_data", {"data": {"text/plain": "p", **{f"a/{i}": "v" for i in range(20000)}}, "metadata": {}})
            r.end()
        text = self.run_cell(enormous)
        self.assertEqual(text[:40 << 20], "x" * (40 << 20))
        self.lives()

    def test_in_frames(self):
        """Messages in many frames, with pings between them."""
        self.start()

        def pieces(r):
            r.begin()
            data = jupyter.message("iopub", {"msg_id": "kernel_0", "msg_type": "stream"}, r.header, {"name": "stdout", "text": "pieces"})
            for i in range(len(data)):
                r.kernel.raw(jupyter.frame(data[i:i + 1], opcode=0 if i else 2, final=i == len(data) - 1))
                r.kernel.raw(jupyter.frame(b"p", opcode=9) + jupyter.frame(b"", opcode=10))
            r.end()
        self.assertEqual(self.run_cell(pieces), "pieces")
        self.lives()

    def test_counts(self):
        """A kernel that cannot count."""
        self.start()

        def counts(r):
            r.status("busy")
            for n in (5, 5, 6, 7, 0, -3, 10 ** 17, 10 ** 19, "8", None, 1.5):
                r.send("execute_input", {"code": "", "execution_count": n})
            r.print("x")
            r.end()
        self.assertEqual(self.run_cell(counts), "x")
        self.lives()

    def test_clears(self):
        self.start()

        def clears(r):
            r.begin()
            for i in range(200):
                r.send("clear_output", {"wait": i % 2 == 0})
                r.print(f"{i}\n")
                r.send("display_data", {"data": {"image/svg+xml": "<svg/>"}, "metadata": {}, "transient": {"display_id": "d"}})
                r.send("update_display_data", {"data": {"text/plain": str(i)}, "metadata": {}, "transient": {"display_id": "d"}})
            r.end()
        self.run_cell(clears)
        document = self.lives()
        self.assertEqual(document["cells"][0]["outputs"][-1]["data"]["text/plain"], "199")


class Deaths(Case):
    def test_in_the_middle(self):
        for state in ("dead", "restarting", "starting"):
            with self.subTest(state):
                self.start()
                text = self.run_cell(lambda r, state=state: (r.begin(), r.print("a\n"),
                                                             r.send("status", {"execution_state": state}, parent={})))
                self.assertTrue(text.startswith("a\n") and text.endswith("[error DeadKernelError]\n"), text)
                self.nb.until("died")
                self.assertEqual(self.nb.cell(self.nb.cells()), "died")
                self.assertEqual(self.nb.p.wait(WAIT), 0)
                self.nb.notebook()
                self.nb.want("run")
        self.start()
        self.lives()

    def test_while_others_wait(self):
        self.start()
        others = []

        def dies(r):
            r.begin()
            others.extend(self.nb.begin("exec", f"other {i}") for i in range(5))
            while self.nb.cells() < 6:
                time.sleep(0.005)
            r.send("status", {"execution_state": "dead"}, parent={})
        self.run_cell(dies)
        for answer in others:
            answer.end()
            self.assertEqual(answer.ending["errno"], 107)
        self.nb.until("died")
        self.assertEqual([self.nb.cell(n) for n in range(1, 7)], ["died"] + 5 * ["interrupted"])
        self.assertNotIn("other 0", self.kernel.ran)
        self.nb.notebook()


class Connections(Case):
    def close(self, r):
        r.kernel.channel.shutdown(socket.SHUT_RDWR)

    def test_closed_at_each_point(self):
        """The kernel goes on and loses nothing; the runner comes back for it."""
        self.start()
        points = [
            lambda r: (self.close(r), r.begin(), r.print("a"), r.end()),
            lambda r: (r.begin(), self.close(r), r.print("a"), r.end()),
            lambda r: (r.begin(), r.print("a"), self.close(r), r.end()),
            lambda r: (r.begin(), r.print("a"), r.reply(), self.close(r), r.status("idle")),
            lambda r: (r.begin(), r.print("a"), r.status("idle"), self.close(r), r.reply()),
            lambda r: (r.begin(), r.print("a"), r.end(), self.close(r)),
        ]
        for i, point in enumerate(points):
            with self.subTest(i):
                self.assertEqual(self.run_cell(point).replace("[interpfs: output may be missing here: the connection to the "
                                                              "kernel was lost]\n", ""), "a")
                self.assertEqual(self.nb.cell(self.nb.cells()), "ok")
                self.lives()
        self.assertEqual(len([c for c in self.kernel.ran if c.startswith("cell")]), len(points)) # none ran twice

    def test_closed_in_a_frame(self):
        self.start()

        def cut(r):
            r.begin()
            r.kernel.raw(b"\x82\x7f" + struct.pack(">Q", 1 << 20) + b"half")
            self.close(r)
            r.print("a")
            r.end()
        self.assertIn("a", self.run_cell(cut))
        self.lives()

    def test_nonsense_as_frames(self):
        for nonsense in (b"\xff" * 100, b"\x83\x00", b"\x80\x01x", b"\x82\x7f\xff" + b"\xff" * 20, b"HTTP/1.1 400 Bad\r\n\r\n"):
            with self.subTest(nonsense[:4]):
                if not hasattr(self.nb, "p"):
                    self.start()

                def say(r, nonsense=nonsense):
                    r.begin()
                    r.kernel.raw(nonsense)
                    time.sleep(0.1)
                    with r.kernel.lock:
                        if r.kernel.channel is not None:  # it waits for the rest of a frame
                            r.kernel.channel.shutdown(socket.SHUT_RDWR)
                            r.kernel.channel = None
                    r.print("a")
                    r.end()
                self.assertIn("a", self.run_cell(say))
                self.lives()

    def test_the_request_gets_lost(self):
        """The connection ends before the kernel has the code: it never runs, and is not sent again."""
        self.start()
        real, lost = self.server.take, []

        def lose(data):
            if b"lost code" in data and not lost:
                lost.append(1)
                self.kernel.channel.shutdown(socket.SHUT_RDWR)
            else:
                real(data)
        self.server.take = lose
        text = self.nb.call("exec", "lost code")
        self.assertIn("how this cell ended", text)
        self.assertEqual(self.nb.cell(1), "interrupted")
        self.assertIsNone(self.nb.notebook()["cells"][0]["execution_count"])
        self.lives()
        self.assertNotIn("lost code", self.kernel.ran)

    def test_refused_channels(self):
        """Some answers to the request for the channels, then a good one."""
        answers = [jupyter.http(403), jupyter.http(500), b"HTTP/1.1 101 Yes\r\n\r\n", b"", b"HTT",
                   b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n"]
        self.start()

        def opens(connection):
            if not answers:
                return False
            connection.sendall(answers.pop(0))
            return True

        def breaks(r):
            r.begin()
            self.server.opens = opens
            self.close(r)
            r.print("a")
            r.end()
        self.assertIn("a", self.run_cell(breaks))
        self.assertEqual(answers, [])
        self.lives()

    def test_gone_for_good(self):
        self.start()

        def goes(r):
            r.begin()
            r.print("a\n")
            self.server.rest = lambda method, path: jupyter.http(404, {"message": "no such kernel"})
            self.close(r)
        text = self.run_cell(goes)
        self.assertTrue(text.endswith("[error DeadKernelError]\n"), text)
        self.nb.until("died")
        self.assertIn("Jupyter Server ended", self.nb.read("failure"))
        self.assertEqual(self.nb.p.wait(WAIT), 0)

    def test_large_code_into_a_full_socket(self):
        self.start()
        code = "x" * (8 << 20)
        self.assertEqual(self.nb.call("exec", code), code)
        self.assertIn("at most", self.nb.call("exec", "x" * (10 << 20)))
        self.lives()


class ByTheRelay(Connections):
    """The same where the engine passes no connections out."""
    passes = False

    def test_it_is_used(self):
        self.start()
        self.lives()
        self.assertNotIn("connect", self.sandbox.notes)


class TakingUp(Case):
    """A runner that was killed while a cell ran, and what may be in the way of the next one."""

    def setUp(self):
        super().setUp()
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)

        def waits(r):
            r.begin()
            r.print("a\n")
            self.go_on.wait(WAIT)
            r.print("b\n")
            r.end()
        self.kernel.cells["waits"] = waits
        self.start()
        answer = self.nb.begin("exec", "waits")
        while answer.text != b"a\n":
            time.sleep(0.005)
        self.end()

    def hang(self, hook, when):
        """Whoever asks for this waits for the end of the test; returns once it was asked for."""
        asked, never = threading.Event(), threading.Event()
        self.addCleanup(never.set)

        def hangs(*args):
            if when(*args):
                asked.set()
                never.wait(WAIT)
        setattr(*hook, hangs)
        self.nb.start()
        self.assertTrue(asked.wait(WAIT))

    def goes_on(self):
        self.go_on.set()
        self.nb.until("idle")
        self.assertEqual((self.nb.cell(1), self.nb.read("cells/1/output")), ("ok", "a\nb\n"))
        self.lives()
        self.assertEqual(self.kernel.ran.count("waits"), 1)

    def test_well(self):
        self.nb.start()
        self.goes_on()

    def test_ended_before_it_has_found_it(self):
        """SIGTERM, as at a machine's shutdown, is no reason to give up a cell."""
        places = [((self.sandbox, "call"), lambda c: True), ((self.server, "rest"), lambda method, path: method == "GET"),
                  ((self.server, "opens"), lambda connection: True)]
        for hook, when in places:
            with self.subTest(hook[1]):
                real = getattr(*hook)
                self.hang(hook, when)
                self.nb.p.terminate()
                self.nb.p.wait(WAIT)
                self.assertEqual((self.nb.cell(1), self.nb.read("cells/1/output")), ("busy", "a\n"))
                setattr(*hook, real)
        self.nb.start()
        self.goes_on()

    def test_restarted_before_it_has_found_it(self):
        self.hang((self.server, "opens"), lambda connection: True)
        self.server.opens = lambda connection: False
        self.nb.want("run")
        talk(self.nb.folder).sendall(put("P", b""))
        self.go_on.set()
        self.nb.until("idle")
        self.assertEqual(self.nb.cell(1), "interrupted")
        errors = [o for o in self.nb.notebook()["cells"][0]["outputs"] if o["output_type"] == "error"]
        self.assertEqual([(o["ename"], o["evalue"]) for o in errors], [("Interrupted", "the notebook was restarted")])

    def test_a_server_that_is_not_there_yet(self):
        left = [b"", b"HTT"]
        self.server.rest = lambda method, path: left.pop(0) if left else None
        self.nb.start()
        self.goes_on()
        self.assertEqual(left, [])

    def test_a_kernel_that_is_gone(self):
        self.server.rest = lambda method, path: jupyter.http(404, {"message": "no such kernel"})
        self.nb.start().until("died")
        self.assertEqual(self.nb.p.wait(WAIT), 0)
        self.assertEqual(self.nb.cell(1), "died")
        self.assertIn("[error DeadKernelError]", self.nb.read("cells/1/output"))
        self.nb.notebook()


class Rest(Case):
    def begin_with(self, *answers):
        """Starts while the first answers of the server are these."""
        left = list(answers)
        self.server.rest = lambda method, path: left.pop(0) if left else None
        self.nb.start()
        return left

    def test_a_kernel_does_not_start(self):
        ids = ("../../etc/passwd", "", "x" * 500, 7, None, "a b", "a\nb", "\u00e4")
        for answer, words in [
            (jupyter.http(500, {"message": "no kernel\nfor you"}), "no kernel"),
            (jupyter.http(500), "Jupyter Server answers 500"),
            (jupyter.http(201, []), "gives it no id"),
            (b"HTTP/1.1 201 X\r\nContent-Length: 3\r\n\r\n{\"i", "gives it no id"),
            (b"\0\1\2\3", "Jupyter Server"),
            (b"", "Jupyter Server"),
            (b"HTTP/1.1 201 X\r\nContent-Length: 100\r\n\r\n{", "Jupyter Server"),
            (b"HTTP/1.1 201 X\r\nConnection: close\r\n\r\n" + b"x" * (5 << 20), "Jupyter Server"),
        ] + [(jupyter.http(201, {"id": "s", "kernel": {"id": i, "name": "python3"}}), "gives it no id") for i in ids]:
            with self.subTest(answer[:60]):
                self.begin_with(answer)
                self.nb.until("failed")
                self.assertIn(words, self.nb.read("failure"))
                self.assertNotIn("\n", self.nb.read("failure")[:-1])
                self.assertEqual(self.nb.p.wait(WAIT), 0)
                self.nb.want("run")
        self.server.rest = lambda method, path: None
        self.start()
        self.lives()

    def test_interrupts_that_fail(self):
        self.start()
        self.server.rest = lambda method, path: jupyter.http(500, {"message": "no"}) if "interrupt" in path else None

        def long(r):
            r.begin()
            r.print("a\n")
            time.sleep(1)
            r.end()
        self.kernel.cells["long"] = long
        answer = self.nb.begin("run", json.dumps({"code": "long", "timeout": 0.1}))
        self.assertEqual(json.loads(answer.end())["state"], "ok")
        self.lives()


class Calls(Case):
    """What clients may ask for."""

    def test_nonsense(self):
        self.start()
        for name, request in (("", ""), ("nothing", ""), ("edit", "x"), ("edit ", "x"), ("edit 0", "x"), ("edit -1", "x"),
                              ("edit 1x", "x"), ("edit 99999999999999999999", "x"), ("edit 7", "x"), ("run", ""), ("run", "{"),
                              ("run", "[]"), ("run", '{"code": 7}'), ("run", '{"code": "x", "cell": 0}'),
                              ("run", '{"code": "x", "cell": 1e9}'), ("run", '{"code": "x", "cell": -1}'),
                              ("run", '{"code": "x", "cell": 4}')):
            with self.subTest(name + request):
                answer = self.nb.begin(name, request)
                answer.end()
                self.assertIn(answer.ending["errno"], (22, 2), answer.ending)
                self.assertTrue(answer.ending["text"])
        self.assertEqual(self.nb.cells(), 0)
        self.assertEqual(json.loads(self.nb.call("run", '{"code": "x", "timeout": "soon", "hidden": 3}'))["state"], "ok")
        self.assertEqual(json.loads(self.nb.call("run", '{"code": "x", "timeout": 1e308}'))["state"], "ok")
        self.lives()

    def test_given_up(self):
        """Clients that leave: with CLOSE the cell is ended, with a lost connection it runs on."""
        self.start()
        gone = threading.Event()

        def waits(r):
            r.begin()
            r.print("a\n")
            gone.wait(WAIT)
            r.print("b\n")
            r.end()
        self.kernel.cells["waits"] = waits
        answer = self.nb.begin("exec", "waits")
        while not answer.text:
            time.sleep(0.005)
        answer.s.shutdown(socket.SHUT_RDWR)
        gone.set()
        self.nb.until("idle")
        self.assertEqual((self.nb.cell(1), self.nb.read("cells/1/output")), ("ok", "a\nb\n"))
        gone.clear()
        answer = self.nb.begin("exec", "waits")
        while not answer.text:
            time.sleep(0.005)
        before = len(self.server.requests)
        answer.s.sendall(put("X", b""))
        while not any("interrupt" in path for _, path in self.server.requests[before:]):
            time.sleep(0.005)
        gone.set()
        self.lives()


if __name__ == "__main__":
    unittest.main(verbosity=1)
