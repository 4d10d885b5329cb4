"""What the tests of the agent loop share: the strict Messages API as a process, a session's folder with the
part of the mount played by the test, and stand-ins for notebooks and sandboxes (tests/mcp/fake_runner.py)."""
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
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "mcp"))
import fake_runner  # noqa: E402

PROGRAM = os.path.abspath(os.environ.get("INTERPFS", "build/asan/interpfs"))
KEY = "sk-ant-secret-of-the-test-0123456789"
WAIT = 60
FIELDS = {"notebook": None, "sandbox": None, "workspace": None, "provider": "claude", "model": "claude-opus-5-5",
          "preamble": ["model_info", "docs"], "limits": {"turns": None, "usd": None}, "tool_timeout": 120, "options": {},
          "replay": None, "retry": {"attempts": 8, "seconds": 900}}
CALL = {"thinking": "I should look.", "text": "I will look.", "tool": "execute_code", "input": {"code": "print"}}


def frame(kind, payload):
    return struct.pack("<IIBxxx", len(payload), 0, ord(kind)) + payload


def connect(folder):
    here = os.open(folder + "/run", os.O_PATH)
    try:
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"/proc/self/fd/{here}/sock")
        return s
    finally:
        os.close(here)


class Api:
    def __init__(self, folder):
        self.log = folder + "/api.log"
        self.p = subprocess.Popen([sys.executable, "-B", os.path.join(HERE, "..", "api", "server.py"), "--log", self.log,
                                   "--key", KEY], stdout=subprocess.PIPE, text=True)
        self.url = self.p.stdout.readline().strip()

    def steps(self, *steps):
        urllib.request.urlopen(self.url + "/control", json.dumps({"steps": steps}).encode()).read()

    def events(self, kind):
        with open(self.log) as f:
            return [e for e in map(json.loads, f) if e["event"] == kind]

    def bodies(self):
        return [e["body"] for e in self.events("request")]

    def refusals(self):
        return [e["refusal"] for e in self.events("answer") if e.get("refusal")]

    def close(self):
        self.p.kill()
        self.p.wait()
        self.p.stdout.close()


class Session:
    def __init__(self, state, serial, env, secrets, **fields):
        self.state, self.serial, self.env, self.secrets = state, serial, env, secrets
        self.folder = f"{state}/sessions/{serial}"
        self.generation = 0
        self.references = {}
        os.makedirs(self.folder + "/inbox")
        os.symlink(f"../{serial}", f"{state}/sessions/names/s{serial}")
        self.fields = {**FIELDS, **fields}
        self.write("status", "0 draft 1\n")
        self.configure()

    def write(self, name, text):
        with open(f"{self.folder}/.new", "w") as f:
            f.write(text)
        os.rename(f"{self.folder}/.new", f"{self.folder}/{name}")

    def configure(self, **fields):
        self.fields.update(fields)
        self.write("spec.json", json.dumps({"generation": self.generation, "fields": self.fields,
                                            "references": self.references}))

    def want(self, what):
        self.generation += 1
        self.write("want", f"{self.generation} {what}\n")

    def put(self, message):
        self.write(f"inbox/{self.generation + 1:06d}.json", json.dumps(message))
        self.want("run")

    def say(self, text):
        self.put({"kind": "message", "content": text})

    def start(self):
        env = {k: v for k, v in self.env.items() if not k.startswith("ANTHROPIC")}
        self.p = subprocess.Popen([PROGRAM, "runner", self.state, "session", str(self.serial)], stdout=subprocess.PIPE,
                                  env=env)
        self.p.stdout.read()
        self.p.stdout.close()
        try:
            self.watcher = connect(self.folder)
            self.watcher.sendall(frame("W", json.dumps({"secrets": self.secrets}).encode()))
            threading.Thread(target=self.drain, args=(self.watcher,), daemon=True).start()
        except OSError:
            pass  # it has ended already
        return self

    @staticmethod
    def drain(s):
        try:
            while s.recv(65536):
                pass
        except OSError:
            pass
        s.close()

    def poke(self):
        self.watcher.sendall(frame("P", b""))

    def command(self, line):
        with connect(self.folder) as s:
            s.sendall(frame("C", line.encode()))
            s.settimeout(WAIT)
            answer = b""
            while len(answer) < 12 or len(answer) < 12 + struct.unpack("<I", answer[:4])[0]:
                piece = s.recv(65536)
                if not piece:
                    raise EOFError
                answer += piece
            return json.loads(answer[12:])

    def end(self):
        code = self.p.wait(WAIT)
        if code < 0:
            raise AssertionError(f"the runner died of signal {-code}")
        return self.status()

    def run(self, text=None):
        if text is not None:
            self.say(text)
        return self.start().end()

    def read(self, name):
        try:
            with open(f"{self.folder}/{name}") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def status(self):
        return self.read("status").split()[1]

    def failure(self):
        return self.read("failure").strip()

    def events(self, kind=None):
        events = [json.loads(line) for line in self.read("messages.jsonl").splitlines()]
        return [e for e in events if kind in (None, e["type"])]

    def wait_for(self, name, text, seconds=WAIT):
        until = time.monotonic() + seconds
        while text not in self.read(name):
            if time.monotonic() > until or self.p.poll() is not None:
                raise AssertionError(f"{text!r} did not come into {name}:\n{self.read(name)}")
            time.sleep(0.01)


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="interpfs-session.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.state = self.tmp + "/state"
        self.count = 0
        self.env = dict(os.environ)
        os.mkdir(self.state, 0o700)
        subprocess.run([PROGRAM, "runner", self.state, "session", "1"], stderr=subprocess.DEVNULL)  # makes the layout
        for kind in ("sandboxes", "notebooks", "workspaces", "sessions"):
            os.makedirs(f"{self.state}/{kind}/names", exist_ok=True)
        self.api = Api(self.tmp)
        self.addCleanup(self.api.close)
        self.secrets = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": self.api.url}

    def session(self, **fields):
        self.count += 1
        return Session(self.state, self.count, self.env, self.secrets, **fields)

    def with_notebook(self, **fields):
        s = self.session(notebook="probe", **fields)
        serial = 100 + self.count
        self.notebook = fake_runner.FakeNotebook(f"{self.state}/notebooks/{serial}")
        self.addCleanup(self.notebook.stop)
        s.references = {"notebook": {"kind": "notebook", "serial": serial, "name": "probe"}}
        s.configure()
        return s

    def check(self, s):
        """What must hold of every session."""
        script = """h=%064d; while IFS= read -r l; do case $l in *'"prev":"'$h'"'*) ;; *) exit 1;; esac
            h=$(printf %%s "$l" | sha256sum | cut -c1-64); done < %s/messages.jsonl""" % (0, s.folder)
        self.assertEqual(subprocess.run(["sh", "-c", script]).returncode, 0, "the chain is broken")
        found = subprocess.run(["grep", "-rl", KEY, s.folder], capture_output=True, text=True).stdout
        self.assertEqual(found, "", "the key was written")
        answered = {e["id"] for e in s.events("result")}
        asked = {c["id"] for e in s.events("assistant") for c in e["calls"]}
        self.assertEqual(asked, answered, "a call without result")

    def done(self, s, state="done"):
        self.assertEqual((s.status(), s.failure() if state == "done" else ""), (state, ""),
                         s.failure() + "\n" + s.read("messages"))
        self.check(s)
