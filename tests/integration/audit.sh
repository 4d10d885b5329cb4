#!/bin/bash
# also: threads
# Reading is free: walkers, copiers and sniffers go through the whole tree, start nothing, change
# nothing and hang nowhere; sizes are true; parked readers hold up nobody.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
mkdir "$M/sandboxes/a" "$M/sandboxes/idle"
echo 'timeout: 600' >"$M/sandboxes/a/config"
echo wait >"$M/sandboxes/a/ctl" || fail wait
count() { cat "$S"/sandboxes/[0-9]*/want "$S"/sandboxes/[0-9]*/status | sort; runner_pids; ls "$S"/*/; }
for b in "$M"/backends/*/; do eventually 10 test -s "$b/state"; done # a probe of a runtime leaves a folder
before=$(count)

cd / || exit 2
walk() { timeout 400 "$@" >"$T/out" 2>"$T/err" || fail "$*: $? $(head -n 3 "$T/err")"; }
walk find "$M" -ls
walk find "$M" -size +1k
walk cp -r "$M" "$T/copied"
walk tar cf "$T/all.tar" -C "$M" .
walk du -a "$M"
walk ls -lR "$M"
walk sh -c "find '$M' -type f -print0 | xargs -0 cat"
walk sh -c "find '$M' -type f -print0 | xargs -0 file"
walk sh -c "find '$M' -type f -print0 | xargs -0 head -c1"
timeout 400 grep -r nothing-like-this "$M" >/dev/null 2>"$T/err"
same "grep's status (1: no match)" 1 $?
same "grep says nothing" "" "$(cat "$T/err")"
walk rsync -a "$M/" "$T/rsynced"
command -v gio >/dev/null && walk gio info -a '*' "$M/sandboxes/a/config"
df "$M" >/dev/null || fail df
unchanged() { [ "$before" = "$(count)" ]; }
eventually 5 unchanged # once the last probe has ended

# Every file: what stat says is what a reader gets.
find "$M" -type f | while read -r f; do
	case $f in "$M"/log | "$M"/status) continue ;; esac
	size=$(stat -c %s "$f") got=$(timeout 60 wc -c <"$f" | tr -d ' ')
	[ "$size" = "$got" ] || { echo "$f: stat $size, read $got"; exit 1; }
	links=$(stat -c %h "$f"); [ "$links" = 1 ] || { echo "$f: $links links"; exit 1; }
done >"$T/sizes" || fail "$(cat "$T/sizes")"
# d_type and inode as readdir and stat see them.
python3 - "$M" <<'PY' || fail "readdir and stat disagree"
import os, stat, sys
for top, dirs, files in os.walk(sys.argv[1]):
    for e in os.scandir(top):
        s = e.stat(follow_symlinks=False)
        assert e.is_dir(follow_symlinks=False) == stat.S_ISDIR(s.st_mode), e.path
        assert e.is_symlink() == stat.S_ISLNK(s.st_mode), e.path
    s = os.stat(top)
    subs = sum(1 for e in os.scandir(top) if e.is_dir(follow_symlinks=False))
    assert s.st_nlink in (1, 2 + subs), (top, s.st_nlink, subs)
PY
# Unlisted, and found by name.
[ -e "$M/sandboxes/a/log.follow" ] || fail "log.follow"
ls -a "$M/sandboxes/a" | grep -q follow && fail "log.follow is listed"
# No extended attributes, no other writes.
python3 -c "
import os, errno
try: os.listxattr('$M/sandboxes/a/state'); raise SystemExit('xattr')
except OSError as e: assert e.errno == errno.ENOTSUP, e" || fail "extended attributes"
fails "symlink" ln -s x "$M/sandboxes/a/link"
fails "mkfifo" mkfifo "$M/sandboxes/a/pipe"
fails "a folder in an object" mkdir "$M/sandboxes/a/folder"
fails "rmdir of the mount's own" rmdir "$M/sandboxes"

# 600 parked readers: everybody else goes on, and each comes free by its signal.
python3 - "$M" <<'PY' || fail "parked readers"
import os, signal, subprocess, sys, time
m = sys.argv[1]
start = time.time(); os.listdir(m + "/sandboxes/a"); open(m + "/sandboxes/a/state").read(); alone = time.time() - start
pids = []
for i in range(600):
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try: f = os.open(m + "/sandboxes/a/log.follow", os.O_RDONLY)
        except OSError: os._exit(1)
        while os.read(f, 65536): pass
        os._exit(0)
    pids.append(pid)
time.sleep(1)
worst = 0
for i in range(20):
    start = time.time(); os.listdir(m + "/sandboxes/a"); open(m + "/sandboxes/a/state").read()
    worst = max(worst, time.time() - start)
print("alone %.1f ms, among 600 %.1f ms" % (alone * 1e3, worst * 1e3), file=sys.stderr)
assert worst < 60, worst # not until one of them ends
start = time.time()
for n, pid in enumerate(pids): os.kill(pid, [signal.SIGTERM, signal.SIGINT, signal.SIGKILL][n % 3])
for pid in pids: os.waitpid(pid, 0)
assert time.time() - start < 240, time.time() - start
PY
exit 0
