#!/bin/bash
# idle_timeout: a sandbox that nothing uses is stopped, and says why; a command, processes that compute,
# and a cell that only sleeps keep it.
# runs: user
. "$(dirname "$0")/../functions.sh"

mount_it
warm_up
is() { [ "$(cat "$M/sandboxes/$1/state")" = "$2" ]; }
made() { mkdir "$M/sandboxes/$1" && printf 'network: none\nidle_timeout: %s\n' "$2" >"$M/sandboxes/$1/config" && echo wait >"$M/sandboxes/$1/ctl"; }
used() { is "$1" ready || fail "$2: $(cat "$M/sandboxes/$1/state")"; }

# Each is used as soon as it is there: a slow machine may need longer for all than one waits.
made asleep 300 || fail "asleep: $(cat "$M/sandboxes/asleep/error")"
mkdir "$M/notebooks/nb" && echo 'sandbox: asleep' >"$M/notebooks/nb/config" && echo wait >"$M/notebooks/nb/ctl" ||
	fail "notebook: $(cat "$M/notebooks/nb/error")"
(ask "$M/notebooks/nb/exec" 'import os, time
print("asleep", flush=True)
while not os.path.exists("/workspace/libraries/enough"): time.sleep(0.5)' >"$T/slept") &
cell=$!
eventually 20 grep -q asleep "$M/notebooks/nb/cells/1/output"
printf 'network: none\nidle_timeout: 10\n' >"$M/sandboxes/asleep/config" || fail "the new config"
made commanded 300 || fail "commanded: $(cat "$M/sandboxes/commanded/error")"
"$INTERPFS" exec "$M/sandboxes/commanded" -- sh -c ': >/root/began; while [ ! -e /workspace/libraries/enough ]; do sleep 0.5; done' &
command=$!
eventually 20 test -e "$M/sandboxes/commanded/fs/root/began"
made computing 300 || fail "computing: $(cat "$M/sandboxes/computing/error")"
"$INTERPFS" exec "$M/sandboxes/computing" -- sh -c 'setsid sh -c "while :; do :; done" >/dev/null 2>&1 & echo' || fail "exec"
for s in commanded computing; do printf 'network: none\nidle_timeout: 10\n' >"$M/sandboxes/$s/config" || fail "the new config"; done
made later 0 || fail later
made unused 10 || fail "unused: $(cat "$M/sandboxes/unused/error")"
eventually 40 is unused stopped # all the others are older
same "why" "nothing used it for 10 seconds, its idle_timeout" "$(cat "$M/sandboxes/unused/error")"
echo start >"$M/sandboxes/unused/ctl" && echo wait >"$M/sandboxes/unused/ctl" || fail "started again"
same "its error then" "" "$(cat "$M/sandboxes/unused/error")"
eventually 40 is unused stopped
used commanded "with a command"
used computing "with processes that compute"
used asleep "with a cell"
used later "without idle_timeout"
: >"$M/workspaces/default/libraries/enough" || fail "a file in the workspace"
wait "$cell"
same "the cell that slept" asleep "$(cat "$T/slept")"
wait "$command" || fail "the command: $?"

# Then nothing uses them any more; and it can be changed while it runs.
printf 'network: none\nidle_timeout: 10\n' >"$M/sandboxes/later/config" || fail "the new config"
for s in commanded asleep later; do eventually 40 is $s stopped; done
used computing "with processes that compute, later"
