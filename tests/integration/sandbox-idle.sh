#!/bin/bash
# idle_timeout: a sandbox that nothing uses is stopped, and says why; a command, processes that compute,
# and a cell that only sleeps keep it.
# runs: root
. "$(dirname "$0")/../functions.sh"

mount_it
warm_up
is() { [ "$(cat "$M/sandboxes/$1/state")" = "$2" ]; }
made() { mkdir "$M/sandboxes/$1" && printf 'network: none\nidle_timeout: %s\n' "$2" >"$M/sandboxes/$1/config" && echo wait >"$M/sandboxes/$1/ctl"; }

for s in unused commanded computing asleep; do made $s 10 || fail "$s: $(cat "$M/sandboxes/$s/error")"; done
made later 0 || fail later
started=$SECONDS
mkdir "$M/notebooks/nb" && echo 'sandbox: asleep' >"$M/notebooks/nb/config" && timeout 120 sh -c "echo wait >'$M/notebooks/nb/ctl'" ||
	fail "notebook: $(cat "$M/notebooks/nb/error")"
"$INTERPFS" exec "$M/sandboxes/commanded" -- sleep 26 &
command=$!
"$INTERPFS" exec "$M/sandboxes/computing" -- sh -c 'setsid sh -c "while :; do :; done" >/dev/null 2>&1 & echo' || fail "exec"
(ask "$M/notebooks/nb/exec" 'import time; time.sleep(25); print("slept")' >"$T/slept") &
cell=$!
[ "$((SECONDS - started))" -gt 40 ] || is unused ready || [ "$(cat "$M/sandboxes/unused/state")" = stopped ] || fail "unused"
eventually 40 is unused stopped
same "why" "nothing used it for 10 seconds, its idle_timeout" "$(cat "$M/sandboxes/unused/error")"
wait "$cell"
same "the cell that slept" slept "$(cat "$T/slept")"
is commanded ready || fail "with a command: $(cat "$M/sandboxes/commanded/state")"
is computing ready || fail "with processes that compute: $(cat "$M/sandboxes/computing/state")"
is asleep ready || fail "with a cell: $(cat "$M/sandboxes/asleep/state")"
is later ready || fail "without idle_timeout"
wait "$command" || fail "the command: $?"

# Then nothing uses them any more; and it can be changed while it runs.
printf 'network: none\nidle_timeout: 10\n' >"$M/sandboxes/later/config" || fail "the new config"
for s in commanded asleep later; do eventually 40 is $s stopped; done
is computing ready || fail "with processes that compute, later"
echo start >"$M/sandboxes/unused/ctl" && echo wait >"$M/sandboxes/unused/ctl" || fail "started again"
same "its error then" "" "$(cat "$M/sandboxes/unused/error")"
