#!/bin/bash
# kill -9 of whichever process comes first to a step (base/failpoint.h), for every step of the
# state directory, the mount and the runners' skeleton, in a life of an object from mkdir to rmdir.
# What was acknowledged holds, what was not can be asked for again, and never do two runners live.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1

mount_alive() { [ -r "$M/README" ] && head -c1 "$M/README" >/dev/null 2>&1; }

revive() {
	local i
	for i in 1 2 3 4 5; do
		mount_alive && return
		fusermount3 -uz "$M" 2>/dev/null
		"$INTERPFS" mount -o "state=$S" "$M" >>"$T/mount.log" 2>&1
	done
	mount_alive || fail "$point: the mount does not come back: $(tail -n 5 "$T/mount.log")"
}

# Runners of this state that live, also such as are not recorded.
runners() { pgrep -f "runner $S $1 [0-9]+\$"; } # KIND

# attempt WHAT CHECK CMD...: what returned 0 must hold by itself, what failed can be asked for again
attempt() {
	local what=$1 check=$2 ok; shift 2
	"$@" 2>/dev/null; ok=$?
	revive
	if [ $ok != 0 ] && ! $check 2>/dev/null; then
		"$@" 2>/dev/null || $check || true
		revive
	fi
	for _ in $(seq 1200); do
		$check 2>/dev/null && return
		mount_alive || revive
		sleep 0.05
	done
	fail "$point: $what (first try: $ok): state '$(cat "$O"/state 2>&1)', error '$(cat "$O"/error 2>&1)', root '$(cat "$M/error" 2>&1)'"
}

write() { echo "$1" >"$O/$2"; }
make() { mkdir "$O"; }
made() { [ -d "$O" ] && [ -e "$O/config" ]; }
has_state() { [ "$(cat "$O/state")" = "$1" ]; }
is_ready() { has_state ready && [ "$(cat "$O/config")" = 'timeout: 60' ]; }
is_stopped() { has_state stopped; }
ask() { exec 3<>"$O/exec" || return 1; { echo 'echo hello' >&3 && answer=$(cat <&3); } || { exec 3>&-; return 1; }; exec 3>&-; [ "$answer" = hello ]; }
asked() { [ "$answer" = hello ]; }
log_lines() { exec 3<>"$O/exec" || return 1; echo 'log 3 0' >&3 && cat <&3 >/dev/null; local r=$?; exec 3>&-; return $r; }
logged() { [ "$(grep -c '^line 3$' "$O/log")" -ge 1 ]; }
rename() { mv -T "$M/sandboxes/a" "$M/sandboxes/b"; }
renamed() { [ -d "$M/sandboxes/b" ] && ! [ -e "$M/sandboxes/a" ]; }
remove() { rmdir "$O"; }
removed() { ! [ -e "$O" ]; }
nothing_left() { [ -z "$(ls "$S/sandboxes" | grep -v names)" ] && [ -z "$(ls "$S/sandboxes/names")" ] && [ -z "$(runners sandbox)" ]; }
one_runner() { [ "$(runners sandbox | wc -l)" = 1 ]; }

life() {
	O=$M/sandboxes/a answer=
	revive
	attempt mkdir made make
	attempt config is_ready write 'timeout: 60' config
	attempt exec asked ask
	attempt log logged log_lines
	one_runner || fail "$point: runners: $(runners sandbox | xargs)"
	attempt rename renamed rename
	O=$M/sandboxes/b
	attempt stop is_stopped write stop ctl
	attempt start is_ready write start ctl
	eventually 5 one_runner
	attempt rmdir removed remove
	for _ in $(seq 1200); do nothing_left && return; sleep 0.05; done
	fail "$point: left: $(ls "$S/sandboxes" "$S/sandboxes/names" | xargs) runners: $(runners sandbox | xargs)"
}

# The steps are those that docs/state.md lists; where the sources are, it lists all of them. Those of
# a snapshot are another test's.
points=$(sed -n '/^## Failpoints/,$s/^| \([a-z, -]*\) | \(all\|mount\|runner\|both\) | .*/\1/p' docs/state.md | tr -d , | xargs -n 1 | grep -v '^step$' | sort -u)
[ "$(wc -w <<<"$points")" -gt 20 ] || fail "no failpoints found: $points"
if [ -d base ]; then
	same "the steps in docs/state.md" "$(grep -rhoE 'failpoint\("[a-z-]*"\)' --exclude=snapshots.c base fs backend/runner*.c | sed 's/.*"\(.*\)".*/\1/' | sort -u)" "$points"
fi
n=0
for point in $points; do
	# As an ordinary user every third is enough: the steps are the same.
	n=$((n + 1))
	[ "$(id -u)" = 0 ] || [ $((n % 3)) = 0 ] || continue
	export INTERPFS_FAILPOINT=$point:$T/flag
	rm -f "$T/flag"
	life
	[ -e "$T/flag" ] || fail "$point: nobody came to it"
	unmount_it
done
