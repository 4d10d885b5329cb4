#!/bin/bash
# runs: root
# also: threads
# A signal ends the mount soon and whole: while the kernel waits for a folder that somebody holds, while
# a slow disk has not answered; and what was written before is not forgotten.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1

ended() { case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in "" | Z*) return 0 ;; *) return 1 ;; esac; }
mount_pid() { awk '{print $1}' "$S/lock"; }

# Editors save by renaming, and the kernel is told to forget the names: it waits for the folder, which the next
# editor holds, which waits for the mount. Neither would ever come free.
cat >"$T/editors" <<'PY'
import mmap, os, signal, sys
folder, pid = sys.argv[1], int(sys.argv[2])
saved = mmap.mmap(-1, 6)
def edit(n):
    try:
        while True:
            with open("%s/%d" % (folder, n), "w") as f: f.write("timeout: 60\n")
            os.rename("%s/%d" % (folder, n), folder + "/config")
            saved[n] = min(saved[n] + 1, 255)
    except OSError: os._exit(0)
editors = []
for n in range(6):
    editors.append(os.fork())
    if not editors[-1]: edit(n)
while sum(saved[:]) < 100: pass
os.kill(pid, signal.SIGTERM)
for editor in editors: os.waitpid(editor, 0)
PY
mount_it; mkdir "$M/sandboxes/a"; unmount_it
for _ in 1 2 3; do
	eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
	pid=$(mount_pid)
	timeout 400 python3 "$T/editors" "$M/sandboxes/a" "$pid" || fail "the editors were not let go"
	eventually 5 ended "$pid"
done

# A reader of its messages that has gone does not end it.
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
pid=$(mount_pid)
kill -PIPE "$pid"
[ -r "$M/README" ] || fail "SIGPIPE ended it"
rmdir "$M/sandboxes/a"
eventually 5 sh -c "! ls $S/sandboxes | grep -q '^[0-9]'"
unmount_it
eventually 5 ended "$pid"

# A disk that does not answer: the signal waits for it, and the folder that was made at last is told
# to whom it concerns.
dd if=/dev/zero of="$T/disk" bs=1M count=32 status=none && mkfs.ext4 -q "$T/disk" && mkdir "$T/slow" &&
	mount -o loop "$T/disk" "$T/slow" || fail "a disk of its own"
on_exit 'fusermount3 -u "$M" 2>/dev/null; fsfreeze -u "$T/slow" 2>/dev/null; for i in $(seq 500); do umount "$T/slow" 2>/dev/null && break; sleep 0.1; done'
mkdir "$T/slow/state"; S=$T/slow/state
mount_it
pid=$(mount_pid)
mkdir "$M/workspace/libraries/one" && echo wait >"$M/workspace/ctl" || fail "a folder"
before=$(cat "$S"/workspaces/1/want)
fsfreeze -f "$T/slow" || fail "fsfreeze"
mkdir "$M/workspace/libraries/two" 2>/dev/null & maker=$!
eventually 5 sh -c "cat /proc/$pid/task/*/status | grep -q '^State:.*D'" # a thread of its waits for the disk
kill -TERM "$pid"
eventually 5 sh -c "! grep -q epoll /proc/$pid/wchan"
fsfreeze -u "$T/slow"
eventually 10 ended "$pid"
wait $maker
[ -d "$S/workspaces/1/libraries/two" ] || fail "the folder was not made"
[ "$before" != "$(cat "$S"/workspaces/1/want)" ] || fail "its workspace was not told"
exit 0
