"""The calls of a sandbox's runner, spoken as base/talk.h says: calls.py FOLDER MOUNTED [TEST].
FOLDER is the sandbox's, MOUNTED its folder in the mount. It has Jupyter Server already."""
import array
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import unittest
import urllib.request

FOLDER = MOUNTED = None


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def read(path):
    with open(path) as f:
        return f.read()


class Call:
    def __init__(self, name, request=b""):
        here = os.open(FOLDER, os.O_PATH)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/proc/self/fd/%d/run/sock" % here)
        os.close(here)
        self.out, self.err, self.fds, self.bytes, self.end = b"", b"", [], b"", None
        request = request if isinstance(request, bytes) else request.encode()
        self.send(b"A", name.encode())
        for at in range(0, len(request), 65536):
            self.send(b"D", request[at:at + 65536])
        self.send(b"G")

    def send(self, kind, payload=b""):
        self.sock.sendall(struct.pack("<IIc3x", len(payload), 0, kind) + payload)

    def until(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            if not select.select([self.sock], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError("not within %s s; so far %r" % (seconds, self.out[-200:]))
            data, control, _, _ = self.sock.recvmsg(1 << 18, socket.CMSG_SPACE(4 * 4))
            for _, _, value in control:
                fds = array.array("i")
                fds.frombytes(value)
                self.fds += fds
            if not data:
                raise ConnectionError("the runner hung up")
            self.bytes += data
            while len(self.bytes) >= 12:
                length, _, kind = struct.unpack_from("<IIc3x", self.bytes)
                if len(self.bytes) < 12 + length:
                    break
                payload, self.bytes = self.bytes[12:12 + length], self.bytes[12 + length:]
                if kind == b"D" and payload[0] == 1:
                    self.out += payload[1:]
                elif kind == b"D":
                    self.err += payload[1:]
                elif kind == b"E":
                    self.end = json.loads(payload)

    def wait(self, seconds=120):
        self.until(lambda: self.end is not None, seconds)
        self.sock.close()
        return self

    @property
    def code(self):
        return self.end["errno"]


def run(**request):
    return Call("run", json.dumps(request)).wait()


def processes():
    return Call("exec", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").wait().out


class Calls(unittest.TestCase):
    def test_run(self):
        c = run(argv=["/bin/sh", "-c", "pwd; echo $A; cat; echo err >&2; exit 9"], cwd="/tmp", env={"A": "b c"}, input="in\n")
        self.assertEqual((c.out, c.err, c.code, c.end["exit"]), (b"/tmp\nb c\nin\n", b"err\n", 0, 9))
        self.assertEqual(run(shell="echo $0; exit 3").end["exit"], 3)
        self.assertEqual(run(python="print(6 * 7)").out, b"42\n")
        self.assertEqual(run(argv=["no-such-thing"]).code, errno.ENOENT)

    def test_what_is_no_request(self):
        for text in ("", "[]", "{", "{}", '{"argv": []}', '{"argv": [1]}', '{"argv": "ls"}'):
            self.assertEqual(Call("run", text).wait().code, errno.EINVAL, text)
        self.assertEqual(Call("exec", b"echo a\0b").wait().code, errno.EINVAL)
        self.assertEqual(Call("fly", "").wait().code, errno.EINVAL)

    def test_a_timeout(self):
        c = run(shell="echo before; sleep 1101 & sleep 1101", timeout=2)
        self.assertEqual((c.code, c.out), (errno.ETIMEDOUT, b"before\n"))
        self.assertTrue(eventually(lambda: b"sleep 1101" not in processes()))
        c = run(shell="trap '' TERM; while :; do sleep 0.1; done", timeout=0.1)
        self.assertEqual(c.code, errno.ETIMEDOUT)

    def test_a_long_program(self):
        lines = "".join("x = %d\n" % i for i in range(20000))
        self.assertEqual(Call("python", lines + "print(x)\n").wait().out, b"19999\n")
        self.assertEqual(Call("exec", ("# " + "-" * 1000 + "\n") * 200 + "echo end; exit 4").wait().end["exit"], 4)

    def test_unread_holds_up_nobody(self):
        unread = Call("exec", "head -c 104857600 /dev/zero; echo end >&2")
        for i in range(20):
            self.assertEqual(Call("exec", "echo %d" % i).wait().out, b"%d\n" % i)
        total = 0
        while unread.end is None:
            unread.until(lambda: unread.out or unread.end)
            total, unread.out = total + len(unread.out), b""
        self.assertEqual((total, unread.err), (104857600, b"end\n"))
        unread.sock.close()

    def test_close_ends_the_group(self):
        c = Call("exec", "sleep 1102 & echo up; head -c 10000000 /dev/zero; sleep 1102")
        c.until(lambda: c.out)
        c.send(b"X")
        self.assertTrue(eventually(lambda: b"sleep 1102" not in processes()))
        c.sock.close()

    def test_a_lost_connection_ends_nothing(self):
        # It says nothing before its client has gone: what comes earlier may be in a socket that nobody reads.
        c = Call("exec", "echo up; until [ -e /root/alone ]; do sleep 0.05; done; echo 'said to nobody'; exit 5")
        c.until(lambda: c.out)
        c.sock.close()
        Call("exec", "touch /root/alone").wait()
        self.assertTrue(eventually(lambda: "said to nobody\n" in read(FOLDER + "/log")))

    def test_descriptors(self):
        c = Call("root").wait()
        self.assertEqual((c.code, len(c.fds)), (0, 1))
        self.assertIn("workspace", os.listdir("/proc/self/fd/%d" % c.fds[0]))
        os.close(c.fds[0])
        server = Call("python", "import socket\ns = socket.create_server(('127.0.0.1', 7000))\nprint('up', flush=True)\n"
                      "c, _ = s.accept()\nc.sendall(b'hello ' + c.recv(9))\n")
        server.until(lambda: server.out or server.end)
        c = Call("connect", "tcp:7000").wait()
        self.assertEqual((c.code, len(c.fds)), (0, 1), c.end)
        s = socket.socket(fileno=c.fds[0])
        s.setblocking(True)
        s.sendall(b"you")
        self.assertEqual(s.recv(100), b"hello you")
        s.close()
        server.wait()
        self.assertEqual(Call("connect", "/no/socket").wait().code, errno.ENOENT)


class Jupyter(unittest.TestCase):
    def ask(self):
        c = Call("jupyter").wait(90)
        self.assertEqual(c.code, 0, c.end)
        return json.loads(c.out)

    def status(self, url, token):
        with urllib.request.urlopen(urllib.request.Request(url + "api/status", headers={"Authorization": "token " + token}),
                                    timeout=60) as f:
            return f.status

    def test_1_it_starts_once(self):
        first, second = Call("jupyter"), Call("jupyter")
        a, b = json.loads(first.wait(90).out), json.loads(second.wait(90).out)
        self.assertEqual(a, b)
        self.assertEqual(self.status(a["url"], a["token"]), 200)
        with self.assertRaises(urllib.error.HTTPError):
            self.status(a["url"], "0" * len(a["token"]))
        self.assertEqual(os.stat(a["socket"]).st_mode & 0o777, 0o600)
        self.assertTrue(read(MOUNTED + "/jupyter").startswith(a["url"]))
        self.assertEqual(processes().count(b"ServerApp.sock="), 1)
        self.assertNotIn(a["token"].encode(), processes())
        self.assertNotIn(a["token"], read(FOLDER + "/log") + read(FOLDER + "/jupyter.log"))

    def test_2_many_connections(self):
        a = self.ask()
        idle = []
        here = os.open(os.path.dirname(a["socket"]), os.O_PATH)
        for i in range(400):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.connect("/proc/self/fd/%d/jupyter.sock" % here)
            idle.append(s)
        os.close(here)
        request = ("GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: token %s\r\n\r\n"
                   % a["token"]).encode()
        self.assertEqual(self.status(a["url"], a["token"]), 200)
        self.assertEqual(Call("exec", "echo x").wait().out, b"x\n")
        for s in idle[::40]:
            s.sendall(request)
            s.settimeout(60)
            self.assertEqual(s.recv(100)[:12], b"HTTP/1.1 200")

    def test_3_its_death_is_noticed(self):
        a = self.ask()
        Call("exec", "for p in /proc/[0-9]*; do case $(tr '\\0' ' ' <$p/cmdline) in *ServerApp.sock=*) kill -9 ${p#/proc/};;"
             " esac; done 2>/dev/null").wait()
        self.assertTrue(eventually(lambda: not read(MOUNTED + "/jupyter")))
        self.assertIn("Jupyter Server ended with status 137", read(FOLDER + "/log"))
        b = self.ask()
        self.assertEqual(a, b)
        self.assertEqual(self.status(b["url"], b["token"]), 200)

    def test_4_a_new_runner_finds_it(self):
        a = self.ask()
        inside = Call("exec", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c ServerApp.sock=; cat /proc/uptime >/tmp/mark").wait()
        self.assertEqual(inside.code, 0)
        runner = int(read(FOLDER + "/run/pid").split()[0])
        os.kill(runner, signal.SIGKILL)

        def another():
            try:
                return int(read(FOLDER + "/run/pid").split()[0]) != runner and Call("exec", "true").wait().code == 0
            except (OSError, ValueError, IndexError):
                return False

        self.assertTrue(eventually(another))
        self.assertEqual(self.ask(), a)
        self.assertEqual(self.status(a["url"], a["token"]), 200)
        self.assertEqual(processes().count(b"ServerApp.sock="), 1)


if __name__ == "__main__":
    FOLDER, MOUNTED = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
