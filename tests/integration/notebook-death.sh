#!/bin/bash
# What a notebook stands on ends in the middle of a cell: the kernel, Jupyter Server, the sandbox
# (stopped, or at its timeout). Cell, notebook and caller say so; a restart goes on.
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
nb=$M/notebooks/probe lab=$M/sandboxes/lab
mkdir "$lab" "$nb"
echo 'network: none' >"$lab/config"
echo 'sandbox: lab' >"$nb/config"
echo wait >"$nb/ctl" || fail "wait: $(cat "$nb/error")"
cells() { ls "$nb/cells" | wc -l; }
is() { [ "$(cat "$nb/state")" = "$1" ]; }

# begins CODE: runs it in the background, returns when it has printed "go"
begins() {
	local n=$(( $(cells) + 1 ))
	ask "$nb/exec" "import os, signal, time
print('go', flush=True); time.sleep(0.3)
$1" >"$T/answer" 2>&1 & caller=$!
	eventually 20 grep -qx go "$nb/cells/$n/output"
}

# died WORDS: that cell, the notebook and the caller have died, with these words as the reason
died() {
	local n; n=$(cells)
	# From that moment on a call is refused, and makes no cell that would never run.
	eventually 40 is died
	for _ in 1 2 3 4 5; do
		( exec 9<>"$nb/exec"; echo 1 >&9; cat <&9 ) >"$T/after" 2>&1 && fail "a call to what has died: $(cat "$T/after")"
	done
	same "cells after calls to what has died" "$n" "$(cells)"
	wait "$caller"
	same "the caller's first line" go "$(head -n 1 "$T/answer")"
	same "the caller's last line" '[error DeadKernelError]' "$(tail -n 1 "$T/answer")"
	same "the cell's output" "$(cat "$T/answer")" "$(cat "$nb/cells/$n/output")"
	same "the cell's state" died "$(cat "$nb/cells/$n/state")"
	grep -q "$1" "$nb/error" || fail "error does not say '$1': $(cat "$nb/error")"
	grep -q "$1" "$T/answer" || fail "the caller is not told '$1': $(cat "$T/answer")"
	fails "wait for what has died" sh -c "echo wait >'$nb/ctl'"
	python3 -c 'import json, sys; n = json.load(open(sys.argv[1])); assert n["cells"][-1]["outputs"][-1]["ename"] == "DeadKernelError"' \
		"$nb/notebook.ipynb" || fail "the notebook does not say so"
}

# again: a restart brings it back, with its cells and without what the kernel held
again() {
	local before; before=$(cells)
	echo restart >"$nb/ctl" || fail "restart: $(cat "$nb/error")"
	is idle || fail "after restart: $(cat "$nb/state")"
	same "error after restart" "" "$(cat "$nb/error")"
	same "a cell after restart" 2 "$(ask "$nb/exec" 1+1)"
	same "cells" $((before + 1)) "$(cells)"
}

echo "the kernel"
begins 'os.kill(os.getpid(), signal.SIGKILL)'
died 'kernel died'
again

echo "a queued cell when the kernel dies"
n=$(cells)
begins 'while not os.path.exists("/workspace/libraries/queued"): time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)'
( exec 9<>"$nb/exec"; echo 'print("never")' >&9; cat <&9 ) >"$T/queued" 2>&1 & queued=$!
eventually 20 grep -qx queued "$nb/cells/$((n + 2))/state"
: >"$M/workspaces/default/libraries/queued" || fail "a file in the workspace"
eventually 40 is died
wait "$caller"
wait "$queued" && fail "the queued call succeeded: $(cat "$T/queued")"
same "the queued cell" interrupted "$(cat "$nb/cells/$(cells)/state")"
again

echo "Jupyter Server"
begins 'os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)'
died 'Jupyter Server'
again

echo "the sandbox is stopped"
begins 'time.sleep(600)'
echo stop >"$lab/ctl" || fail "stop: $(cat "$lab/error")"
died 'sandbox lab has stopped'
{ echo restart >"$nb/ctl"; } 2>/dev/null && fail "a restart on a sandbox that is stopped"
eventually 20 is failed
grep -q 'sandbox lab has stopped; write start to its ctl' "$nb/error" || fail "error: $(cat "$nb/error")"
echo start >"$lab/ctl" || fail "start: $(cat "$lab/error")"
again

echo "the sandbox's timeout"
mkdir "$M/sandboxes/short"
echo shutdown >"$nb/ctl" || fail shutdown
printf 'network: none\ntimeout: 600\n' >"$M/sandboxes/short/config"
echo 'sandbox: short' >"$nb/config"
echo wait >"$nb/ctl" || fail "wait: $(cat "$nb/error")"
begins 'time.sleep(600)'
printf 'network: none\ntimeout: 1\n' >"$M/sandboxes/short/config" || fail "a shorter timeout: $(cat "$M/sandboxes/short/error")"
died 'sandbox short has .*timeout'
printf 'network: none\ntimeout: 600\n' >"$M/sandboxes/short/config" && echo wait >"$M/sandboxes/short/ctl" || fail "restart: $(cat "$M/sandboxes/short/error")"
again

echo "a sandbox that cannot be started"
mkdir "$M/sandboxes/bad" "$M/notebooks/bad"
printf 'local_files: [[%s/missing, /workspace/missing]]\n' "$T" >"$M/sandboxes/bad/config"
echo 'sandbox: bad' >"$M/notebooks/bad/config"
fails "wait for a notebook on it" sh -c "echo wait >'$M/notebooks/bad/ctl'"
grep -q 'sandbox.* bad' "$M/notebooks/bad/error" || fail "error does not name the sandbox: $(cat "$M/notebooks/bad/error")"
