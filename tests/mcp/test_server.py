"""`interpfs mcp` over its pipes, in both eras, and `interpfs exec`, against stand-ins for runners.
INTERPFS names the program. Alone: INTERPFS=build/interpfs python3 tests/mcp/test_server.py [-k PATTERN]"""
import base64
import fcntl
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fake_runner  # noqa: E402

PROGRAM = os.path.abspath(os.environ.get("INTERPFS", "build/interpfs"))
META = "io.modelcontextprotocol/"
MODERN = {META + "protocolVersion": "2026-07-28", META + "clientCapabilities": {}}
WAIT = 60


class Server:
    """One process of `interpfs mcp`."""

    def __init__(self, *argv):
        self.p = subprocess.Popen([PROGRAM, "mcp", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.buffer = b""
        self.next_id = 0

    def raw(self, data):
        self.p.stdin.write(data)
        self.p.stdin.flush()

    def send(self, **message):
        self.raw(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def ask(self, method, **params):
        self.next_id += 1
        self.send(id=self.next_id, method=method, params=params)
        return self.next_id

    def receive(self, seconds=WAIT):
        """The next message, None at the end of the output."""
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.p.stdout], [], [], seconds)
            if not ready:
                raise TimeoutError("no message")
            piece = os.read(self.p.stdout.fileno(), 1 << 20)
            if not piece:
                return None
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def answer(self, method, **params):
        asked = self.ask(method, **params)
        message = self.receive()
        assert message["id"] == asked, message
        return message

    def open(self, version="2025-11-25"):
        result = self.answer("initialize", protocolVersion=version, capabilities={},
                             clientInfo={"name": "test", "version": "1"})["result"]
        self.send(method="notifications/initialized")
        return result

    def call(self, name, arguments=None, **more):
        params = {"name": name, **more}
        if arguments is not None:
            params["arguments"] = arguments
        return self.answer("tools/call", **params)["result"]

    def close(self):
        self.p.stdin.close()
        status = self.p.wait(WAIT)
        error = self.p.stderr.read().decode()
        self.p.stdout.close()
        self.p.stderr.close()
        return status, error


def text_of(result):
    assert result["content"][0]["type"] == "text", result
    return result["content"][0]["text"]


class Case(unittest.TestCase):
    def setUp(self):
        self.state = tempfile.mkdtemp(prefix="interpfs-mcp.")
        self.addCleanup(shutil.rmtree, self.state)
        self.notebook = fake_runner.FakeNotebook(self.state + "/notebooks/7")
        self.sandbox = fake_runner.FakeSandbox(self.state + "/sandboxes/3")
        self.addCleanup(lambda: self.notebook.stop())
        self.addCleanup(lambda: self.sandbox.stop())

    def serve(self, what="notebooks/7", *options):
        server = Server(*options, f"{self.state}/{what}")

        def end():
            if server.p.poll() is None:
                server.p.kill()
                server.p.wait()
            for stream in (server.p.stdin, server.p.stdout, server.p.stderr):
                try:
                    stream.close()
                except OSError:
                    pass

        self.addCleanup(end)
        return server


class Legacy(Case):
    def test_versions(self):
        for asked, given in [(v, v) for v in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")] + [
                ("2026-07-28", "2025-11-25"), ("1999-01-01", "2025-11-25")]:
            server = self.serve()
            result = server.open(asked)
            self.assertEqual(result["protocolVersion"], given)
            self.assertEqual(result["serverInfo"]["name"], "interpfs")
            self.assertEqual(result["capabilities"], {"tools": {}})
            self.assertNotIn("resultType", result)
            self.assertEqual(server.answer("ping")["result"], {})
            self.assertEqual(server.close(), (0, ""))

    def test_list(self):
        for what, names in (("notebooks/7", ["execute_code", "add_markdown", "edit_cell", "interrupt"]),
                            ("sandboxes/3", ["run_command", "run_python", "read_file", "write_file", "list_files"])):
            server = self.serve(what)
            server.open()
            result = server.answer("tools/list")["result"]
            self.assertEqual([t["name"] for t in result["tools"]], names)
            self.assertEqual(set(result), {"tools"})
            for tool in result["tools"]:
                self.assertTrue(tool["description"])
                self.assertEqual(tool["inputSchema"]["type"], "object")
                self.assertIs(tool["inputSchema"]["additionalProperties"], False)
            self.assertEqual(server.answer("tools/list", cursor="x")["error"]["code"], -32602)

    def test_not_opened(self):
        server = self.serve()
        self.assertEqual(server.answer("tools/list")["error"]["code"], -32600)
        self.assertEqual(server.answer("tools/call", name="interrupt")["error"]["code"], -32600)
        self.assertEqual(server.answer("initialize")["error"]["code"], -32602)
        server.open()
        self.assertIn("result", server.answer("tools/list"))

    def test_unknown(self):
        server = self.serve()
        server.open()
        self.assertEqual(server.answer("resources/list")["error"]["code"], -32601)
        self.assertEqual(server.answer("tools/call", name="rm")["error"]["code"], -32602)
        self.assertEqual(server.answer("tools/call")["error"]["code"], -32602)
        self.assertEqual(server.answer("tools/call", name="interrupt", arguments=[])["error"]["code"], -32602)
        server.send(method="notifications/whatever")
        server.send(method="notifications/cancelled", params={"requestId": 999})
        server.send(id=5, result={})
        self.assertEqual(server.answer("ping")["result"], {})

    def test_lines(self):
        server = self.serve()
        for line, code in ((b"{", -32700), (b'{"a":"\xff"}', -32700), (b"[]", -32600), (b"3", -32600),
                           (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600)):
            server.raw(line + b"\n")
            message = server.receive()
            self.assertEqual((message["id"], message["error"]["code"]), (None, code))
        server.raw(b'{"jsonrpc":"1.0","id":"a","method":"ping"}\n')
        self.assertEqual(server.receive()["id"], "a")
        server.raw(b'\r\n\n{"jsonrpc":"2.0","id":"b","method":"ping"}\r\n')
        self.assertEqual(server.receive(), {"jsonrpc": "2.0", "id": "b", "result": {}})

    def test_line_too_long(self):
        server = self.serve()
        piece = b"x" * (1 << 20)
        for _ in range(33):
            server.raw(piece)
        server.raw(b"\n")
        self.assertEqual(server.receive()["error"]["code"], -32700)
        self.assertEqual(server.answer("ping")["result"], {})


class Modern(Case):
    def test_discover(self):
        server = self.serve()
        result = server.answer("server/discover", _meta=MODERN)["result"]
        self.assertEqual(result["supportedVersions"], ["2026-07-28"])
        self.assertEqual((result["resultType"], result["cacheScope"]), ("complete", "private"))
        self.assertIsInstance(result["ttlMs"], int)
        self.assertEqual(result["capabilities"], {"tools": {}})
        self.assertEqual(result["_meta"][META + "serverInfo"]["name"], "interpfs")

    def test_list_and_call(self):
        server = self.serve()
        result = server.answer("tools/list", _meta=MODERN)["result"]
        self.assertEqual((result["resultType"], result["cacheScope"]), ("complete", "private"))
        result = server.call("execute_code", {"code": "value"}, _meta=MODERN)
        self.assertEqual(result["resultType"], "complete")
        self.assertNotIn("ttlMs", result)
        self.assertIn("array([1])", text_of(result))

    def test_refusals(self):
        server = self.serve()
        self.assertEqual(server.answer("server/discover")["error"]["code"], -32602)
        self.assertEqual(server.answer("server/discover", _meta={META + "protocolVersion": "2026-07-28"})
                         ["error"]["code"], -32602)
        error = server.answer("tools/list", _meta={**MODERN, META + "protocolVersion": "2030-01-01"})["error"]
        self.assertEqual((error["code"], error["data"]),
                         (-32022, {"supported": ["2026-07-28"], "requested": "2030-01-01"}))
        for method in ("initialize", "ping", "logging/setLevel", "resources/list"):
            self.assertEqual(server.answer(method, _meta=MODERN)["error"]["code"], -32601, method)

    def test_both_in_one_process(self):
        server = self.serve()
        server.answer("server/discover", _meta=MODERN)
        server.open()
        self.assertNotIn("resultType", server.answer("tools/list")["result"])
        self.assertIn("resultType", server.answer("tools/list", _meta=MODERN)["result"])


class Notebook(Case):
    def setUp(self):
        super().setUp()
        self.server = self.serve()
        self.server.open()

    def run_cell(self, code, **more):
        return self.server.call("execute_code", {"code": code, **more})

    def test_outputs(self):
        self.assertRegex(text_of(self.run_cell("print value")), r"^a\nb\narray\(\[1\]\)\n\[cell \d+ ok\]$")
        self.assertRegex(text_of(self.run_cell("json widget")), r'^\{"a":1\}\n\[application/x-widget\]\n\[cell \d+ ok\]$')
        self.assertRegex(text_of(self.run_cell("nothing")), r"^\[cell \d+ ok\]$")

    def test_error(self):
        result = self.run_cell("print error")
        self.assertTrue(result["isError"])
        self.assertRegex(text_of(result), r"^a\nb\nNameError\n  x is not\n\[cell \d+ error NameError\]$")
        self.assertFalse(self.run_cell("print")["isError"])

    def test_pictures(self):
        result = self.run_cell("png png")
        self.assertEqual([c["type"] for c in result["content"]], ["text", "image", "image"])
        self.assertEqual(result["content"][1], {"type": "image", "data": fake_runner.PNG, "mimeType": "image/png"})
        base64.b64decode(result["content"][1]["data"], validate=True)
        self.assertIn("<Figure>\n[picture 1, image/png]\n<Figure>\n[picture 2", text_of(result))
        result = self.run_cell(" ".join(["png"] * 25))
        self.assertEqual(len(result["content"]), 21)
        self.assertEqual(text_of(result).count("[image/png, not shown: more than 20 pictures]"), 5)

    def test_long(self):
        text = text_of(self.run_cell("huge error"))
        self.assertLess(len(text.encode()), 40000)
        self.assertTrue(text.startswith("first\n\u00e4"))
        self.assertRegex(text, r"\n\[… \d+ bytes left out …\]\nä+\nlast\nNameError\n  x is not\n\[cell \d+ error NameError\]$")

    def test_arguments(self):
        for arguments, sentence in (
                ({}, "argument 'code' is missing"),
                ({"code": None}, "argument 'code' is missing"),
                ({"code": ""}, "argument 'code' is empty"),
                ({"code": 5}, "argument 'code' must be a string, not a number"),
                ({"code": "x", "timeout": "5"}, "argument 'timeout' must be a number, not a string"),
                ({"code": "x", "timeout": -1}, "argument 'timeout' must be at least 0, not -1"),
                ({"code": "x", "cell": 1}, "there is no argument 'cell'; the tool takes 'code', 'timeout'")):
            result = self.server.call("execute_code", arguments)
            self.assertTrue(result["isError"])
            self.assertEqual(text_of(result), sentence)
        self.assertEqual(text_of(self.server.call("edit_cell", {"cell": 1.5, "code": "x"})),
                         "argument 'cell' must be an integer, not a number")
        self.assertEqual(text_of(self.server.call("execute_code")), "argument 'code' is missing")
        self.assertEqual([n for n in self.notebook.notes if n.startswith("run")], [])

    def test_what_some_clients_write_for_nothing(self):
        self.assertEqual(text_of(self.server.call("interrupt")), "interrupted")
        self.server.send(id=7, method="tools/call", params={"name": "interrupt", "arguments": None, "_meta": None})
        self.assertEqual(text_of(self.server.receive()["result"]), "interrupted")
        self.server.send(id="8", method="ping", params=None)
        self.assertEqual(self.server.receive(), {"jsonrpc": "2.0", "id": "8", "result": {}})
        self.assertEqual(len(self.server.answer("tools/list", cursor=None)["result"]["tools"]), 4)

    def test_nul(self):
        """Code that is cut at it, or has another character there, is not what was asked for."""
        result = self.run_cell("value # \0 print")
        self.assertTrue(result["isError"])
        self.assertEqual(text_of(result), "the arguments hold a NUL character (U+0000), which no text here can")
        self.assertEqual([n for n in self.notebook.notes if n.startswith("run")], [])
        self.assertIn("array", text_of(self.run_cell("value \\u0000")))

    def test_many_large_pictures(self):
        """An answer is a line, and has room in one."""
        result = self.run_cell("png:9:3900000:0 " * 8 + "png")
        self.assertEqual([c["type"] for c in result["content"]], ["text"] + ["image"] * 5)  # the small one behind them fits
        self.assertEqual(text_of(result).count("not shown: all pictures together would be too large"), 4)
        self.assertLess(len(json.dumps(result)), 25 << 20)

    def test_two_clients(self):
        """Of one notebook: each has its own answers and its own ids."""
        other = self.serve()
        other.open()
        asked = [s.ask("tools/call", name="execute_code", arguments={"code": "second " + word})
                 for s, word in ((self.server, "value"), (other, "print"))]
        self.assertEqual(asked[0], asked[1])
        self.assertIn("array", text_of(self.server.receive()["result"]))
        self.assertIn("a\nb", text_of(other.receive()["result"]))

    def test_requests(self):
        self.run_cell("value", timeout=2.5)
        self.assertIn('run {"code": "value", "timeout": 2.5}', self.notebook.notes)
        self.assertIn("[cell 4 ok]", text_of(self.server.call("edit_cell", {"cell": 4, "code": "value"})))
        self.assertIn('run {"cell": 4, "code": "value"}', self.notebook.notes)
        self.assertEqual(text_of(self.server.call("add_markdown", {"content": "# H\u00e9"})), "[cell 9 added]")
        self.assertIn("markdown # H\u00e9", self.notebook.notes)
        self.assertEqual(text_of(self.server.call("interrupt", {})), "interrupted")
        self.assertIn("command interrupt", self.notebook.notes)

    def test_failures(self):
        for word, sentence in (("refused", "notebook probe: the kernel has died; echo restart > ctl"),
                               ("dropped", "its runner is gone"),
                               ("garbage", "the notebook's answer is not understood")):
            result = self.run_cell(word)
            self.assertTrue(result["isError"])
            self.assertEqual(text_of(result), sentence)

    def test_several_at_once(self):
        held = [self.server.ask("tools/call", name="execute_code", arguments={"code": "held value"}) for _ in range(5)]
        fast = self.server.ask("tools/call", name="execute_code", arguments={"code": "print"})
        self.assertEqual(self.server.receive()["id"], fast)
        with self.notebook.noted:
            self.assertTrue(self.notebook.noted.wait_for(lambda: self.notebook.notes.count("held") == 5, WAIT))
        self.notebook.released.set()
        self.assertEqual(sorted(self.server.receive()["id"] for _ in range(5)), held)

    def test_id_in_use(self):
        self.server.send(id="same", method="tools/call", params={"name": "execute_code", "arguments": {"code": "second"}})
        self.server.send(id="same", method="tools/call", params={"name": "interrupt"})
        self.assertEqual(self.server.receive()["error"]["code"], -32600)
        self.assertIn("result", self.server.receive())

    def test_too_many(self):
        for _ in range(64):
            self.server.ask("tools/call", name="execute_code", arguments={"code": "slow"})
        self.assertIn("64 calls are under way", text_of(self.server.call("interrupt")))

    def test_cancel_leaves_the_cell(self):
        asked = self.server.ask("tools/call", name="execute_code", arguments={"code": "while_running slow"})
        self.assertTrue(self.notebook.wait_note("begun"))
        self.server.send(method="notifications/cancelled", params={"requestId": asked, "reason": "enough"})
        self.assertTrue(self.notebook.wait_note("lost run"))
        self.assertEqual(self.server.answer("ping")["result"], {})  # and nothing before it

    def test_progress(self):
        asked = self.server.ask("tools/call", name="execute_code", arguments={"code": "slow"},
                                _meta={"progressToken": "t"})
        seen = []
        while len(seen) < 2:
            message = self.server.receive()
            self.assertEqual((message["method"], message["params"]["progressToken"]), ("notifications/progress", "t"))
            seen.append(message["params"]["progress"])
        self.assertLess(seen[0], seen[1])
        self.server.send(method="notifications/cancelled", params={"requestId": asked})
        self.assertEqual(self.server.answer("ping")["result"], {})

    def test_ends(self):
        for end in ("eof", signal.SIGINT, signal.SIGTERM):
            server = self.serve()
            server.open()
            server.ask("tools/call", name="execute_code", arguments={"code": "while_running slow"})
            self.assertTrue(self.notebook.wait_note("begun"))
            self.notebook.notes.clear()
            begun = time.monotonic()
            if end != "eof":
                server.p.send_signal(end)
                server.p.wait(WAIT)
            self.assertEqual(server.close(), (0, ""))
            self.assertLess(time.monotonic() - begun, 20)  # the cell would take 30
            self.assertTrue(self.notebook.wait_note("lost run"))  # the cell goes on

    def test_answers_before_the_end(self):
        self.server.raw(b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}\n' % i for i in range(500)))
        self.server.p.stdin.close()
        count = 0
        while self.server.receive() is not None:
            count += 1
        self.assertEqual(count, 500)

    def test_a_start_takes_nothing(self):
        server = self.serve()
        server.answer("server/discover", _meta=MODERN)
        server.close()
        self.assertEqual([n for n in self.notebook.notes if "run" in n], [])


class Sandbox(Case):
    def setUp(self):
        super().setUp()
        self.server = self.serve("sandboxes/3")
        self.server.open()
        self.workspace = self.state + "/sandboxes/3/workspace"

    def test_run_command(self):
        call = self.server.call
        self.assertEqual(text_of(call("run_command", {"command": "echo hi"})), "hi\n")
        self.assertEqual(text_of(call("run_command", {"command": "true"})), "[no output]")
        self.assertEqual(text_of(call("run_command", {"command": "pwd", "cwd": "/"})), "/\n")
        result = call("run_command", {"command": "printf out; echo wrong >&2; exit 3"})
        self.assertTrue(result["isError"])
        self.assertEqual(text_of(result), "out\n[stderr]\nwrong\n[exit 3]")
        self.assertEqual(text_of(call("run_command", {"command": "kill -9 $$"})), "[exit 137]")
        self.assertIn("not found", text_of(call("run_command", {"command": "nosuchcommand"})))

    def test_bytes(self):
        text = text_of(self.server.call("run_command", {"command": r"printf 'a\000\377b\033[1mc\n'"}))
        self.assertEqual(text, "a\ufffdbc\n")

    def test_long(self):
        text = text_of(self.server.call("run_command", {"command": "seq 1000000; seq 1000000 >&2"}))
        self.assertLess(len(text), 60000)
        self.assertTrue(text.startswith("1\n2\n3\n"))
        self.assertIn("\n1000000\n[stderr]\n1\n2\n", text)
        self.assertEqual(text.count("bytes left out"), 2)

    def test_text(self):
        server = self.serve("sandboxes/3", "--text", "1024")
        server.open()
        text = text_of(server.call("run_command", {"command": "seq 10000"}))
        self.assertLess(len(text), 1100)
        self.assertTrue(text.endswith("\n10000\n"))
        self.assertLess(len(text_of(server.call("run_command", {"command": "seq 10000; sleep 60", "timeout": 0.5}))), 1200)

    def test_timeout(self):
        result = self.server.call("run_command", {"command": "sleep 60", "timeout": 0.2})
        self.assertTrue(result["isError"])
        self.assertEqual(text_of(result), "the command was ended after 0.2 s")
        result = self.server.call("run_command", {"command": "printf begun; echo hm >&2; sleep 60", "timeout": 3})
        self.assertEqual(text_of(result), "begun\n[stderr]\nhm\n[the command was ended after 3 s]")

    def test_run_python(self):
        self.assertEqual(text_of(self.server.call("run_python", {"code": "print(6*7)"})), "42\n")
        result = self.server.call("run_python", {"code": "1/0"})
        self.assertTrue(result["isError"])
        self.assertIn("ZeroDivisionError", text_of(result))

    def test_files(self):
        call = self.server.call
        self.assertEqual(text_of(call("write_file", {"path": "a b/'c'.txt", "content": "one\ntwo\nthr\u00e9e\n"})),
                         "15 bytes written to a b/'c'.txt")
        with open(self.workspace + "/a b/'c'.txt") as f:
            self.assertEqual(f.read(), "one\ntwo\nthr\u00e9e\n")
        self.assertEqual(text_of(call("read_file", {"path": "a b/'c'.txt"})), "one\ntwo\nthr\u00e9e\n")
        self.assertEqual(text_of(call("read_file", {"path": "a b/'c'.txt", "offset": 2, "limit": 1})), "two\n")
        self.assertEqual(text_of(call("read_file", {"path": "a b/'c'.txt", "offset": 3})), "thr\u00e9e\n")
        self.assertEqual(text_of(call("write_file", {"path": "-e", "content": ""})), "0 bytes written to -e")
        self.assertEqual(text_of(call("read_file", {"path": "-e"})), "[empty]")
        listed = text_of(call("list_files", {}))
        self.assertIn("a b/", listed)
        self.assertIn("-e", listed)
        self.assertIn("'c'.txt", text_of(call("list_files", {"path": "a b"})))
        self.assertTrue(call("list_files", {"path": "nowhere"})["isError"])
        for path in ("nowhere", "a b"):
            result = call("read_file", {"path": path})
            self.assertTrue(result["isError"])
            self.assertRegex(text_of(result), "No such file|is a directory")
        self.assertTrue(call("write_file", {"path": "a b", "content": "x"})["isError"])

    def test_large_file(self):
        content = "\u00e4\u20ac" * 300000  # 1.5 MB, written in pieces that split no character
        text_of(self.server.call("write_file", {"path": "large", "content": content}))
        with open(self.workspace + "/large") as f:
            self.assertEqual(f.read(), content)
        self.assertIn("bytes left out", text_of(self.server.call("read_file", {"path": "large"})))

    def test_pictures_and_bytes(self):
        os.makedirs(self.workspace, exist_ok=True)
        png = base64.b64decode(fake_runner.PNG)
        for data, told in ((png[:-1], "[image/png, not shown: it is broken or not whole]"), (b"GIF89a, a text", "GIF89a, a text"),
                           (fake_runner.png(1, 1, 5 << 20), "[image/png, not shown: it is larger than 3932160 bytes]")):
            with open(self.workspace + "/q", "wb") as f:
                f.write(data)
            self.assertEqual(text_of(self.server.call("read_file", {"path": "q"})), told)
        with open(self.workspace + "/p.png", "wb") as f:
            f.write(png)
        self.assertEqual(self.server.call("read_file", {"path": "p.png"})["content"],
                         [{"type": "image", "data": fake_runner.PNG, "mimeType": "image/png"}])
        with open(self.workspace + "/b", "wb") as f:
            f.write(b"\1\0" * 100)
        self.assertEqual(text_of(self.server.call("read_file", {"path": "b"})), "[not text: 200 bytes]")

    def test_cancel_ends_the_command(self):
        asked = self.server.ask("tools/call", name="run_command", arguments={"command": "echo x; sleep 60"})
        while not any("sleep 60" in n for n in self.sandbox.notes):
            time.sleep(0.01)
        self.server.send(method="notifications/cancelled", params={"requestId": asked})
        self.assertTrue(self.sandbox.wait_note("close run"))
        self.assertTrue(self.sandbox.wait_note("ended"))
        self.assertEqual(self.server.answer("ping")["result"], {})

    def put(self, **files):
        for name, text in files.items():
            fake_runner.replace(f"{self.sandbox.folder}/{name}", text)

    def test_not_running(self):
        self.sandbox.stop()
        for files, text in (({"want": "2 stopped\n", "status": "2 stopped 0\n"}, "the sandbox is stopped; write start to its ctl"),
                            ({"want": "2 run\n", "status": "2 failed 0\n", "failure": "no such package: nump\n"},
                             "the sandbox has failed: no such package: nump; write start to its ctl")):
            self.put(**files)
            result = self.server.call("run_command", {"command": "true"})
            self.assertTrue(result["isError"])
            self.assertEqual(text_of(result), text)
        self.sandbox.__init__(self.sandbox.folder)  # it is there again: the same server goes on
        self.assertFalse(self.server.call("run_command", {"command": "true"})["isError"])
        self.sandbox.stop()
        os.rename(self.sandbox.folder, self.state + "/gone")
        shutil.rmtree(self.state + "/gone")
        self.assertEqual(text_of(self.server.call("run_command", {"command": "true"})), "the sandbox has been removed")
        self.sandbox = fake_runner.FakeSandbox(self.state + "/sandboxes/3")

    def test_about_to_start(self):
        """A config was closed just now: its runner is not there yet. Calls wait for it, others do not wait for them."""
        for status in "1 draft 0\n", "1 building 0\n":
            self.sandbox.stop()
            self.put(want="2 run\n", status=status)
            asked = [self.server.ask("tools/call", name=name, arguments=arguments) for name, arguments in
                     (("run_command", {"command": "echo hi"}), ("write_file", {"path": "f", "content": "x" * 300000}),
                      ("read_file", {"path": "/dev/null"}))]
            cancelled = self.server.ask("tools/call", name="run_command", arguments={"command": "touch never"})
            exec_ = subprocess.Popen([PROGRAM, "exec", self.sandbox.folder, "--", "echo", "exec"], stdout=subprocess.PIPE)
            self.server.send(method="notifications/cancelled", params={"requestId": cancelled})
            self.assertEqual(self.server.answer("ping")["result"], {})
            self.sandbox.__init__(self.sandbox.folder)
            results = {m["id"]: text_of(m["result"]) for m in (self.server.receive() for _ in asked)}
            self.assertEqual([results[a] for a in asked], ["hi\n", "300000 bytes written to f", "[empty]"])
            self.assertEqual(exec_.stdout.read(), b"exec\n")
            self.assertEqual(exec_.wait(WAIT), 0)
            exec_.stdout.close()
            self.assertFalse(os.path.exists(self.workspace + "/never"))

    def test_mode_none(self):
        with open(self.state + "/sandboxes/3/spec.json", "w") as f:
            json.dump({"fields": {"execution_mode": "none"}}, f)
        server = self.serve("sandboxes/3")
        server.open()
        self.assertEqual(server.answer("tools/list")["result"]["tools"], [])
        self.assertEqual(server.answer("tools/call", name="run_command", arguments={"command": "id"})
                         ["error"]["code"], -32602)


class Paths(Case):
    def run_it(self, *argv):
        return subprocess.run([PROGRAM, "mcp", *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=WAIT)

    def test_in_a_mount(self):
        # What a mount shows: info.json with the kind and the folder.
        seen = self.state + "/seen"
        os.mkdir(seen)
        with open(seen + "/info.json", "w") as f:
            json.dump({"kind": "notebook", "name": "probe", "folder": self.state + "/notebooks/7"}, f)
        server = self.serve("seen")
        server.open()
        shutil.rmtree(seen)  # the mount ends
        self.assertFalse(server.call("execute_code", {"code": "value"})["isError"])
        self.assertEqual(os.readlink(f"/proc/{server.p.pid}/cwd"), "/")

    def test_refused(self):
        os.makedirs(self.state + "/sessions/1")
        open(self.state + "/sessions/1/want", "w").close()
        for argv, status, sentence in (
                ([], 64, "usage: interpfs mcp "),
                (["--helpful"], 64, "usage"),
                (["--text", "5", self.state + "/notebooks/7"], 64, "usage"),
                ([self.state + "/nowhere"], 66, "No such file or directory"),
                ([self.state], 66, "is neither a sandbox nor a notebook"),
                ([self.state + "/sessions/1"], 1, "a session has no tools")):
            p = self.run_it(*argv)
            self.assertEqual((p.returncode, p.stdout), (status, ""), p.stderr)
            self.assertIn(sentence, p.stderr)


class Exec(Case):
    def run_it(self, *argv, **more):
        return subprocess.run([PROGRAM, "exec", *argv], capture_output=True, text=True, timeout=WAIT, **more)

    def test_exec(self):
        path = self.state + "/sandboxes/3"
        p = self.run_it(path, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (7, "out\n", "err\n"))
        p = self.run_it(path, "printf", "%s|", "a b", "--", "$x")
        self.assertEqual((p.returncode, p.stdout), (0, "a b|--|$x|"))
        p = self.run_it(path, "-t", "0.2", "--", "sleep", "60")
        self.assertEqual((p.returncode, p.stderr), (124, "interpfs exec: the command was ended after 0.2 s\n"))
        p = self.run_it(path, "--", "nosuchcommand")
        self.assertEqual((p.returncode, p.stderr), (125, "interpfs exec: nosuchcommand: No such file or directory\n"))
        p = self.run_it(path, "-i", "--", "wc", "-c", input="hello")
        self.assertEqual(p.stdout.strip(), "5")
        p = self.run_it(path, "--", "sh", "-c", "kill -9 $$")
        self.assertEqual(p.returncode, 137)

    def test_large(self):
        p = self.run_it(self.state + "/sandboxes/3", "--", "seq", "1000000")
        self.assertEqual(len(p.stdout), 6888896)

    def test_refused(self):
        for argv in ([], ["x"], ["x", "-t", "y", "z"], ["x", "-t", "-1", "z"], ["-q", "x", "y"], ["x", "--"]):
            self.assertEqual(self.run_it(*argv).returncode, 64, argv)
        p = self.run_it(self.state + "/notebooks/7", "--", "true")
        self.assertEqual(p.returncode, 125)
        self.assertIn("commands run in sandboxes", p.stderr)

    def test_interrupted(self):
        p = subprocess.Popen([PROGRAM, "exec", self.state + "/sandboxes/3", "--", "sh", "-c", "echo begun; sleep 60"],
                             stdout=subprocess.PIPE)
        self.assertEqual(p.stdout.readline(), b"begun\n")
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(WAIT), 130)
        p.stdout.close()
        self.assertTrue(self.sandbox.wait_note("close run"))
        self.assertTrue(self.sandbox.wait_note("ended"))

    def test_interrupted_while_its_reader_sleeps(self):
        p = subprocess.Popen([PROGRAM, "exec", self.state + "/sandboxes/3", "--", "yes"], stdout=subprocess.PIPE)
        self.assertEqual(os.read(p.stdout.fileno(), 2), b"y\n")
        while struct.unpack("i", fcntl.ioctl(p.stdout, termios.FIONREAD, b"\0" * 4))[0] < 60000:
            time.sleep(0.01)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(WAIT), 143)
        p.stdout.close()
        self.assertTrue(self.sandbox.wait_note("ended"))

    def test_nobody_reads(self):
        p = subprocess.Popen([PROGRAM, "exec", self.state + "/sandboxes/3", "--", "yes"], stdout=subprocess.PIPE)
        self.assertEqual(p.stdout.read(2), b"y\n")
        p.stdout.close()
        self.assertEqual(p.wait(WAIT), 141)
        self.assertTrue(self.sandbox.wait_note("ended"))


if __name__ == "__main__":
    unittest.main(warnings="ignore")
