#!/bin/bash
# An agent in a real notebook: a library that changes, a picture, a kernel that dies, a guest that dies, a sandbox that
# reaches its timeout in the middle of a cell. The session says so and can go on after a restart.
. "$(dirname "$0")/../functions.sh"
python3 -B tests/api/server.py --log "$T/api.log" >"$T/url" & api=$!
on_exit "kill $api"
eventually 10 grep -q http "$T/url"
export ANTHROPIC_BASE_URL ANTHROPIC_API_KEY=sk-test-0123456789
ANTHROPIC_BASE_URL=$(cat "$T/url")
cell() { # CODE: the model's next answer runs it, the one after says Done.
	python3 -c 'import json, sys, urllib.request as u
steps = [{"text": "I run it.", "tool": "execute_code", "input": {"code": sys.argv[2]}}, {"text": "Done."}]
u.urlopen(sys.argv[1] + "/control", json.dumps({"steps": steps}).encode()).read()' "$ANTHROPIC_BASE_URL" "$1" || fail "steps"
}
calls=0
turn() { # WHAT CODE: a turn with one call; RESULT is what it returned
	cell "$2"
	echo "$1" >"$N/input" || fail "$1: input"
	echo 'wait 400' >"$N/ctl" || fail "$1: wait: $(cat "$N/error"); $(tail -n 5 "$N/messages")"
	calls=$((calls + 1))
	RESULT=$(cat "$N/calls/$calls/result")
}
has() { # WHAT WORD
	case $RESULT in *"$2"*) ;; *) fail "$1: expected '$2' in '$RESULT'" ;; esac
}
mount_it
warm_up
mkdir "$M/sandboxes/lab" "$M/notebooks/probe"
echo 'timeout: 600' >"$M/sandboxes/lab/config" || fail sandbox
echo 'sandbox: lab' >"$M/notebooks/probe/config" || fail notebook
echo "def ask(): return 'one'" >"$M/workspace/libraries/answer.py"
exec 3<>"$M/sessions/new"
echo 'notebook: probe' >&3 && read -r n <&3 || fail "new: $(cat "$M/error")"
exec 3>&-
N=$M/sessions/$n

turn "a library" 'import answer; print(answer.ask())'
has "it waited for the notebook" one
echo "def ask(): return 'two'" >"$M/workspace/libraries/answer.py"
turn "a changed library" 'import answer; print(answer.ask())'
has "the next cell sees it" two
turn "a picture" 'from IPython.display import Image
import base64
Image(base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="))'
same "it is a file" 89504e47 "$(od -An -tx1 -N4 "$N/outputs/call-$calls-1.png" | tr -d ' ')"
turn "a failing cell" '1/0'
has "its traceback" ZeroDivisionError
same "the call's state" error "$(cat "$N/calls/$calls/state")"

turn "the kernel dies" 'import os; os._exit(3)'
has "the kernel's death" died
same "the session goes on" done "$(cat "$N/state")"
echo restart >"$M/notebooks/probe/ctl" || fail "restart: $(cat "$M/notebooks/probe/error")"
turn "after the restart" 'print(6 * 7)'
has "a new kernel" 42

# The guest dies in the middle of a cell.
cell 'print("begun", flush=True); import time; time.sleep(60)'
echo "the guest dies" >"$N/input"
calls=$((calls + 1))
eventually 30 grep -q running "$N/calls/$calls/state"
last=$(find "$M/notebooks/probe/cells" -mindepth 1 -maxdepth 1 | wc -l)
eventually 30 sh -c "cat '$M'/notebooks/probe/cells/*/output | grep -q begun"
read -r guest _ <"$(echo "$S"/sandboxes/[0-9]*/guest.pid)" && kill -9 "$guest" || fail "no guest"
echo 'wait 400' >"$N/ctl" || fail "guest: $(cat "$N/error")"
same "the call's state" error "$(cat "$N/calls/$calls/state")"
eventually 10 grep -q died "$M/sandboxes/lab/state"
[ "$last" -gt 0 ] || fail "no cells"
echo more >"$N/input"
if echo 'wait 400' >"$N/ctl" 2>/dev/null; then fail "a session whose sandbox is gone went on"; fi
grep -q probe "$N/error" || fail "its error: $(cat "$N/error")"

# Its deadline comes in the middle of a cell, after a restart.
echo 'timeout: 590' >"$M/sandboxes/lab/config" || fail "config: $(cat "$M/sandboxes/lab/error")"
echo wait >"$M/sandboxes/lab/ctl" || fail "sandbox: $(cat "$M/sandboxes/lab/error")"
echo restart >"$M/notebooks/probe/ctl" || fail "notebook: $(cat "$M/notebooks/probe/error")"
cell 'print("until then", flush=True); import time; time.sleep(600)'
echo "the deadline" >"$N/input"
calls=$((calls + 1))
eventually 30 sh -c "cat '$M'/notebooks/probe/cells/*/output | grep -q 'until then'"
echo 'timeout: 1' >"$M/sandboxes/lab/config" || fail "a timeout that is over: $(cat "$M/sandboxes/lab/error")"
echo 'wait 400' >"$N/ctl" || fail "the deadline: wait: $(cat "$N/error"); $(tail -n 5 "$N/messages")"
same "the call's state" error "$(cat "$N/calls/$calls/state")"
eventually 10 grep -qv ready "$M/sandboxes/lab/state"
echo 'timeout: 600' >"$M/sandboxes/lab/config" || fail "config: $(cat "$M/sandboxes/lab/error")"
echo wait >"$M/sandboxes/lab/ctl" || fail "sandbox: $(cat "$M/sandboxes/lab/error")"
echo restart >"$M/notebooks/probe/ctl" || fail "notebook: $(cat "$M/notebooks/probe/error")"
turn "after the deadline" 'print(6 * 7)'
has "it goes on" 42
grep -o '"refusal": "[^"]*"' "$T/api.log" | grep . && fail "the server refused something"
true
