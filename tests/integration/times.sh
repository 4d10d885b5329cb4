#!/bin/bash
# also: threads
# A file's time is when what it says last became something else, whatever else happened to its object.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
L=$M/sandboxes/lab W=$M/workspaces/default
time_of() { stat -c %.Y "$1"; }
now() { date +%s.%N; }
# kept WHAT FILE TIME: its time is that one still
kept() { same "$1: the time of ${2#"$M"/}" "$3" "$(time_of "$2")"; }
# between WHAT FILE FROM TO: its time lies there
between() {
	local at; at=$(time_of "$2")
	# a runner tells milliseconds, a disk the last tick of the kernel's clock
	awk -v a="$3" -v t="$at" -v b="$4" 'BEGIN { exit !(t >= a - 0.011 && t <= b) }' || fail "$1: the time of ${2#"$M"/} is $at, not from $3 to $4"
}

a=$(now); mkdir "$L"; b=$(now)
for f in ctl exec hold config mcp.json state error info.json log; do between "mkdir" "$L/$f" "$a" "$b"; done
between "mkdir" "$M/sandboxes" "$a" "$b"
between "mkdir" "$M/status" "$a" "$b"
made=$(time_of "$L/ctl")

a=$(now); echo 'timeout: 900' >"$L/config" && echo wait >"$L/ctl" || fail "wait"; b=$(now)
for f in config state info.json; do between "a config" "$L/$f" "$a" "$b"; done
between "a config" "$M/status" "$a" "$b"
state=$(time_of "$L/state") info=$(time_of "$L/info.json") config=$(time_of "$L/config") status=$(time_of "$M/status")

# What says nothing new of them leaves them alone.
ask "$L/exec" 'echo hello' >/dev/null
a=$(now); fails "an unknown command" sh -c "echo nonsense >$L/ctl"; b=$(now)
between "a refusal" "$L/error" "$a" "$b"
error=$(time_of "$L/error")
kept "a refusal" "$L/state" "$state"; kept "a refusal" "$L/config" "$config"; kept "a refusal" "$M/status" "$status"
kept "a refusal" "$L/ctl" "$made"; kept "a refusal" "$L/exec" "$made"; kept "a refusal" "$L/mcp.json" "$made"
ask "$L/exec" 'echo hello' >/dev/null
kept "a call" "$L/error" "$error"; kept "a call" "$L/info.json" "$info"

# The root's error.
a=$(now); fails "a name" mkdir "$M/sandboxes/.x"; b=$(now)
between "a refused mkdir" "$M/error" "$a" "$b"
kept "a refused mkdir" "$M/status" "$status"

# Another object changes the status, not the first.
a=$(now); mkdir "$M/sandboxes/other"; b=$(now)
between "another object" "$M/status" "$a" "$b"
kept "another object" "$L/state" "$state"
a=$(now); mv "$M/sandboxes/other" "$M/sandboxes/renamed"; b=$(now)
between "a new name" "$M/status" "$a" "$b"
a=$(now); rmdir "$M/sandboxes/renamed"; b=$(now)
between "rmdir" "$M/status" "$a" "$b"
between "rmdir" "$M/sandboxes" "$a" "$b"

a=$(now); echo stop >"$L/ctl" || fail "stop"; b=$(now)
between "stop" "$L/state" "$a" "$b"
between "stop" "$M/status" "$a" "$b"
state=$(time_of "$L/state")
kept "stop" "$L/config" "$config"

# The same after a remount, and nothing has a time of its own making.
error=$(time_of "$L/error")
unmount_it; mount_it
for f in "$L/state:$state" "$L/config:$config" "$L/ctl:$made" "$L/mcp.json:$made"; do kept "a remount" "${f%:*}" "${f##*:}"; done
same "older than the first mkdir, or of the future" "" "$(find "$M" -type f \( ! -newermt "@$(echo "$made" | cut -d. -f1)" -o -newermt '1 minute' \) | grep -v workspaces)"
[ "$(time_of "$W/used-by")" != 0 ] || fail "1970"

# What uses a workspace: it stays while those who do come and go to work, and changes when one joins or leaves.
used=$(time_of "$W/used-by")
echo start >"$L/ctl" && echo wait >"$L/ctl" || fail "start"
kept "a start" "$W/used-by" "$used"
mkdir "$M/sandboxes/second"
kept "mkdir" "$W/used-by" "$used"
a=$(now); echo 'timeout: 60' >"$M/sandboxes/second/config" && echo wait >"$M/sandboxes/second/ctl" || fail "second"; b=$(now)
grep -q sandboxes/second "$W/used-by" || fail "used-by: $(cat "$W/used-by")"
between "another user" "$W/used-by" "$a" "$b"
# Who uses it is read once, not at each look: there are as many as there were sessions.
spec=$S/sandboxes/$(jq .serial "$M/sandboxes/second/info.json")/spec.json
mv "$spec" "$T/spec.json"
grep -q sandboxes/second "$W/used-by" || fail "a look at used-by read all configs again"
mv "$T/spec.json" "$spec"
a=$(now); rmdir "$M/sandboxes/second"; b=$(now)
between "one user less" "$W/used-by" "$a" "$b"
