#!/bin/bash
# runs: root
# also: threads
# A disk that does not answer for a while: who asked for a write waits for it, and nobody else; what is acknowledged
# is on it.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
dd if=/dev/zero of="$T/disk" bs=1M count=32 status=none && mkfs.ext4 -q "$T/disk" && mkdir "$T/slow" &&
	mount -o loop "$T/disk" "$T/slow" || fail "a disk of its own"
on_exit 'fsfreeze -u "$T/slow" 2>/dev/null; rmdir "$M"/sessions/[0-9]* "$M"/sandboxes/*; eventually 5 sh -c "! ls $S/*/*/run/sock"
	fusermount3 -uq "$M"; eventually 5 umount "$T/slow"'
mkdir "$T/slow/state"; S=$T/slow/state
mount_it
pid=$(awk '{print $1}' "$S/lock")
mkdir "$M/sandboxes/a"
echo 'timeout: 600' >"$M/sandboxes/a/config"
echo wait >"$M/sandboxes/a/ctl" || fail wait
echo 'sandbox: a' >"$M/sessions/new" || fail "a session"
same "the next command sees it" 1 "$(ls "$M/sessions" | grep -v latest | grep -v new)"

ended() { case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in "" | Z*) return 0 ;; *) return 1 ;; esac; }
# Somebody of the mount waits for the disk, and it is not the loop.
waits() { eventually 5 sh -c "cat /proc/$pid/task/*/status | grep -q '^State:.*D'"; }
others() {
	local f
	for f in README sandboxes/a/state sandboxes/a/ctl sandboxes/a/log sandboxes/a/config error; do
		timeout 60 cat "$M/$f" >/dev/null || fail "$1: $f cannot be read meanwhile"
	done
	timeout 60 ls -l "$M/sandboxes/a" >/dev/null || fail "$1: ls"
}
freeze() { fsfreeze -f "$T/slow" || fail fsfreeze; }
thaw() { fsfreeze -u "$T/slow" || fail "fsfreeze -u"; }

freeze
timeout 60 sh -c "echo 'sandbox: a' >'$M/sessions/new'" || fail "closing sessions/new waits"
waits; others "a session"
ls "$M/sessions" >"$T/listed" & lister=$!
cat "$M/status" >"$T/status" & reader=$!
cat "$M/sessions/latest/config" >"$T/latest" & latest=$!
others "readers of sessions/"
for p in $lister $reader $latest; do ended $p && fail "it did not wait for the session that was closed before it"; done
thaw
wait $lister && wait $reader && wait $latest || fail "readers of sessions/"
grep -qx 2 "$T/listed" && grep -q "^session 2 " "$T/status" || fail "$(cat "$T/listed" "$T/status")"
same "the latest" "sandbox: a" "$(cat "$T/latest")"

# Two readers of one number make one session; a signal ends the waiting, not the session.
freeze
python3 - "$M/sessions/new" "$T/reading" <<'PY' & number=$!
import os, signal, sys, threading, time
f = os.open(sys.argv[1], os.O_RDWR)
os.write(f, b"sandbox: a\n")
class Rung(Exception): pass
def ring(*_): raise Rung
signal.signal(signal.SIGALRM, ring)
try: signal.setitimer(signal.ITIMER_REAL, 0.2); os.read(f, 100); raise SystemExit("it was not interrupted")
except Rung: pass
got = []
def read(): got.append(os.pread(f, 100, 0)) # read(2) would wait for the other in the kernel
readers = [threading.Thread(target=read) for _ in range(2)]
for t in readers: t.start()
try: os.pwrite(f, b"x", 0); raise SystemExit("a write while it is made")
except OSError as e: assert e.errno == 16, e
open(sys.argv[2], "w").close()
for t in readers: t.join()
assert sorted(got) == [b"", b"3\n"], got
os.close(f)
PY
waits; others "a number"
eventually 10 test -e "$T/reading"
ended $number && fail "a number was told before its session was on the disk"
thaw
wait $number || fail "two readers of one number"
same "one session" "1 2 3" "$(ls "$M/sessions" | grep '^[0-9]' | xargs)"

# A message that is moved over an inbox is on the disk when mv returns.
echo 'What do the vectors do?' >"$M/sessions/1/.message"
freeze
python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$M/sessions/1/.message" "$M/sessions/1/input" & mover=$!
waits; others "a message"
ended $mover && fail "a message was acknowledged before it was on the disk"
thaw
wait $mover || fail "mv of a message"
grep -q vectors "$S"/sessions/*/inbox/* || fail "the message"
exit 0
