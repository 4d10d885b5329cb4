#!/bin/bash
# library/IF.py: a sandbox calls functions that another serves, both without a network; what the library
# holds, what a workspace without it may not, what hostile callers get.
# runs: root user
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up

target=$M/sandboxes/target caller=$M/sandboxes/caller
petri=$target/interfaces/petri
mkdir "$target" "$caller" "$M/workspaces/audit" "$target/interfaces/petri" || fail mkdir
printf 'network: none\nexecution_mode: none\n' >"$target/config" || fail config
printf 'network: none\nworkspace: audit\n' >"$caller/config" || fail config
cp tests/interfaces/petri.py "$petri/interface.py" && cp tests/interfaces/helpers.py "$petri/" || fail cp
echo wait >"$petri/ctl" || fail "wait: $(cat "$petri/error")"
cp "$petri/library/petri.py" "$M/workspaces/audit/libraries/" || fail "cp the library"
echo wait >"$M/workspaces/audit/ctl" || fail "wait for the workspace"
same "in the workspace" "petri.py module installed" "$(cut -d' ' -f1-3 "$M/workspaces/audit/installed")"
echo wait >"$caller/ctl" || fail "wait: $(cat "$caller/error")"
same "the caller's network" lo "$(ask "$caller/exec" 'ls /sys/class/net')"

cat >"$T/caller.py" <<'END'
import asyncio, inspect, petri, threading
from dataclasses import dataclass

assert petri.start("be brief", temperature=0.5) == {"started": True, "temperature": 0.5}
assert petri.send_message(message="hi") == {"answer": "be brief: HI", "turns": 1}
assert petri.send_message("and")["turns"] == 2, "state is kept between calls"
assert [m["role"] for m in petri.transcript()] == ["user", "assistant"] * 2
assert petri.steer("calm", strength=2) == [-2, 1]

@dataclass
class Message:
    role: str
    content: str

assert asyncio.run(petri.score([Message("user", "a"), {"role": "assistant", "content": "b", "weight": 3}])) == 4
assert len(petri.big(20)) == 20 << 20

try:
    petri.fails()
    raise SystemExit("it did not raise")
except ZeroDivisionError as why:
    assert isinstance(why, petri.InterfaceError) and str(why) == "division by zero"
    assert "helpers.py" in why.traceback
try:
    petri.no_json()
    raise SystemExit("it did not raise")
except TypeError as why:
    assert "of the type object" in str(why)
try:
    petri.start(object())
    raise SystemExit("it did not raise")
except TypeError as why:
    assert "cannot be an argument of petri" in str(why), why

assert str(inspect.signature(petri.start)) == "(system_prompt: 'str', *, temperature: 'float' = 0.7) -> 'dict'"
assert petri.transcript.__doc__ == "Everything that was said."

results = []
threads = [threading.Thread(target=lambda: results.append(petri.steer("anger", 1))) for _ in range(20)]
for t in threads: t.start()
for t in threads: t.join()
assert results == [[1, 2]] * 20
print("called")
END
same "called from another sandbox" called "$(ask "$caller/python" "$(cat "$T/caller.py")")"
jq -e 'select(.caller != "sandboxes/caller")' "$petri/calls.jsonl" >/dev/null && fail "who called: $(cat "$petri/calls.jsonl")"

# Functions may be called as Python's own are, and as the library's own exception: each uses the library whole.
words=$target/interfaces/words
mkdir "$words" || fail mkdir
python3 - >"$words/interface.py" <<'END' || fail "a text of every builtin"
import builtins, keyword
for name in sorted(n for n in [*dir(builtins), "InterfaceError", "annotations"] if n[0] != "_" and not keyword.iskeyword(n)):
    print("def f(x=None):\n    if x is None:\n        raise KeyError('no')\n    return [x]\nf.__name__ = '%s'\nexpose(f)" % name)
END
echo wait >"$words/ctl" || fail "wait: $(cat "$words/error")"
cp "$words/library/words.py" "$M/workspaces/audit/libraries/" && echo wait >"$M/workspaces/audit/ctl" || fail "cp the library"
same "functions called as builtins are" "called" "$(ask "$caller/python" 'import asyncio, builtins, enum, words
class Kind(enum.Enum):
    A = 1
for name in dir(words):
    if name[0] == "_":
        continue
    function = getattr(words, name)
    assert function({2}) == [[2]] and function(Kind.A) == [1], name
    try:
        function()
        raise SystemExit("it did not raise")
    except KeyError as why:
        assert why.message == "'"'no'"'", why
    try:
        function(object())
        raise SystemExit("it did not raise")
    except TypeError:
        pass
assert words.len is not len and words.InterfaceError(3) == [3]
print("called")')"
rm "$M/workspaces/audit/libraries/words.py" && rmdir "$words" || fail "rm"

# The library holds no address, no token and nothing but the standard library's modules.
grep -nE '127\.0\.0\.1|localhost|token|https?:' "$petri/library/petri.py" && fail "the library holds an address or a token"
same "what it imports" "__future__ asyncio builtins dataclasses enum json os socket struct" \
	"$(sed -nE 's/^(from|import) ([a-z_]+).*/\2/p' "$petri/library/petri.py" | sort | xargs)"

# Another workspace does not have it: whoever says the same from there is refused.
mkdir "$M/sandboxes/other" && echo 'network: none' >"$M/sandboxes/other/config" && echo wait >"$M/sandboxes/other/ctl" || fail other
cp "$petri/library/petri.py" "$M/sandboxes/other/fs/root/" || fail "cp into the other"
same "a sandbox whose workspace has no library" "ConnectionError: petri: the workspace has no library of this interface" \
	"$(ask "$M/sandboxes/other/python" 'import sys; sys.path.insert(0, "/root")
import petri
try:
    petri.transcript()
except Exception as why:
    print(type(why).__name__ + ": " + str(why))')"

# Hostile callers: each is hung up on or refused, and the next call works.
cat >"$T/hostile.py" <<'END'
import os, random, re, socket, struct
import petri

def frame(kind, data=b"", length=None, stream=0, zeros=0):
    return struct.pack("<IIBBH", len(data) if length is None else length, stream, ord(kind), 0, zeros) + data

def says(data):
    """All that comes back."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect("/run/interpfs/calls.sock")
    got = b""
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        while piece := s.recv(65536):
            got += piece
    except OSError:
        pass
    s.close()
    return got

me = petri._INTERFACE
call = ("function %s transcript" % me).encode()
state, serial, number = me.split(".")
random.seed(7)
tries = [
    b"", b"\0" * 4096, os.urandom(100000), frame("A", call, length=1 << 31), frame("A", call, stream=9),
    frame("A", call, zeros=1), frame("A", b"x" * 65536), frame("A", call + b"\0"), frame("A", call + b" sandboxes/else"),
    frame("C", b"interface 1 restart"), frame("W", b"{}"), frame("P"), frame("A", b"exec") + frame("D", b"id") + frame("G"),
    frame("A", ("run %s transcript" % me).encode()), frame("A", ("function %s.%s.999 transcript" % (state, serial)).encode()) + frame("G"),
    frame("A", ("function %s.999.%s transcript" % (state, number)).encode()) + frame("G"),
    frame("A", ("function 0%s.%s.%s transcript" % (state[1:], serial, number)).encode()) + frame("G"),
    frame("A", ("function ../../%s transcript" % me).encode()) + frame("G"),
    frame("A", call) + frame("A", call) + frame("G"), frame("A", call) + frame("X") + frame("G"), frame("A", call) + frame("W", b"{}"),
    frame("A", call) + frame("G") + frame("D", b"more"), frame("A", call) + b"\xff" * 65536,
    frame("A", call) + frame("D", b"x" * 65536) * 400,
]
for at in range(0, 400, 7):
    data = bytearray(frame("A", call) + frame("D", b"{}") + frame("G"))
    data[at % len(data)] ^= 1 << random.randrange(8)
    tries.append(bytes(data))
for data in tries:
    assert b'"role"' not in says(data) or data.startswith(frame("A", call)), data[:200]
idle = [socket.socket(socket.AF_UNIX) for _ in range(200)]
for s in idle:
    s.connect("/run/interpfs/calls.sock")
assert petri.transcript() is not None
print("survived")
END
same "hostile callers" survived "$(ask "$caller/python" "$(cat "$T/hostile.py")")"

# What does not run says so; it is called again when it does.
echo stop >"$target/ctl" || fail stop
asks='import petri
try:
    print(petri.steer("anger", 3))
except Exception as why:
    print(type(why).__name__ + ": " + str(why))'
same "a target that is stopped" "ConnectionError: petri: the sandbox is stopped" "$(ask "$caller/python" "$asks")"
echo start >"$target/ctl" && echo wait >"$target/ctl" || fail start
same "a target that loads" "[3.0, 6.0]" "$(ask "$caller/python" "$asks")"

# A runner of either that dies, a caller that starts again.
kill -9 $(runner_pids)
eventually 60 sh -c "echo wait >'$petri/ctl'"
eventually 60 grep -q ready "$caller/state"
same "after the runners' deaths" "[3.0, 6.0]" "$(ask "$caller/python" "$asks")"
echo restart >"$caller/ctl" || fail restart
same "after the caller's restart" "[3.0, 6.0]" "$(ask "$caller/python" "$asks")"
rmdir "$petri" || fail rmdir
same "an interface that was removed" "ConnectionError: petri: there is no such interface" "$(ask "$caller/python" "$asks")"
