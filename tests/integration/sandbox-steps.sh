#!/bin/bash
# kill -9 of a sandbox's runner at each step of its life (base/failpoint.h) and at random moments:
# the next runner goes on, no container is started twice, none is left, and its files are kept.
. "$(dirname "$0")/../functions.sh"

inside() { "$INTERPFS" exec "$M/sandboxes/lab" -- "$@"; }
is() { [ "$(cat "$M/sandboxes/lab/state")" = "$1" ]; }
containers() { find "$S/runtime" -mindepth 2 -maxdepth 2 -name 'interpfs-*' 2>/dev/null | wc -l; }
# Process 1 of each sandbox of this state, whatever the runtime knows of it.
guests() { pgrep -fx '/run/interpfs/guest [0-9]+' | while read -r p; do grep -q "$S/" "/proc/$p/mountinfo" 2>/dev/null && echo "$p"; done | wc -l; }
settled() { local c; c=$(containers); [ "$c" -le 1 ] && [ "$(guests)" -le 1 ]; }

more= # lines of its config
life() { # WHAT
	mkdir "$M/sandboxes/lab" || fail "$1: mkdir"
	printf 'network: none\n%s\n' "$more" >"$M/sandboxes/lab/config" || fail "$1: config"
	eventually 60 is ready
	settled || fail "$1: $(containers) containers, $(guests) first processes"
	inside sh -c 'echo kept >/root/file' || fail "$1: exec"
	echo restart >"$M/sandboxes/lab/ctl" 2>/dev/null
	eventually 30 is ready
	settled || fail "$1, restarted: $(containers) containers, $(guests) first processes"
	same "$1: a file after a restart" kept "$(inside cat /root/file)"
	echo stop >"$M/sandboxes/lab/ctl" 2>/dev/null
	eventually 30 is stopped
	eventually 5 gone
	rmdir "$M/sandboxes/lab" || fail "$1: rmdir"
	eventually 30 nothing_left
}
gone() { [ "$(guests)" = 0 ] && [ "$(containers)" = 0 ]; }
nothing_left() { [ "$(ls "$S/sandboxes")" = names ] && gone && ! ls -d "$S"/layers/.build-* 2>/dev/null && ! grep -q "$S/" <(grep -v "$M" /proc/mounts); }

mount_it
life "with nothing killed"
unmount_it

grep -q sandbox-prepared "$INTERPFS" || fail "this build has no failpoints: make SANITIZE=address,undefined BUILD=build/asan"
steps="sandbox-prepared sandbox-starting sandbox-runtime sandbox-started sandbox-recorded sandbox-running
	sandbox-ready sandbox-ending sandbox-ended layer-building layer-built"
[ "$(id -u)" != 0 ] || steps="$steps image-building" # only root's sandboxes have images
for step in $steps; do
	more=
	case $step in
	layer-*) rm -rf "$S/layers"/[0-9a-f]* ;;
	image-*) more='setup: [echo made >/root/made]' ;;
	esac
	export INTERPFS_FAILPOINT=$step:$T/$step
	mount_it
	life "$step"
	unmount_it
	unset INTERPFS_FAILPOINT
	[ -e "$T/$step" ] || fail "$step was never reached"
done

# While Jupyter is installed beside a sandbox that is ready: it stays ready, the notebook comes.
life_with_notebook() { # WHAT
	mkdir "$M/sandboxes/lab" "$M/notebooks/nb" || fail "$1: mkdir"
	echo 'network: none' >"$M/sandboxes/lab/config" || fail "$1: config"
	eventually 60 is ready
	inside sh -c 'echo kept >/root/file' || fail "$1: exec"
	echo 'sandbox: lab' >"$M/notebooks/nb/config" || fail "$1: the notebook's config"
	timeout 400 sh -c "echo wait >'$M/notebooks/nb/ctl'" || fail "$1: the notebook: $(cat "$M/notebooks/nb/error")"
	same "$1: a cell" 2 "$(ask "$M/notebooks/nb/exec" 'print(1 + 1)')"
	same "$1: the sandbox" ready "$(cat "$M/sandboxes/lab/state")"
	same "$1: a file of before" kept "$(inside cat /root/file)"
	settled || fail "$1: $(containers) containers, $(guests) first processes"
	rmdir "$M/notebooks/nb" && rmdir "$M/sandboxes/lab" || fail "$1: rmdir"
	eventually 30 nothing_left
}
export INTERPFS_FAILPOINT=jupyter-building:$T/jupyter-building
mount_it
life_with_notebook jupyter-building
unmount_it
unset INTERPFS_FAILPOINT
[ -e "$T/jupyter-building" ] || fail "jupyter-building was never reached"

# At random, in the middle of starts.
mount_it
for i in 1 2 3 4 5 6; do
	mkdir "$M/sandboxes/lab"
	echo 'network: none' >"$M/sandboxes/lab/config"
	eventually 5 sh -c "ls '$S'/sandboxes/[0-9]*/run/pid"
	sleep "0.0$((RANDOM % 9))" # the moment is the test, not a condition
	for p in $(runner_pids); do kill -9 "$p"; done
	eventually 60 is ready
	settled || fail "random $i: $(containers) containers, $(guests) first processes"
	inside true || fail "random $i: it does not answer"
	rmdir "$M/sandboxes/lab"
	eventually 30 nothing_left
done
