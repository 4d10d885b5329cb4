#!/bin/bash
# runs: root
# What a notebook's runner keeps for itself: little while nothing was asked of it, and what its prints took it
# gives back after them. (A sanitizer's program keeps everything: this is about the other one.)
INTERPFS=$(cd "$(dirname "$0")/../.." && pwd)/build/interpfs
. "$(dirname "$0")/../functions.sh"
mount_it; warm_up
mkdir "$M/sandboxes/lab"; echo 'network: none' >"$M/sandboxes/lab/config"
N=$M/notebooks/probe
mkdir "$N"; echo 'sandbox: lab' >"$N/config"
echo wait >"$N/ctl" || fail "$(cat "$N/error")"
pid=$(live_pid "$S"/notebooks/*/run/pid)

# Memory that no other process has, in kB: all of it, and of that what is no file's. (A library's pages are
# private to the first process that has it: only the second number is the same on a machine where nothing else runs.)
private() { awk '/^Private_/ { n += $2 } END { print n }' "/proc/$pid/smaps_rollup"; }
own() { awk '/^Anonymous:/ { print $2 }' "/proc/$pid/smaps_rollup"; }
at_most() { # KB: of each of them
	own=$(own) private=$(private)
	[ "$own" -le "$1" ] && [ "$private" -le 4096 ]
}
is_small() { # KB WHEN
	for _ in $(seq 1200); do at_most "$1" && return; sleep 0.05; done
	fail "the runner keeps $own kB of its own and $private in all, not $1 and 4096, $2"
}

if grep -q libcurl "/proc/$pid/maps"; then fail "the runner loads libcurl, and thirty libraries with it"; fi
is_small 2048 "idle"
before=$own
for _ in 1 2 3; do
	same "8 MB" 8000000 "$(ask "$N/exec" "for i in range(100): print('x' * 79999, flush=True)" | wc -c)"
done
is_small $((before + 512)) "after 8 MB of prints ($before before)"
same "one print" 20000001 "$(ask "$N/exec" "print('x' * 20000000)" | wc -c)"
same "eval" 8000001 "$(ask "$N/eval" "print('x' * 8000000)" | wc -c)"
is_small $((before + 512)) "after long prints ($before before)"
