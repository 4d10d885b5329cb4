#!/bin/bash
# What is root inside a sandbox can say anything as the process of an interface: garbage for frames, lengths
# and ends that are none, half an answer, a description of no functions. A call then ends, and nothing else.
# runs: user
. "$(dirname "$0")/../functions.sh"
mount_it
lab=$M/sandboxes/lab
mkdir "$lab" && echo 'network: none' >"$lab/config" && mkdir "$lab/interfaces/bad" || fail mkdir
bad=$lab/interfaces/bad

# ask, which does not mind that the answer may end in an error
call() {
	exec 9<>"$bad/functions/$1" || fail "open $1"
	printf '{}\n' >&9 || fail "write $1"
	timeout 60 cat <&9 2>&1
	[ $? -ne 124 ] || fail "$1 does not end"
	exec 9>&-
}

cp tests/interfaces/hostile.py "$bad/interface.py" || fail cp
echo wait >"$bad/ctl" || fail "wait: $(cat "$bad/error")"
runner=$(runner_pids)
for f in garbage long_frame reserved stderr_channel no_channel notice end_of_nonsense end_with_errno long_sentence nothing; do
	call $f | jq -e .error.type >/dev/null || fail "$f: $(call $f | head -c 300)"
	same "after $f" '"fine"' "$(call fine)"
done
call half | grep -q 'Input/output error' || fail "half an answer: $(call half)"
call no_json_at_all | wc -c | grep -qx 51201 || fail "an answer that is no JSON"
call other_stream >/dev/null
same "two answers" 1 "$(call two_answers)"
jq -e . "$bad/calls.jsonl" >/dev/null || fail "calls.jsonl has a line that is no JSON"
call dies_in_the_middle | grep -q 'Input/output error' || fail "one that dies in the middle"
echo wait >"$bad/ctl" || fail "after its death: $(cat "$bad/error")"
same "after its death" '"fine"' "$(call fine)"
same "the runner lives" "$runner" "$(runner_pids)"

# What it tells of itself.
describes() { # PYTHON: what `describe` returns
	cat >"$bad/interface.py" <<-END
		import json, os, sys
		main = sys.modules["__main__"]
		F = {"name": "f", "description": "", "schema": {}, "parameters": []}
		main.Server.describe = lambda self: $1
		@expose
		def f():
		    return 1
	END
}
wrong='"its process told of a function that is none" "its process told of no functions" "its process does not tell what it serves"'
for said in '[]' '{}' '{"functions": 1}' '{"functions": [{}]}' '{"functions": [dict(F, name="../../state")]}' '{"functions": [dict(F, name="a/b")]}' \
	'{"functions": [dict(F, name="f(a=__import__)")]}' '{"functions": [F] * 2000}' '{"functions": [dict(F, parameters=[{"name": "a b", "kind": "keyword_only"}])]}'; do
	describes "$said"
	fails "$said" sh -c "echo wait >'$bad/ctl'"
	same "state of $said" failed "$(cat "$bad/state")"
	case $wrong in *"$(cat "$bad/error")"*) ;; *) fail "$said: $(cat "$bad/error")" ;; esac
	same "functions of $said" "" "$(ls "$bad/functions")"
done
describes '{"doc": "x" * (5 << 20), "functions": [F]}'
fails "5 MB of words" sh -c "echo wait >'$bad/ctl'"
describes '{"doc": "\"\"\"\nimport os\nos.system(\"id\")\n\"\"\"", "functions": [dict(F, description="\\\\\"\"\"; import os", returns="int: import os", parameters=[{"name": "a", "kind": "keyword_only", "annotation": "exec(1)", "optional": True, "default": "\"\n__import__(\"os\")"}])]}'
echo wait >"$bad/ctl" || fail "words that would be code: $(cat "$bad/error")"
python3 -B - "$bad/library/bad.py" <<-'END' || fail "the library: $(cat "$bad/library/bad.py")"
	import ast, sys
	tree = ast.parse(open(sys.argv[1]).read())
	f = tree.body[-1]
	assert isinstance(f, ast.FunctionDef) and f.name == "f" and f.returns is None and f.args.kwonlyargs[0].annotation is None
	assert all(isinstance(n, (ast.Import, ast.ImportFrom, ast.Assign, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Expr)) for n in tree.body)
	assert sum(isinstance(n, ast.Expr) for n in tree.body) == 1
END
same "it is served all the same" 1 "$(call f)"

# One that never ends to tell, in as many messages as there can be: its runner has time for others.
cat >"$bad/interface.py" <<'END'
import struct, sys
main = sys.modules["__main__"]

def run(self, listener):
    connection, _ = listener.accept()
    while True:
        connection.sendall((struct.pack("<IIBBH", 1, 0, ord("D"), 0, 0) + b"\x01") * 20000)

main.Server.run = run

@expose
def f():
    return 1
END
timeout 400 "$INTERPFS" exec "$lab" -- true || fail "a command while it tells"
fails "one that tells for ever" timeout 400 sh -c "echo wait >'$bad/ctl'"
same "one that tells for ever" "its process does not tell what it serves" "$(cat "$bad/error")"

# One that says ready and does not listen; one that never says anything; one that dies at once, again and again.
cat >"$bad/interface.py" <<'END'
import os
os.write(os.dup(1), b"")
sys = __import__("sys")
main = sys.modules["__main__"]
main.Server.run = lambda self, listener: os._exit(7)

@expose
def f():
    return 1
END
fails "one that dies when it is ready" sh -c "echo wait >'$bad/ctl'"
same "its state" failed "$(cat "$bad/state")"
printf 'while True:\n    __import__("time").sleep(1)\n' >"$bad/interface.py"
fails "one that never comes" sh -c "echo 'wait 1' >'$bad/ctl'"
same "it loads" loading "$(cat "$bad/state")"
describes '{"functions": [F], "doc": ""}'
echo wait >"$bad/ctl" || fail "the next text: $(cat "$bad/error")"
same "the next text" 1 "$(call f)"
same "the runner lives" "$runner" "$(runner_pids)"

# One that does not end when it is told to: the next text is served all the same.
cat >"$bad/interface.py" <<'END'
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)

@expose
def f():
    return "first"
END
echo wait >"$bad/ctl" || fail "one that ignores signals: $(cat "$bad/error")"
same "one that ignores signals" '"first"' "$(call f)"
printf '@expose\ndef f():\n    return "second"\n' >"$bad/interface.py"
timeout 400 sh -c "echo wait >'$bad/ctl'" || fail "the text after it: $(cat "$bad/state" "$bad/error")"
same "the text after it" '"second"' "$(call f)"

# One that holds the interpreter for ever answers nothing any more: it is ended, and what waited runs on the next.
cat >"$bad/interface.py" <<'END'
import ctypes

@expose
def holds():
    ctypes.PyDLL(None).pause()

@expose
def fine():
    return "fine"
END
echo wait >"$bad/ctl" && echo 'timeout 1' >"$bad/ctl" || fail "$(cat "$bad/error")"
call holds | jq -e '.error.type == "TimeoutError"' >/dev/null || fail "one that holds the interpreter"
echo 'timeout 0' >"$bad/ctl" || fail timeout
same "what comes after it" '"fine"' "$(call fine)"
grep -q 'did not answer any more and was killed' "$bad/log" || fail "log: $(cat "$bad/log")"
