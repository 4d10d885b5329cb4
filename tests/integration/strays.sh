#!/bin/bash
# What crashes leave behind on this machine is listed, told from what others have, and removed: builds without
# a builder, a network's helper without a sandbox, mounts without a daemon.
. "$(dirname "$0")/../functions.sh"

listed() { "$INTERPFS" ps -o "state=$S"; }
reap() { "$INTERPFS" doctor -o "state=$S" --reap; }
has_line() { listed | grep -q "$1"; }
says() { eventually 20 has_line "$1"; } # what was killed holds its locks for a moment
on_exit 'reap >/dev/null 2>&1'

# Where there is no state directory nothing is made.
"$INTERPFS" ps -o "state=$T/none" 2>"$T/said" && fail "ps of nothing"
same "ps of nothing" "interpfs ps: there is no state directory at $T/none" "$(cat "$T/said")"
"$INTERPFS" doctor -o "state=$T/none" --reap 2>"$T/said" && fail "reap of nothing"
test ! -e "$T/none" || fail "a state directory was made"
fails "an unknown option" "$INTERPFS" ps -x
fails "an unknown option" "$INTERPFS" doctor --reap --all

# Nothing is there yet.
mount_it
same "ps of an empty state" "NAME  BACKEND  KIND  ID  STATE  SINCE  OWNER" "$(listed)"
same "nothing to reap" "" "$(reap)"

# Everything dies while packages are installed.
mkdir "$M/sandboxes/lab"
echo 'python_packages: [six]' >"$M/sandboxes/lab/config"
eventually 60 sh -c "ls '$S'/layers/.build-*/ctl/pid"
build=$(basename "$(echo "$S"/layers/.build-*)")
pid=$(live_pid "$S/layers/$build/ctl/pid")
says " build .* running .* whoever makes it"
same "what is made is no stray" "" "$(reap)"
[ -d "/proc/$pid" ] || fail "a build was ended while it was made"
daemon=$(cut -d' ' -f1 "$S/lock")
kill -9 "$daemon" $(runner_pids)
eventually 20 sh -c "[ -z \"\$(ls /proc/$daemon/exe 2>/dev/null)\" ]"
says " build .* stray: nobody makes it any more"
says "mount *$M *dead .*stray: nobody serves it"

# A helper whose box is nowhere, and one that is none of ours.
helper() { # FOLDER: a network of its own, and a helper that writes there
	mkdir -p "$1/ctl"
	unshare -rn sleep 1000 & spaces+=($!); disown
	eventually 20 sh -c "[ \"\$(readlink /proc/${spaces[-1]}/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ] && grep -q sleep /proc/${spaces[-1]}/comm"
	slirp4netns --configure "${spaces[-1]}" tap0 >"$1/ctl/network.log" 2>&1 & helpers+=($!); disown
	eventually 20 grep -q slirp4netns "/proc/${helpers[-1]}/comm"
	eventually 20 test -s "$1/ctl/network.log"
}
spaces=() helpers=()
on_exit 'kill -9 "${spaces[@]}" "${helpers[@]}" 2>/dev/null'
helper "$S/sandboxes/999/box"
helper "$T/elsewhere/sandboxes/999/box"
rm -rf "$S/sandboxes/999"
says "network *${helpers[0]} *running .*stray: there is nothing that it joins"
listed | grep -q " ${helpers[1]} " && fail "another's helper is ours: $(listed)"
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$S/sandboxes/998/box/root" "$T/elsewhere/root"
	on_exit 'umount -l "$S/sandboxes/998/box/root" "$T/elsewhere/root" 2>/dev/null'
	mount -t tmpfs none "$S/sandboxes/998/box/root"
	mount -t tmpfs none "$T/elsewhere/root"
	says "mount *$S/sandboxes/998/box/root *mounted .*stray"
fi

reap >"$T/said" || fail "reap: $(cat "$T/said")"
for what in "build *interpfs-.*-build-" "network *${helpers[0]}\$" "mount *$M\$"; do
	grep -q "^removed *local *$what" "$T/said" || fail "not removed: $what: $(cat "$T/said")"
done
eventually 20 sh -c "! [ -e /proc/$pid/exe ] && ! [ -e /proc/${helpers[0]}/exe ]"
test ! -e "$S/layers/$build" || fail "the build's folder is left"
grep " $M " /proc/mounts && fail "the dead mount is left"
[ -e "/proc/${helpers[1]}/exe" ] || fail "another's helper was ended"
if [ "$(id -u)" = 0 ]; then
	grep -q " $S/sandboxes/998/box/root " /proc/mounts && fail "a mount in a box is left"
	grep -q " $T/elsewhere/root " /proc/mounts || fail "another's mount was taken away"
	umount "$T/elsewhere/root"
	rm -rf "$S/sandboxes/998"
fi
same "groups left" "" "$(find /sys/fs/cgroup -maxdepth 4 -type d -name "interpfs-$(cat "$S/id")-build-*" 2>/dev/null)"

# The next mount goes on where the last one was.
mount_it
echo wait >"$M/sandboxes/lab/ctl" || fail "lab: $(cat "$M/sandboxes/lab/error")"
"$INTERPFS" exec "$M/sandboxes/lab" -- python3 -c 'import six' || fail "its packages"
says "^lab *local *sandbox .* running .* sandboxes/lab"
same "nothing to reap" "" "$(reap)"

# Removed, and everything dies before it was: the record is there, its name is not.
id=$(cat "$M/sandboxes/lab/id")
read -r daemon _ <"$S/lock"
unmount_it
eventually 20 sh -c "! [ -e /proc/$daemon/exe ]" # it would start another runner
kill -9 $(runner_pids)
pid=$(live_pid "$S/sandboxes/${id##*-}/box/ctl/pid")
rm "$S/sandboxes/names/lab"
says " $id *running .*stray: its sandbox was removed"
reap | grep -q "^removed *local *sandbox *$id" || fail "reap: $(listed)"
[ ! -e "/proc/$pid/exe" ] || fail "it runs still"
same "ps" "stopped" "$(listed | awk -v id="$id" '$4 == id {print $5}')"
exit 0
