#!/bin/bash
# runs: root
# A full disk: every write that needs room fails where the writer sees it; what was there stays, and when
# there is room again everything goes on.
. "$(dirname "$0")/../functions.sh"
mkdir "$S" && mount -t tmpfs -o size=1m,mode=0700 tmpfs "$S" || fail "tmpfs"
on_exit 'fusermount3 -u "$M"; for i in $(seq 500); do umount "$S" 2>/dev/null && break; sleep 0.1; done'
mount_it
L=$M/sandboxes/lab
mkdir "$L"; echo '# first' >"$L/config" || fail "the first config"
echo 'x = 1' >"$M/workspace/libraries/small.py" && echo wait >"$M/workspace/ctl"
listed=$(cat "$M/workspace/installed")

head -c 4000000 /dev/zero >"$T/big"
fails "a file that does not fit" cp "$T/big" "$M/workspace/files/big"
[ "$(LC_ALL=C cp "$T/big" "$M/workspace/files/big" 2>&1 | grep -c 'No space left')" = 1 ] || fail "the disk's own error"
dd if=/dev/zero of="$M/workspace/files/rest" bs=512 2>/dev/null
head -c 20000 /dev/zero | tr '\0' '#' >"$T/config"
fails "a config that cannot be kept" cp "$T/config" "$L/config"
same "the config from before" '# first' "$(cat "$L/config")"
fails "mkdir without room" mkdir "$M/sandboxes/second"
case $(cat "$M/error") in "mkdir sandboxes/second: "*"No space left"*) ;; *) fail "the root's error: $(cat "$M/error")" ;; esac
same "its size" "$(wc -c <"$M/error")" "$(stat -c %s "$M/error")"
[ ! -e "$M/sandboxes/second" ] || fail "half a sandbox was made"
same "values can be read" draft "$(cat "$L/state")"
same "a library is whole" 'x = 1' "$(cat "$M/workspace/libraries/small.py")"

rm "$M/workspace/files/big" "$M/workspace/files/rest" || fail "rm on a full disk"
echo '# second' >"$L/config" || fail "a config when there is room again"
same "it is kept" '# second' "$(cat "$L/config")"
mkdir "$M/sandboxes/second" || fail "mkdir when there is room again"
echo reload >"$M/workspace/ctl" && echo wait >"$M/workspace/ctl" || fail "the workspace's runner goes on"
same "installed" "$listed" "$(cat "$M/workspace/installed")"
unmount_it; mount_it
same "after a remount" "lab second" "$(ls "$M/sandboxes" | xargs)"

# Without room for a Python environment a sandbox has none and says so, and the next is not given half of one.
mount -o remount,size=3m "$S" || fail "a slightly larger disk"
mkdir "$M/sandboxes/a" && echo 'timeout: 900' >"$M/sandboxes/a/config" && echo wait >"$M/sandboxes/a/ctl" || fail "a"
grep -q 'there is no room for a Python environment' "$M/sandboxes/a/log" || fail "its log: $(cat "$M/sandboxes/a/log")"
rmdir "$M/sandboxes/a" && mount -o remount,size=64m "$S" || fail "a larger disk"

# What runs can be stopped and removed on a full disk, which is how room is made.
for i in a b; do
	mkdir "$M/sandboxes/$i" && echo 'timeout: 900' >"$M/sandboxes/$i/config" && echo wait >"$M/sandboxes/$i/ctl" || fail "$i"
done
folders=$(readlink -f "$S/sandboxes/names/a" "$S/sandboxes/names/b")
"$INTERPFS" exec "$M/sandboxes/a" -- python -m pip --version >/dev/null || fail "no pip, with room for it"
dd if=/dev/zero of="$M/workspace/files/most" bs=64k 2>/dev/null
dd if=/dev/zero of="$M/workspace/files/rest" bs=512 2>/dev/null
fails "mkdir without room" mkdir "$M/sandboxes/c"
echo stop >"$M/sandboxes/a/ctl" || fail "stop: $(cat "$M/sandboxes/a/error")"
same "it has stopped" stopped "$(cat "$M/sandboxes/a/state")"
dd if=/dev/zero of="$M/workspace/files/more" bs=512 2>/dev/null
rmdir "$M/sandboxes/a" "$M/sandboxes/b" || fail "rmdir: $(cat "$M/error")"
for i in $folders; do eventually 5 test ! -e "$i"; done

# Full at each step of making something, one after the other: nothing is half there, its name is free again, and
# `error` says why though the disk did not take the sentence.
unmount_it
eventually 5 umount "$S"
mount -t tmpfs -o size=4m,nr_inodes=300,mode=0700 tmpfs "$S" || fail "a disk of few files"
export INTERPFS_SELFTEST=1
mount_it
mkdir "$M/sandboxes/a" "$S/filler"
fill() { local i=$RANDOM$RANDOM; while touch "$S/filler/$i"; do i=$((i + 1)); done 2>/dev/null; }
free() { ls "$S/filler" | head -n "$1" | sed "s,^,$S/filler/," | xargs -r rm; }
made=0 full=0
for n in $(seq 0 16); do
	fill; free "$n"
	before=$(ls "$M/workspaces" "$M/sessions")
	if mkdir "$M/workspaces/w$n" 2>"$T/why"; then made=$((made + 1)); else
		full=$((full + 1))
		grep -q 'No space left' "$T/why" && grep -q 'No space left' "$M/error" || fail "step $n: $(cat "$T/why" "$M/error")"
		same "step $n of mkdir" "$before" "$(ls "$M/workspaces" "$M/sessions")"
		free 40
		mkdir "$M/workspaces/w$n" || fail "step $n of mkdir: its name is not free again"
		same "no error any more" "" "$(cat "$M/error")"
	fi
	rmdir "$M/workspaces/w$n" || fail "rmdir"
	fill; free "$n"
	before=$(ls "$M/sessions")
	exec 3<>"$M/sessions/new"; echo 'sandbox: a' >&3
	if { read -r number <&3; } 2>/dev/null; then rmdir "$M/sessions/$number" || fail "rmdir"; else
		same "step $n of a session" "$before" "$(ls "$M/sessions")"
	fi
	{ exec 3>&-; } 2>/dev/null
done
[ "$made" -gt 0 ] && [ "$full" -gt 5 ] || fail "$made made, $full not: the steps were not met"
# A config that was kept and could not be put into force: the same bytes, when there is room, do it.
mkdir "$M/sessions/late"
fill; free 1
echo 'sandbox: a' >"$M/sessions/late/config" || fail "its text has room"
eventually 5 grep -q 'No space left' "$M/sessions/late/error"
free 40
echo 'sandbox: a' >"$M/sessions/late/config" || fail "the same bytes"
eventually 5 grep -q '"sandbox"' "$(ls -d "$S"/sessions/[0-9]* | tail -n 1)/spec.json"
same "no error any more" "" "$(cat "$M/sessions/late/error")"
rm -r "$S/filler"
there=$(ls "$M/workspaces" "$M/sessions")
unmount_it
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
same "after a remount" "$there" "$(ls "$M/workspaces" "$M/sessions")"
