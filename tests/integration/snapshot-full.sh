#!/bin/bash
# runs: root
# A disk without room for the copy of a running sandbox: the command says so, nothing of it is left, the sandbox
# goes on, and when there is room it is taken. That of a stopped one needs none.
. "$(dirname "$0")/../functions.sh"
mkdir "$S" && mount -t tmpfs -o size=200m,mode=0700 tmpfs "$S" || fail "tmpfs"
on_exit 'end_objects; fusermount3 -u "$M"; for i in $(seq 500); do umount "$S" 2>/dev/null && break; sleep 0.1; done'
mount_it
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }
used() { df --output=used "$S" | tail -n 1; }

mkdir "$M/sandboxes/lab" && echo 'network: none' >"$M/sandboxes/lab/config" && ctl lab wait || fail "lab: $(cat "$M/sandboxes/lab/error")"
inside lab "head -c $(($(df --output=avail -B1 "$S" | tail -n 1) * 6 / 10)) /dev/urandom >/root/big; mkdir /root/many; for i in \$(seq 200); do echo \$i >/root/many/\$i; done" || fail "files"
before=$(used)
for i in 1 2; do
	said=$(LC_ALL=C bash -c 'echo "snapshot none" >"$1"' bash "$M/sandboxes/lab/ctl" 2>&1) && fail "a snapshot that does not fit"
	case $said in *"No space left on device"*) ;; *) fail "the command: $said" ;; esac
	case $(cat "$M/sandboxes/lab/error") in "snapshot none: "*"No space left on device") ;; *) fail "error: $(cat "$M/sandboxes/lab/error")" ;; esac
	same "snapshots" "" "$(ls "$M/snapshots")"
	eventually 60 sh -c "[ \"\$(ls '$S/snapshots')\" = names ] && [ -z \"\$(ls -A '$S/parts' | grep -v '^\.lock\$\|^\.sweeping\$')\" ]"
	[ $(($(used) - before)) -lt 2000 ] || fail "$(($(used) - before)) KB are left of it"
done
same "the sandbox goes on" "200 ok" "$(inside lab 'echo $(ls /root/many | wc -l) $(echo ok >/root/new && cat /root/new)')"
ctl lab stop && ctl lab 'snapshot stopped' || fail "one of a stopped sandbox needs no room: $(cat "$M/sandboxes/lab/error")"
ctl lab start && ctl lab wait && inside lab 'rm /root/big' || fail "start: $(cat "$M/sandboxes/lab/error")"
ctl lab 'snapshot running' || fail "one with room: $(cat "$M/sandboxes/lab/error")"
mkdir "$M/sandboxes/copy" && echo 'from_snapshot: running' >"$M/sandboxes/copy/config" && ctl copy wait || fail "copy: $(cat "$M/sandboxes/copy/error")"
same "what it has" "200 no" "$(inside copy 'echo $(ls /root/many | wc -l) $(test -e /root/big || echo no)')"
rmdir "$M/sandboxes/lab" "$M/sandboxes/copy" || fail "rmdir: $(cat "$M/error")"
for s in running stopped; do eventually 60 rmdir "$M/snapshots/$s"; done
eventually 60 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ] && [ \"\$(ls '$S/snapshots')\" = names ] && [ -z \"\$(find '$S/parts' -mindepth 1 -maxdepth 1 -type d)\" ]"
