#!/bin/bash
# kill -9 at moments that nobody chose: the mount while a runner writes, the runner, both at once.
# No byte that was shown is missing, each line is there once, and everything comes back.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1

mount_pid() { cut -d' ' -f1 "$S/lock"; }
kill_mount() {
	local pid; pid=$(mount_pid)
	kill -9 "$pid" && eventually 5 sh -c "! kill -0 $pid 2>/dev/null"
	eventually 10 "$INTERPFS" mount -o "state=$S" "$M"
}
runner_pid() { pgrep -f "runner $S sandbox [0-9]+\$"; }
no_runner() { [ -z "$(runner_pid)" ]; }
has_state() { [ "$(cat "$M/sandboxes/a/state")" = "$1" ]; }
is_new_runner() { [ "$(runner_pid | wc -l)" = 1 ] && [ "$(runner_pid)" != "$1" ] && has_state ready; }
nap() { sleep "0.$((RANDOM % 4))$((RANDOM % 10))"; }

mount_it
mkdir "$M/sandboxes/a" && echo 'timeout: 60' >"$M/sandboxes/a/config" && echo wait >"$M/sandboxes/a/ctl" || fail "start"
runner=$(runner_pid)

# The mount, again and again, while 400 lines come; a reader keeps what it has seen.
exec 3<>"$M/sandboxes/a/exec"; echo 'log 400 5' >&3; (cat <&3 >/dev/null 2>&1 &); exec 3>&-
seen=0
for round in 1 2 3 4 5; do
	nap
	cp "$M/sandboxes/a/log" "$T/seen"
	[ "$(stat -c %s "$T/seen")" -ge "$seen" ] || fail "round $round: the log became shorter"
	seen=$(stat -c %s "$T/seen")
	kill_mount
	cmp -n "$seen" "$T/seen" "$M/sandboxes/a/log" || fail "round $round: what was shown has changed"
	same "round $round: the same runner" "$runner" "$(runner_pid)"
done
eventually 10 grep -qx 'line 400' "$M/sandboxes/a/log"
same "each line once, in order" "$(seq -f 'line %.0f' 400 | md5sum)" "$(grep '^line ' "$M/sandboxes/a/log" | md5sum)"
same "started once" 1 "$(grep -c ' started$' "$M/sandboxes/a/log")"

# The runner: it comes back, the mount says so, and its log has no hole.
for round in 1 2; do
	runner=$(runner_pid)
	exec 3<>"$M/sandboxes/a/exec"; echo 'log 100 5' >&3
	nap
	cp "$M/sandboxes/a/log" "$T/seen"
	kill -9 "$runner"
	cat <&3 >/dev/null 2>&1; exec 3>&-
	eventually 5 is_new_runner "$runner"
	cmp -n "$(stat -c %s "$T/seen")" "$T/seen" "$M/sandboxes/a/log" || fail "round $round: what was shown has changed"
	exec 3<>"$M/sandboxes/a/exec"; echo 'echo back' >&3; same "round $round: it answers" back "$(cat <&3)"; exec 3>&-
done

# Both at once, in either order.
runner=$(runner_pid)
kill -9 "$runner" "$(mount_pid)"
eventually 10 "$INTERPFS" mount -o "state=$S" "$M"
eventually 5 is_new_runner "$runner"

# Gone while it lags: a stop that was acknowledged is done by whoever comes next.
runner=$(runner_pid)
kill -STOP "$runner"
(echo stop >"$M/sandboxes/a/ctl" 2>/dev/null &)
eventually 5 grep -q stopped "$S"/sandboxes/[0-9]*/want
kill -9 "$(mount_pid)" "$runner"
eventually 10 "$INTERPFS" mount -o "state=$S" "$M"
eventually 5 has_state stopped
eventually 5 no_runner
