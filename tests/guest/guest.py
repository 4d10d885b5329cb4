"""A sandbox with the real guest as process 1, and the protocol of docs/guest-protocol.md spoken to
it by hand: what the runner's end does in C, written a second time from the page alone."""
import array
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import time

STDOUT, STDERR, PASSED, TAKEN, END = b"o", b"e", b"F", b"w", b"E"
CREDIT, INPUT_CREDIT = 262144, 65536


def frame(stream, kind, payload=b""):
    return struct.pack("<IIc3x", len(payload), stream, kind) + payload


def read(path):
    with open(path) as f:
        return f.read()


def field(tag, text):
    text = text if isinstance(text, bytes) else text.encode()
    return tag + struct.pack("<I", len(text)) + text


class Closed(Exception):
    pass


class Answer:
    """What came on one stream."""

    def __init__(self):
        self.out, self.err, self.fds, self.taken = b"", b"", [], 0
        self.code = self.status = self.text = None
        self.unreturned = 0

    @property
    def ended(self):
        return self.code is not None


class Link:
    def __init__(self, sock):
        self.sock = sock
        self.next = 1
        self.bytes = b""
        self.fds = []
        self.answers = {}
        self.paused = set()  # streams whose credit is not given back

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.setblocking(True)
        self.sock.sendall(data)

    def open(self, operation, *fields):
        stream = self.next
        self.next += 1
        self.answers[stream] = Answer()
        self.send(frame(stream, b"O", operation + b"".join(fields)))
        return stream

    def exec(self, *argv, env=(), cwd=None, has_input=False):
        fields = [field(b"a", a) for a in argv] + [field(b"v", v) for v in env]
        if cwd:
            fields.append(field(b"c", cwd))
        if has_input:
            fields.append(field(b"i", b""))
        return self.open(b"x", *fields)

    def sh(self, text, **more):
        return self.exec("/bin/sh", "-c", text, **more)

    def signal(self, stream, number):
        self.send(frame(stream, b"K", struct.pack("<I", number)))

    def window(self, stream, n):
        self.send(frame(stream, b"W", struct.pack("<I", n)))

    def receive(self, timeout):
        """Takes what has come. False after `timeout` seconds without anything."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return False
        data, control, _, _ = self.sock.recvmsg(1 << 18, socket.CMSG_SPACE(4 * 8))
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
                self.fds += fds
        if not data:
            raise Closed()
        self.bytes += data
        at = 0
        while len(self.bytes) - at >= 12:
            length, stream, kind = struct.unpack_from("<IIc3x", self.bytes, at)
            assert length <= 65536, length
            assert self.bytes[at + 9:at + 12] == b"\0\0\0"
            if len(self.bytes) - at - 12 < length:
                break
            self.take(stream, kind, self.bytes[at + 12:at + 12 + length])
            at += 12 + length
        self.bytes = self.bytes[at:]
        return True

    def take(self, stream, kind, payload):
        a = self.answers[stream]
        assert not a.ended, "a frame behind END"
        if kind in (STDOUT, STDERR):
            if kind == STDOUT:
                a.out += payload
            else:
                a.err += payload
            a.unreturned += len(payload)
            assert a.unreturned <= CREDIT, "more output than credit"
            if stream not in self.paused and a.unreturned >= CREDIT // 4:
                self.window(stream, a.unreturned)
                a.unreturned = 0
        elif kind == PASSED:
            a.fds.append(self.fds.pop(0))
        elif kind == TAKEN:
            a.taken += struct.unpack("<I", payload)[0]
        elif kind == END:
            a.code, a.status = struct.unpack_from("<ii", payload)
            a.text = payload[8:].decode()
        else:
            raise AssertionError("an unknown frame %r" % kind)

    def until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0 or not self.receive(left):
                raise AssertionError("not within %s s" % seconds)

    def wait(self, stream, seconds=60):
        a = self.answers[stream]
        self.until(lambda: a.ended, seconds)
        return a

    def run(self, text, **more):
        return self.wait(self.sh(text, **more))


class Sandbox:
    """One container. `runtime`: runc or crun; `guest`: the program; `folder`: scratch, new."""

    def __init__(self, runtime, guest, folder):
        self.runtime, self.folder = runtime, folder
        self.name = "interpfs-test-%d-%s" % (os.getpid(), os.path.basename(folder))
        self.bundle(guest)
        self.socket = os.path.join(folder, "guest.sock")
        self.record_path = os.path.join(folder, "exit")
        listening = socket.socket(socket.AF_UNIX)
        here = os.open(folder, os.O_PATH)
        listening.bind("/proc/self/fd/%d/guest.sock" % here)
        listening.listen(8)
        record = os.open(self.record_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.link = Link(self.connect(here))
        os.close(here)
        first = self.link.open(b"p")  # waits in the backlog: its answer says that the guest is up

        def place():
            a, b = os.dup(listening.fileno()), os.dup(record)
            os.dup2(a, 3)
            os.dup2(b, 4)

        log = open(os.path.join(folder, "runtime.log"), "wb")
        done = subprocess.run(
            [runtime, "--root", os.path.join(folder, "runtime"), "run", "-d", "--preserve-fds", "2", "--pid-file",
             os.path.join(folder, "pid"), "-b", folder, self.name],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=place, close_fds=False)
        log.close()
        listening.close()
        os.close(record)
        if done.returncode:
            raise RuntimeError(self.log())
        self.pid = int(read(os.path.join(folder, "pid")))
        self.pidfd = os.pidfd_open(self.pid)
        self.link.wait(first)

    def log(self):
        return read(os.path.join(self.folder, "runtime.log"))

    def connect(self, here=None):
        own = os.open(self.folder, os.O_PATH) if here is None else here
        s = socket.socket(socket.AF_UNIX)
        s.connect("/proc/self/fd/%d/guest.sock" % own)
        if here is None:
            os.close(own)
        return s

    def another(self):
        return Link(self.connect())

    def record(self):
        return [line.split()[1:] for line in read(self.record_path).splitlines()]

    def wait_gone(self, seconds):
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def remove(self):
        subprocess.run([self.runtime, "--root", os.path.join(self.folder, "runtime"), "delete", "-f", self.name],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if hasattr(self, "pidfd"):
            os.close(self.pidfd)
        self.link.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def bundle(self, guest):
        root = os.path.join(self.folder, "root")
        for x in "proc sys dev run tmp usr etc workspace".split():
            os.makedirs(os.path.join(root, x))
        for x in "bin sbin lib lib32 lib64 libx32".split():
            if os.path.islink("/" + x):
                os.symlink(os.readlink("/" + x), os.path.join(root, x))
        mounts = [
            dict(destination="/usr", type="none", source="/usr", options=["rbind", "ro"]),
            dict(destination="/proc", type="proc", source="proc", options=["nosuid", "noexec", "nodev"]),
            dict(destination="/dev", type="tmpfs", source="tmpfs", options=["nosuid", "mode=755", "size=1m"]),
            dict(destination="/run", type="tmpfs", source="tmpfs", options=["nosuid", "nodev", "mode=755"]),
            dict(destination="/run/interpfs/guest", type="none", source=guest, options=["bind", "ro", "nosuid", "nodev"]),
        ]
        capabilities = ["CAP_" + c for c in "CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID NET_BIND_SERVICE".split()]
        linux = dict(namespaces=[dict(type=t) for t in ("pid", "ipc", "uts", "mount", "network")], resources={})
        if os.getuid():
            linux["namespaces"].append(dict(type="user"))
            linux["uidMappings"] = [dict(containerID=0, hostID=os.getuid(), size=1)]
            linux["gidMappings"] = [dict(containerID=0, hostID=os.getgid(), size=1)]
        else:
            linux["cgroupsPath"] = "/interpfs/" + self.name
        config = dict(
            ociVersion="1.0.2", hostname="guest", mounts=mounts, linux=linux, root=dict(path=root),
            process=dict(terminal=False, user=dict(uid=0, gid=0), cwd="/", noNewPrivileges=True,
                         args=["/run/interpfs/guest", "0"],
                         env=["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/root", "FROM=sandbox"],
                         capabilities={k: capabilities for k in ("bounding", "effective", "permitted")}))
        with open(os.path.join(self.folder, "config.json"), "w") as f:
            json.dump(config, f)


def find_runtime(guest, folder):
    """The first of runc and crun that starts a sandbox here; both reasons otherwise."""
    reasons = []
    for name in ("runc", "crun"):
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if not path:
            reasons.append(name + ": not installed")
            continue
        probe = os.path.join(folder, "probe-" + name)
        os.mkdir(probe)
        try:
            s = Sandbox(path, guest, probe)
        except (RuntimeError, Closed, ConnectionError) as e:
            reasons.append("%s: %s" % (name, e))
            continue
        s.remove()
        return path
    raise RuntimeError("no runtime starts a sandbox here\n" + "\n".join(reasons))
