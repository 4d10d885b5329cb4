#!/bin/bash
# also: threads
# Mounting: the helper's arguments, a daemon that can be used when it has returned, one mount a
# state, stale mounts, unmounting while files are open; runners go on.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1

# On the next line it can be used.
mount_it
[ -r "$M/README" ] || fail "not usable at once"
grep -q " fuse.interpfs " <(grep " $M " /proc/mounts) || fail "type: $(grep "$M" /proc/mounts)"

# One mount at a time; the holder is named.
mkdir "$T/second"
"$INTERPFS" mount -o "state=$S" "$T/second" 2>"$T/refused" && fail "two mounts of one state"
grep -q "$M" "$T/refused" || fail "the holder is not named: $(cat "$T/refused")"
"$INTERPFS" mount -o "state=$T/state2,colour=red" "$T/second" 2>"$T/refused" && fail "an unknown option"
grep -q "colour=red" "$T/refused" || fail "it is not named: $(cat "$T/refused")"
"$INTERPFS" mount -o "state=$T/state2" "$T/nowhere" 2>/dev/null && fail "a folder that is not there"

# Unmount: what runs goes on, and the next mount shows it.
mkdir "$M/sandboxes/a"
echo 'timeout: 60' >"$M/sandboxes/a/config"
echo wait >"$M/sandboxes/a/ctl" || fail wait
pid=$(runner_pids)
[ -n "$pid" ] || fail "no runner"
unmount_it
eventually 5 sh -c "! grep -q ' $M ' /proc/mounts"
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
same "the same runner" "$pid" "$(runner_pids)"
same "state" ready "$(cat "$M/sandboxes/a/state")"
exec 3<>"$M/sandboxes/a/exec"; echo 'echo hello' >&3; same "adopted" hello "$(cat <&3)"; exec 3>&-

# kill -9 of the mount: a stale mount is cleaned up by the next one, nothing is lost.
mount_pid=$(awk '{print $1}' "$S/lock")
kill -9 "$mount_pid" || fail "lock does not hold the mount's pid: $(cat "$S/lock")"
eventually 5 sh -c "! kill -0 $mount_pid 2>/dev/null"
fails "a dead mount" ls "$M"
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
same "mounts" 1 "$(grep -c " $M " /proc/mounts)"
same "state" ready "$(cat "$M/sandboxes/a/state")"
same "the same runner" "$pid" "$(runner_pids)"

# Unmounting with parked readers and open files: lazily, and everybody comes free.
cat "$M/sandboxes/a/log.follow" >/dev/null 2>&1 & reader=$!
eventually 5 sh -c "ls -l /proc/$reader/fd | grep -q log.follow"
fails "busy" fusermount3 -u "$M"
mount_pid=$(awk '{print $1}' "$S/lock")
kill -TERM "$mount_pid"
eventually 5 sh -c "! kill -0 $mount_pid 2>/dev/null"
eventually 5 sh -c "! kill -0 $reader 2>/dev/null"
wait $reader 2>/dev/null
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"

# What is no place for a mount is told so, and nothing is logged where nothing was mounted.
: >"$T/file"
"$INTERPFS" mount -o "state=$T/state3" "$T/file" 2>"$T/refused" && fail "a mount on a file"
grep -q "$T/file: Not a directory" "$T/refused" || fail "on a file: $(cat "$T/refused")"
"$INTERPFS" mount -o "state=$T/state3" "$M" 2>"$T/refused" && fail "a mount on a mount"
grep -q "already" "$T/refused" || fail "on a mount: $(cat "$T/refused")"
same "unmounts that the log tells" 2 "$(grep -c unmounted "$S/log")"

# A state directory that the mount would hide; a remount.
"$INTERPFS" mount -o "state=$T/second/state" "$T/second" 2>"$T/refused" && fail "a hidden state directory"
grep -q "would hide it" "$T/refused" || fail "hidden: $(cat "$T/refused")"
rm -r "$T/second/state"
"$INTERPFS" mount -o "remount,ro" "$M" 2>"$T/refused" && fail "a remount"
grep -q "umount it and mount it again" "$T/refused" || fail "remount: $(cat "$T/refused")"

# Unmounted, but somebody has it still: a lazy unmount's last user, or a mount namespace that was made
# meanwhile (a daemon's own). The state is free at once, and what lies on the folder then stays.
mount_pid=$(awk '{print $1}' "$S/lock")
cat "$M/sandboxes/a/log.follow" >/dev/null 2>&1 & reader=$!
eventually 5 sh -c "ls -l /proc/$reader/fd | grep -q log.follow"
fusermount3 -uz "$M" || fail "a lazy unmount"
"$INTERPFS" mount -o "state=$S" "$M" || fail "mounting after a lazy unmount"
eventually 5 sh -c "! kill -0 $mount_pid 2>/dev/null"
wait $reader 2>/dev/null
if [ "$(id -u)" = 0 ]; then own=-m; else own=-Urm; fi
mkfifo "$T/hold"
unshare $own cat "$T/hold" & holder=$!
exec 3>"$T/hold"
eventually 5 grep -q " $M " "/proc/$holder/mounts"
mount_pid=$(awk '{print $1}' "$S/lock")
unmount_it
"$INTERPFS" mount -o "state=$S" "$M" || fail "mounting while another namespace has the one before"
eventually 5 sh -c "! kill -0 $mount_pid 2>/dev/null"
[ -r "$M/README" ] || fail "the daemon before unmounted what is there now"
same "mounts" 1 "$(grep -c " $M " /proc/mounts)"
# The daemon holds nothing of its caller's open: cat reads its end of file when this shell closes.
exec 3>&-
wait $holder

# By a link, with blanks in its path, dead or alive.
mkdir "$T/a place" && ln -s "a place" "$T/link"
"$INTERPFS" mount -o "state=$T/state3" "$T/link" || fail "a link"
[ -r "$T/a place/README" ] || fail "a link's mount"
"$INTERPFS" mount -o "state=$T/state4" "$T/link" 2>/dev/null && fail "twice by a link"
mount_pid=$(awk '{print $1}' "$T/state3/lock")
kill -9 "$mount_pid"
eventually 5 sh -c "! kill -0 $mount_pid 2>/dev/null"
eventually 5 "$INTERPFS" mount -o "state=$T/state3" "$T/link"
same "mounts" 1 "$(grep -c 'a.040place' /proc/mounts)"
fusermount3 -u "$T/a place" || fail "unmount by its path"

# The helper as mount(8) calls it: SOURCE DIR -o …, with fstab's words among the options.
ln -s "$INTERPFS" "$T/mount.interpfs"
"$T/mount.interpfs" interpfs "$T/second" -o "rw,nofail,_netdev,user,noexec,nosuid,nodev,x-systemd.automount,state=$T/state2" ||
	fail "the helper"
[ -r "$T/second/README" ] || fail "the helper's mount"
grep -q "^interpfs $T/second fuse.interpfs" /proc/mounts || fail "$(grep second /proc/mounts)"
fusermount3 -u "$T/second" || fail "unmount"
"$T/mount.interpfs" interpfs "$T/second" -f -v -n -o rw || fail "a fake mount"
grep -q "$T/second" /proc/mounts && fail "a fake mount mounted"

# In the foreground; SIGTERM ends it cleanly.
"$INTERPFS" mount -f -o "state=$T/state2" "$T/second" >"$T/foreground" 2>&1 & foreground=$!
eventually 5 test -r "$T/second/README"
kill -TERM $foreground
wait $foreground || fail "SIGTERM: status $?: $(cat "$T/foreground")"
grep -q "$T/second" /proc/mounts && fail "still mounted"

# The log calls things by their names, to the end.
kill -9 "$(runner_pids)"
eventually 10 grep -q 'sandboxes/a ([0-9]*): its runner ended unexpectedly' "$M/log"
eventually 10 sh -c "[ \"\$(cat '$M/sandboxes/a/state')\" = ready ]"
mv "$M/sandboxes/a" "$M/sandboxes/b"
rmdir "$M/sandboxes/b" || fail rmdir
eventually 10 grep -q 'sandboxes/b ([0-9]*): removed' "$M/log"

# Nobody else enters.
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	chmod 755 "$T"
	fails "another user" setpriv --reuid=nobody --clear-groups ls "$M"
fi
# A private state directory.
same "mode" 700 "$(stat -c %a "$S")"
exit 0
