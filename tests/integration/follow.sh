#!/bin/bash
# also: threads
# Logs, followers, waits and calls of the mount, against runners that only pretend (INTERPFS_SELFTEST).
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
cd "$M" || exit 2
on_exit 'cd /'

mkdir sandboxes/a
# Before anything was started a follower waits.
cat sandboxes/a/log.follow >"$T/followed" &
follower=$!
echo 'timeout: 60' >sandboxes/a/config || fail "config"
echo wait >sandboxes/a/ctl || fail "wait"
same "state" ready "$(cat sandboxes/a/state)"

call() { # WHAT FILE: one call on one descriptor
	exec 3<>"$2"; echo "$1" >&3; cat <&3; local r=$?; exec 3>&-; return $r
}
same "echo" hello "$(call 'echo hello' sandboxes/a/exec)"
same "exit line" "[exit 3]" "$(call 'exit 3' sandboxes/a/exec)"
same "exit line after half a line" "half a line
[exit 4]" "$(call 'partial 4' sandboxes/a/exec)"
same "no exit line at 0" "half a line" "$(call 'partial 0' sandboxes/a/exec)"
same "big" 1048576 "$(call 'big 1024' sandboxes/a/exec | wc -c)"
same "the first line comes before the end" "line 1" "$(exec 3<>sandboxes/a/exec; echo 'count 3 200' >&3; head -n1 <&3)"
same "nothing asked" "" "$(timeout 60 cat sandboxes/a/exec)"
same "refused" "" "$(call refuse sandboxes/a/exec 2>/dev/null)"
same "why" "the selftest refuses" "$(cat sandboxes/a/error)"

# Several at once; a write after the first read is EBUSY.
for i in 1 2 3 4 5 6; do call "echo $i" sandboxes/a/exec >"$T/out$i" & jobs[i]=$!; done
wait "${jobs[@]}"
for i in 1 2 3 4 5 6; do same "parallel $i" "$i" "$(cat "$T/out$i")"; done
python3 - <<'PY' || fail "python's view of a call"
import os, errno, select
f = os.open("sandboxes/a/exec", os.O_RDWR | os.O_NONBLOCK)
os.write(f, b"count 2 100\n")
try:
    os.read(f, 100); raise SystemExit("read did not say EAGAIN")
except BlockingIOError: pass
try:
    os.write(f, b"more"); raise SystemExit("a write after the first read went well")
except OSError as e: assert e.errno == errno.EBUSY, e
p = select.poll(); p.register(f, select.POLLIN)
got = b""
while True:
    assert p.poll(60000), "poll never woke"
    try: piece = os.read(f, 100)
    except BlockingIOError: continue
    if not piece: break
    got += piece
assert got == b"line 1\nline 2\n", got
PY

# tail -f, poll and cat of X.follow see the same.
tail -n +1 -s .05 -f sandboxes/a/log >"$T/tailed" & tail=$!
call 'log 20 10' sandboxes/a/exec
eventually 5 grep -q 'line 20' "$T/tailed"
kill $tail
eventually 5 grep -q 'line 20' "$T/followed"
# A thousand waiters hold up nobody; a signal ends one at once.
for _ in $(seq 100); do cat sandboxes/a/log.follow >/dev/null & waiters="${waiters:-} $!"; done
ls -l sandboxes/a >/dev/null || fail "ls"
for p in $waiters; do kill "$p"; done
for p in $waiters; do wait "$p" 2>/dev/null; done

# A wait's own time; two commands to one ctl do not wait for each other.
call 'rest stopped' sandboxes/a/exec
eventually 5 grep -qx stopped sandboxes/a/state
wait $follower || fail "the follower did not end with its object"
cmp -s "$T/followed" sandboxes/a/log || fail "the follower missed bytes: $(diff "$T/followed" sandboxes/a/log)"
fails "wait on something stopped" sh -c 'echo wait >sandboxes/a/ctl'
echo start >sandboxes/a/ctl || fail "start"
echo wait >sandboxes/a/ctl || fail "wait after start"
echo stop >sandboxes/a/ctl || fail "stop"
same "state" stopped "$(cat sandboxes/a/state)"
printf 'restart\nwait\n' >sandboxes/a/ctl || fail "restart"
same "state" ready "$(cat sandboxes/a/state)"
fails "unknown" sh -c 'echo dance >sandboxes/a/ctl'
grep -q "unknown command 'dance'" sandboxes/a/error || fail "error: $(cat sandboxes/a/error)"

# K6, K15: while one waits, others are carried out; a signal ends the waiting, not the command, and one that
# only tells of a child's end not even that.
echo stop >sandboxes/a/ctl
printf 'timeout: 60\nenv: {STARTING_UNTIL: "%s"}\n' "$T/may-start" >sandboxes/a/config || fail "a slow start"
fails "wait 0.05" sh -c 'echo wait 0.05 >sandboxes/a/ctl'
fails "wait soon" sh -c 'echo wait soon >sandboxes/a/ctl'
sh -c 'echo wait >sandboxes/a/ctl' & waiter=$!
fails "unknown" sh -c 'echo dance >sandboxes/a/ctl'
kill -0 $waiter || fail "the wait has ended"
python3 - "$T/may-start" <<'PY' || fail "a signal in a wait"
import os, signal, sys
f = os.open("sandboxes/a/ctl", os.O_WRONLY)
def ring(*_): raise InterruptedError
def interrupted(seconds):
    try: signal.setitimer(signal.ITIMER_REAL, seconds); os.write(f, b"wait\n"); raise SystemExit("it was not interrupted")
    except InterruptedError: pass
signal.signal(signal.SIGALRM, ring)
interrupted(0.1)
signal.signal(signal.SIGCHLD, lambda *_: None) # the first signal of two leaves it waiting, the second one ends it
if not os.fork(): os._exit(0)
interrupted(0.5)
os.close(os.open(sys.argv[1], os.O_CREAT))
os.write(f, b"wait\n") # rejoins
assert open("sandboxes/a/state").read() == "ready\n"
PY
wait $waiter || fail "the wait"
# A shell is told of each background job's end: that ends no command that it gives.
echo stop >sandboxes/a/ctl
rm "$T/may-start"
echo start >sandboxes/a/ctl || fail "start"
{ sleep 0.1; } & { sleep 0.2; } & { sleep 0.4; : >"$T/may-start"; } &
echo wait >sandboxes/a/ctl || fail "a background job's end ended a wait"
same "a call waited for its start" hello "$(call 'echo hello' sandboxes/a/exec)"

# A call closed unread runs; a hold ends with its holder.
n=$(grep -c 'line 1$' sandboxes/a/log)
exec 3<>sandboxes/a/exec; echo 'log 1 1' >&3; exec 3>&-
eventually 5 sh -c "[ \$(grep -c 'line 1\$' sandboxes/a/log) -gt $n ]"
exec 3>sandboxes/a/hold
same "holder" $$ "$(cat sandboxes/a/hold)"
exec 3>&-
eventually 5 grep -qx stopped sandboxes/a/state

# A failure: wait says EIO, error why, the follower ends.
echo start >sandboxes/a/ctl
echo wait >sandboxes/a/ctl
call 'fail the GPU melted' sandboxes/a/exec
eventually 5 grep -qx failed sandboxes/a/state
same "failure" "the GPU melted" "$(cat sandboxes/a/error)"
fails "wait on a failed one" sh -c 'echo wait >sandboxes/a/ctl'
# The same bytes start what failed again.
echo 'timeout: 60' >sandboxes/a/config
echo wait >sandboxes/a/ctl || fail "started again"

# Removal: at once, readers come to their end.
cat sandboxes/a/log.follow >/dev/null & follower=$!
eventually 5 sh -c "ls -l /proc/$follower/fd | grep -q log.follow"
rmdir sandboxes/a || fail "rmdir"
wait $follower || fail "the follower of a removed object"
[ ! -e sandboxes/a ] || fail "it is still there"
eventually 5 sh -c "! ls $S/sandboxes | grep -q '^[0-9]'"
exit 0
