"""The guest as process 1 of a sandbox: GUEST=FILE TMPDIR=FOLDER python3 test_guest.py [TEST]"""
import ctypes
import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from guest import Closed, CREDIT, END, INPUT_CREDIT, Link, Sandbox, field, find_runtime, frame, read  # noqa: E402

GUEST = os.path.abspath(os.environ.get("GUEST", "build/interpfs-guest"))
FOLDER = os.environ.get("TMPDIR", "/tmp")
RUNTIME = None
count = 0


def sandbox():
    global count
    count += 1
    folder = os.path.join(FOLDER, "guest-%d-%d" % (os.getpid(), count))
    os.mkdir(folder, 0o700)
    return Sandbox(RUNTIME, GUEST, folder)


def setUpModule():
    global RUNTIME
    RUNTIME = find_runtime(GUEST, FOLDER)


def is_closed(link, seconds=60):
    try:
        link.until(lambda: False, seconds)
    except (Closed, ConnectionResetError):
        return True
    except AssertionError:
        return False


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Living(unittest.TestCase):
    """One sandbox for all of these; none may end it."""

    @classmethod
    def setUpClass(cls):
        cls.sandbox = sandbox()
        cls.link = cls.sandbox.link

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.remove()

    def tearDown(self):
        self.assertEqual(self.link.wait(self.link.open(b"p")).code, 0, "the guest does not answer any more")

    # ---- commands

    def test_output_is_kept_apart(self):
        a = self.link.run("echo out; echo err >&2; exit 3")
        self.assertEqual((a.out, a.err, a.code, a.status), (b"out\n", b"err\n", 0, 3))

    def test_killed_by_a_signal(self):
        self.assertEqual(self.link.run("kill -9 $$").status, 137)

    def test_no_such_command(self):
        a = self.link.wait(self.link.exec("no-such-command"))
        self.assertEqual((a.code, a.status), (errno.ENOENT, 127))
        self.assertIn("no-such-command", a.text)
        self.assertEqual(self.link.wait(self.link.exec("/tmp")).code, errno.EACCES)

    def test_no_such_folder(self):
        self.assertEqual(self.link.wait(self.link.sh("true", cwd="/nowhere")).code, errno.ENOENT)

    def test_folder_and_environment(self):
        a = self.link.run("pwd; echo $FROM $NEW; env | grep -c ^FROM=", cwd="/usr/bin", env=["FROM=command", "NEW=a=b"])
        self.assertEqual(a.out, b"/usr/bin\ncommand a=b\n1\n")
        self.assertEqual(self.link.run("pwd; echo $FROM $NEW").out, b"/workspace\nsandbox\n")

    def test_own_session_and_group(self):
        a = self.link.run("read -r pid c s parent group session rest </proc/self/stat; echo $$ $group $session")
        pid, group, session = a.out.split()
        self.assertEqual((group, session), (pid, pid))

    def test_nothing_is_inherited(self):
        a = self.link.run("ls /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -n; ulimit -Hn")
        lines = a.out.split(b"\n")
        self.assertEqual(lines[:4], [b"0", b"1", b"2", b"3"])  # 3 is ls's own
        for line in lines[4:6]:
            self.assertEqual(int(line.split()[1], 16), 0, line)

    def test_input(self):
        stream = self.link.exec("sha256sum", has_input=True)
        import hashlib
        data = os.urandom(1 << 20)
        answer, sent = self.link.answers[stream], 0
        while sent < len(data):
            self.link.until(lambda: INPUT_CREDIT - (sent - answer.taken) > 0)
            n = min(INPUT_CREDIT - (sent - answer.taken), 65536, len(data) - sent)
            self.link.send(frame(stream, b"I", data[sent:sent + n]))
            sent += n
        self.link.send(frame(stream, b"Z"))
        self.assertEqual(self.link.wait(stream).out.split()[0].decode(), hashlib.sha256(data).hexdigest())

    def test_input_that_nobody_reads(self):
        stream = self.link.sh("exec <&-; echo closed; sleep 0.05; echo end", has_input=True)
        self.link.until(lambda: b"closed" in self.link.answers[stream].out)
        self.link.send(frame(stream, b"I", b"x" * 1000))
        self.link.send(frame(stream, b"I", b"x" * 1000) + frame(stream, b"Z"))
        self.assertEqual(self.link.wait(stream).out, b"closed\nend\n")

    def test_without_input(self):
        self.assertEqual(self.link.run("cat; readlink /proc/self/fd/0").out, b"/dev/null\n")

    def test_unread_output_holds_up_nobody(self):
        unread = self.link.sh("head -c 104857600 /dev/zero")
        self.link.paused.add(unread)
        answer = self.link.answers[unread]
        self.link.until(lambda: len(answer.out) == CREDIT)
        for i in range(20):
            self.assertEqual(self.link.run("echo %d" % i).out, b"%d\n" % i)
        self.assertEqual(len(answer.out), CREDIT)
        self.link.paused.discard(unread)
        self.link.window(unread, answer.unreturned)
        answer.unreturned = 0
        # Count, do not keep.
        total = [len(answer.out)]
        while not answer.ended:
            self.assertTrue(self.link.receive(10))
            total[0] += len(answer.out) if answer.out is not None else 0
            answer.out = b""
        self.assertEqual(total[0] - CREDIT, 104857600)
        self.assertEqual(answer.status, 0)

    def test_all_output_of_a_short_command(self):
        for n in (1, 65536, 200000):
            self.assertEqual(len(self.link.run("head -c %d /dev/zero" % n).out), n)

    def test_output_waits_for_credit_after_the_end(self):
        stream = self.link.sh("head -c 300000 /dev/zero")
        self.link.paused.add(stream)
        answer = self.link.answers[stream]
        self.link.until(lambda: len(answer.out) == CREDIT)
        self.assertFalse(answer.ended)
        self.link.window(stream, CREDIT)
        answer.unreturned = 0
        self.assertEqual(len(self.link.wait(stream).out), 300000)

    def test_a_background_child_keeps_the_pipe(self):
        a = self.link.run("sleep 1000 & echo started; exit 4")
        self.assertEqual((a.out, a.status), (b"started\n", 4))
        self.end("sleep 1000")

    def test_signals_reach_the_group(self):
        stream = self.link.sh("trap 'echo got; exit 5' USR1; sleep 1003 & echo ready; wait; echo no")
        self.link.until(lambda: b"ready" in self.link.answers[stream].out)
        # Before its exec, the shell's child would catch the signal as the shell does.
        # The newline tells it from the shell's own line, which has the same words in it.
        self.assertTrue(eventually(lambda: b"sleep 1003\n" in self.table()))
        self.link.signal(stream, signal.SIGUSR1)
        a = self.link.wait(stream)
        self.assertEqual((a.out, a.status), (b"ready\ngot\n", 5))
        self.assertTrue(eventually(lambda: b"sleep 1003" not in self.table()), self.table())

    def test_term_is_followed_by_kill(self):
        stream = self.link.sh("trap '' TERM; echo ready; while :; do sleep 0.1; done")
        self.link.until(lambda: b"ready" in self.link.answers[stream].out)
        start = time.monotonic()
        self.link.signal(stream, signal.SIGTERM)
        self.assertEqual(self.link.wait(stream).status, 137)
        self.assertGreater(time.monotonic() - start, 1.5)

    def test_wrong_signals_do_nothing(self):
        stream = self.link.sh("echo ready; sleep 0.2; echo end")
        for number in (0, 65, 1 << 31, 0xFFFFFFFF):
            self.link.signal(stream, number)
        self.assertEqual(self.link.wait(stream).out, b"ready\nend\n")

    def test_many_at_once(self):
        streams = [self.link.sh("echo %d; sleep 0.1" % i) for i in range(100)]
        for i, stream in enumerate(streams):
            self.assertEqual(self.link.wait(stream).out, b"%d\n" % i)

    # ---- processes

    def table(self):
        return self.link.wait(self.link.open(b"t")).out

    def end(self, words):
        """Kills what has these words in its command, inside."""
        def gone():  # a process has no words for a moment while it begins a program
            found = [line.split()[0] for line in self.table().decode().splitlines() if words in line]
            for pid in found:
                self.link.run("kill -9 " + pid)
            return not found
        self.assertTrue(eventually(lambda: gone() and gone()), self.table())

    def test_processes(self):
        stream = self.link.sh("exec sleep 77")
        lines = []

        def seen():
            lines[:] = [x for x in self.table().split(b"\n") if x.endswith(b"sleep 77") and b" S " in x]
            return bool(lines)

        self.assertTrue(eventually(seen))
        pid, parent, state, seconds, kb, _ = lines[0].split(None, 5)
        self.assertEqual((parent, state), (b"1", b"S"))
        self.assertTrue(pid.isdigit() and seconds.isdigit() and kb.isdigit())
        self.assertEqual(self.table().split(b"\n")[0].split()[0], b"1")
        self.link.signal(stream, 9)
        self.assertEqual(self.link.wait(stream).status, 137)

    def test_a_name_begins_no_line(self):
        stream = self.link.exec("/bin/sh", "-c", "sleep 1004; :", "a\n9 9 R 9 9 forged")
        self.assertTrue(eventually(lambda: b"forged" in self.table()))
        self.assertNotIn(b"\n9 9 R 9 9 forged", self.table())
        self.link.signal(stream, signal.SIGKILL)
        self.link.wait(stream)

    def test_orphans_are_reaped(self):
        self.link.run("for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.05' &) ; done")
        self.assertTrue(eventually(lambda: b" Z " not in self.table() and b"sleep 0.05" not in self.table()), self.table())

    # ---- descriptors

    def test_connect(self):
        server = self.link.sh(
            "exec python3 -c \"import socket; s = socket.socket(socket.AF_UNIX); s.bind('/run/x'); s.listen(1);"
            " print('up', flush=True); c, _ = s.accept(); c.sendall(b'hello ' + c.recv(10))\"")
        self.link.until(lambda: self.link.answers[server].out == b"up\n" or self.link.answers[server].ended)
        a = self.link.wait(self.link.open(b"c", field(b"a", "/run/x")))
        self.assertEqual((a.code, len(a.fds)), (0, 1), a.text)
        s = socket.socket(fileno=a.fds[0])
        s.setblocking(True)
        s.sendall(b"you")
        self.assertEqual(s.recv(100), b"hello you")
        s.close()
        self.link.wait(server)

    def test_connect_tcp(self):
        server = self.link.sh(
            "exec python3 -c \"import socket; s = socket.create_server(('127.0.0.1', 8000));"
            " print('up', flush=True); c, _ = s.accept(); c.sendall(b'hello')\"")
        self.link.until(lambda: self.link.answers[server].out == b"up\n" or self.link.answers[server].ended)
        self.assertEqual(self.link.answers[server].err, b"")
        a = self.link.wait(self.link.open(b"c", field(b"a", "tcp:8000")))
        self.assertEqual(a.code, 0, a.text)
        s = socket.socket(fileno=a.fds[0])
        s.setblocking(True)
        self.assertEqual(s.recv(100), b"hello")
        s.close()
        self.link.wait(server)

    def test_connect_to_nothing(self):
        for address, code in (("/run/nobody", errno.ENOENT), ("tcp:0", errno.EINVAL), ("tcp:65536", errno.EINVAL),
                              ("tcp:1x", errno.EINVAL), ("relative", errno.EINVAL), ("", errno.EINVAL),
                              ("/" + "x" * 200, errno.ENAMETOOLONG)):
            a = self.link.wait(self.link.open(b"c", field(b"a", address)))
            self.assertEqual((a.code, a.fds), (code, []), address)

    def test_root_folder(self):
        a = self.link.wait(self.link.open(b"r"))
        self.assertEqual((a.code, len(a.fds)), (0, 1), a.text)
        self.link.run("mkdir -p /tmp/in; echo inside >/tmp/in/file; ln -sfn / /tmp/up; ln -sfn /etc/passwd /tmp/secret")
        root = a.fds[0]

        def read_inside(path):  # openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
            how = struct.pack("<QQQ", os.O_RDONLY | os.O_CLOEXEC, 0, 0x10 | 0x02)
            fd = ctypes.CDLL(None, use_errno=True).syscall(437, root, path.encode(), how, len(how))
            if fd < 0:
                return errno.errorcode[ctypes.get_errno()]
            with open(fd, "rb") as f:
                return f.read()

        self.assertEqual(read_inside("tmp/in/file"), b"inside\n")
        self.assertEqual(read_inside("/tmp/up/tmp/in/file"), b"inside\n")
        self.assertEqual(read_inside("tmp/secret"), "ENOENT")  # the host has one, this sandbox does not
        self.assertEqual(read_inside("proc/1/root/etc/passwd"), "ELOOP")
        os.close(root)

    def test_many_descriptors(self):
        streams = [self.link.open(b"r") for _ in range(300)]
        for stream in streams:
            a = self.link.wait(stream)
            self.assertEqual((a.code, len(a.fds)), (0, 1), a.text)
            os.close(a.fds[0])

    # ---- connections

    def test_connections_are_apart(self):
        other = self.sandbox.another()
        mine, its = self.link.sh("sleep 0.1; echo mine"), other.sh("echo its")
        self.assertEqual(other.wait(its).out, b"its\n")
        self.assertEqual(self.link.wait(mine).out, b"mine\n")
        other.close()

    def test_peer_is_the_guest(self):
        other = self.sandbox.another()
        other.wait(other.open(b"p"))
        pid, _, _ = struct.unpack("iII", other.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self.assertEqual(pid, self.sandbox.pid)
        other.close()

    def test_a_lost_connection_ends_nothing(self):
        other = self.sandbox.another()
        stream = other.sh("echo up; head -c 10000000 /dev/zero; echo done >/tmp/lost; sleep 1001")
        other.until(lambda: other.answers[stream].out)
        other.close()
        self.assertTrue(eventually(lambda: self.link.run("cat /tmp/lost 2>/dev/null").out == b"done\n"))
        self.assertIn(b"sleep 1001", self.table())
        self.end("sleep 1001")

    def test_a_flood_without_a_reader_does_not_keep_the_loop(self):
        other = self.sandbox.another()
        stream = other.exec("python3", "-c", "import fcntl, os\ntry: fcntl.fcntl(1, 1031, 1 << 20)\n"
                            "except PermissionError: pass  # its user has too many pipes\nb = bytes(1 << 20)\nwhile True: os.write(1, b)")
        other.until(lambda: other.answers[stream].out)
        other.close()
        for _ in range(20):
            self.assertEqual(self.link.run("echo x").out, b"x\n")
        self.end("fcntl")

    def test_one_connection_too_many(self):
        others = [self.sandbox.another() for _ in range(31)]
        for other in others:
            self.assertEqual(other.wait(other.open(b"p")).code, 0)
        extra = self.sandbox.another()
        self.assertTrue(is_closed(extra))
        extra.close()
        for other in others:
            other.close()

        def accepted():
            link = self.sandbox.another()
            try:
                return link.wait(link.open(b"p"), 1).code == 0
            except (Closed, ConnectionError, AssertionError):
                return False
            finally:
                link.close()

        self.assertTrue(eventually(accepted))

    # ---- what is no frame

    def test_garbage_closes_its_connection_only(self):
        running = self.link.sh("sleep 0.3; echo still")
        long = struct.pack("<IIc3x", 65537, 1, b"O")
        for name, data in {
            "too long": long,
            "reserved byte": b"\0" * 10 + b"\1\0",
            "unknown type": frame(1, b"?"),
            "a guest's frame": frame(1, END, b"\0" * 8),
            "no stream": frame(0, b"O", b"p"),
            "no operation": frame(1, b"O"),
            "field cut": frame(1, b"O", b"xa\1\0\0"),
            "field past the end": frame(1, b"O", b"xa\xff\0\0\0x"),
            "field of 4 GiB": frame(1, b"O", b"xa\xff\xff\xff\xffx"),
            "field with NUL": frame(1, b"O", b"x" + field(b"a", "a\0b")),
            "unknown field": frame(1, b"O", b"x" + field(b"?", "")),
            "too many fields": frame(1, b"O", b"x" + field(b"a", "") * 4096),
            "stream in use": frame(1, b"O", b"x" + field(b"a", "sleep") + field(b"a", "1")) * 2,
            "signal of 3 bytes": frame(1, b"K", b"\0\0\0"),
            "credit of 5 bytes": frame(1, b"W", b"\0" * 5),
            "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "random": bytes(range(255, 0, -1)) * 10,
        }.items():
            with self.subTest(name):
                other = self.sandbox.another()
                other.answers[1] = type("Any", (), dict(ended=False))()
                other.take = lambda *_: None
                other.send(data)
                self.assertTrue(is_closed(other), name)
                other.close()
        self.assertEqual(self.link.wait(running).out, b"still\n")

    def test_input_past_its_credit(self):
        other = self.sandbox.another()
        stream = other.sh("exec sleep 3", has_input=True)
        try:
            other.send(frame(stream, b"I", b"x" * 65536) * 4)
        except BrokenPipeError:
            pass  # closed before all was written
        self.assertTrue(is_closed(other))
        other.close()

    def test_late_frames_are_ignored(self):
        stream = self.link.sh("true")
        self.link.wait(stream)
        self.link.send(frame(stream, b"I", b"x") + frame(stream, b"Z") + frame(stream, b"K", struct.pack("<I", 9)) +
                       frame(stream, b"W", struct.pack("<I", 0xFFFFFFFF)))

    def test_an_operation_of_tomorrow(self):
        self.assertEqual(self.link.wait(self.link.open(b"%")).code, errno.ENOSYS)

    def test_a_deadline_that_is_none(self):
        for text in ("", "x", "-1", "1e9", "99999999999999999999999"):
            self.assertEqual(self.link.wait(self.link.open(b"d", field(b"a", text))).code, errno.EINVAL, text)

    def test_more_streams_than_can_be(self):
        other = self.sandbox.another()
        streams = [other.exec("sleep", "1002") for _ in range(1030)]
        other.until(lambda: sum(other.answers[s].ended for s in streams) >= 6, 60)
        ended = {other.answers[s].code for s in streams if other.answers[s].ended}
        self.assertLessEqual(ended, {errno.EMFILE, errno.EAGAIN})
        for s in streams:
            if not other.answers[s].ended:
                other.signal(s, 9)
        for s in streams:
            other.wait(s)
        other.close()


class Ending(unittest.TestCase):
    def started(self):
        s = sandbox()
        self.addCleanup(s.remove)
        return s

    def test_quit(self):
        s = self.started()
        running = s.link.sh("trap '' TERM; echo up; while :; do sleep 1; done")
        s.link.until(lambda: s.link.answers[running].out)
        self.assertEqual(s.link.wait(s.link.open(b"q")).code, 0)
        self.assertEqual(s.link.wait(running).code, errno.ENOTCONN)
        self.assertTrue(s.wait_gone(60))
        self.assertEqual(s.record(), [["started", "1"], ["stopped", "0"]])

    def test_deadline(self):
        s = self.started()
        polite = s.link.sh("trap 'echo saved >/workspace/saved; exit 0' TERM; echo up; while :; do sleep 0.05; done")
        stubborn = s.link.sh("trap '' TERM; echo up; while :; do sleep 0.05; done")
        s.link.until(lambda: s.link.answers[stubborn].out and s.link.answers[polite].out)
        self.assertEqual(s.link.wait(s.link.open(b"d", field(b"a", "1"))).code, 0)
        self.assertEqual(s.link.wait(stubborn).code, errno.ETIMEDOUT)
        self.assertTrue(s.wait_gone(60))
        self.assertEqual(s.record(), [["started", "1"], ["timeout", "124"]])
        self.assertEqual(read(os.path.join(s.folder, "root/workspace/saved")), "saved\n")

    def test_deadline_moves(self):
        s = self.started()
        for stream in [s.link.open(b"d", field(b"a", seconds)) for seconds in ("3", "0")]:
            self.assertEqual(s.link.wait(stream).code, 0)
        self.assertFalse(s.wait_gone(3.5))
        self.assertEqual(s.link.wait(s.link.open(b"d", field(b"a", "1"))).code, 0)
        self.assertTrue(s.wait_gone(60))
        self.assertEqual(s.record()[-1], ["timeout", "124"])

    def test_killed(self):
        s = self.started()
        running = s.link.sh("echo up; sleep 1000")
        s.link.until(lambda: s.link.answers[running].out)
        os.kill(s.pid, signal.SIGKILL)
        self.assertTrue(is_closed(s.link))
        self.assertTrue(s.wait_gone(60))
        self.assertEqual(s.record(), [["started", "1"]])

    def test_terminated_from_outside_only(self):
        s = self.started()
        for name in ("TERM", "INT", "HUP", "QUIT", "KILL", "STOP", "SEGV", "USR1", "PIPE"):
            s.link.run("kill -%s 1" % name)
        s.link.run("kill -TERM -1")
        self.assertEqual(s.link.run("echo alive").out, b"alive\n")
        os.kill(s.pid, signal.SIGTERM)
        self.assertTrue(s.wait_gone(60))
        self.assertEqual(s.record(), [["started", "1"], ["terminated", "143"]])

    def test_fork_bomb_and_deadline(self):
        # Processes that come and go as fast as they can: the deadline is kept.
        s = self.started()
        for _ in range(4):
            s.link.sh("while :; do /bin/true & /bin/true & wait; done")
        s.link.open(b"d", field(b"a", "2"))
        self.assertTrue(s.wait_gone(60))
        self.assertEqual(s.record()[-1], ["timeout", "124"])

    def test_nowhere_else(self):
        done = subprocess.run([GUEST, "1"], stdin=subprocess.DEVNULL, capture_output=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"process 1", done.stderr)


class Adopted(unittest.TestCase):
    """As one process of many, in a container that somebody else has started; here, of this machine."""

    def setUp(self):
        global count
        count += 1
        self.folder = os.path.join(FOLDER, "guest-%d-%d" % (os.getpid(), count))
        self.token = os.urandom(16).hex()
        self.file = os.path.join(self.folder, "guest-" + self.token)
        os.mkdir(self.folder, 0o700)
        shutil.copy(GUEST, self.file)
        self.other = subprocess.Popen(["sleep", "300"])
        ours, theirs = socket.socketpair()
        self.guest = subprocess.Popen([self.file, "adopted", self.token], stdin=theirs, stdout=theirs, cwd=self.folder)
        theirs.close()
        self.link = Link(ours)

    def tearDown(self):
        for p in (self.guest, self.other):
            p.kill()
            p.wait()
        self.link.close()
        shutil.rmtree(self.folder)

    def orphan(self, text):
        pid = int(self.link.run("(%s) >/dev/null 2>&1 & echo $!" % text).out)
        self.assertTrue(eventually(lambda: read("/proc/%d/stat" % pid).rsplit(")", 1)[1].split()[1] == str(self.guest.pid)))
        return pid

    def ends(self, status, *processes):
        self.assertEqual(self.guest.wait(60), status)
        for pid in processes:
            self.assertFalse(os.path.exists("/proc/%d" % pid), "what it had started is left")
        self.assertFalse(os.path.exists(self.file), "its file is left")
        self.assertIsNone(self.other.poll(), "somebody else's process was ended")

    def test_quit_ends_its_own_only(self):
        self.assertEqual(self.link.run("pwd").out.decode().strip(), self.folder)
        processes = [self.orphan("exec sleep 300"), self.orphan("sleep 300 & wait")]
        self.link.open(b"q")
        self.ends(0, *processes)

    def test_deadline(self):
        self.link.run("echo begun >begun")
        process = self.orphan("trap 'echo saved >saved; exit' TERM; echo ready >ready; while :; do sleep 0.1; done")
        self.assertTrue(eventually(lambda: os.path.exists(self.folder + "/ready")))
        self.link.open(b"d", field(b"a", "1"))
        self.ends(124, process)
        self.assertEqual(read(self.folder + "/saved"), "saved\n")

    def test_terminated(self):
        process = self.orphan("exec sleep 300")
        self.guest.terminate()
        self.ends(143, process)

    def test_a_lost_connection_ends_nothing(self):
        process = self.orphan("exec sleep 300")
        self.link.sh("cat; echo lost >lost", has_input=True)
        self.link.close()
        self.assertTrue(eventually(lambda: os.path.exists(self.folder + "/lost")))
        self.assertIsNone(self.guest.poll())
        os.kill(process, signal.SIGKILL) # it is there
        self.guest.terminate()
        self.ends(143, process)

    def test_nobody_from_inside_is_let_in(self):
        self.assertEqual(self.link.run("true").status, 0)
        s = socket.socket(socket.AF_UNIX)
        s.connect(b"\0interpfs-guest-" + self.token.encode())
        s.settimeout(60)
        self.assertEqual(s.recv(1), b"")
        s.close()


if __name__ == "__main__":
    unittest.main()
