#!/bin/bash
# runs: root
# kill -9 of a snapshot's runner, or of the mount, at each step of taking and removing one, and of both at random
# moments: there is a whole snapshot or none, nothing else is left of it, and the sandbox goes on with its files.
. "$(dirname "$0")/../functions.sh"

inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }
ctl() { timeout 400 sh -c 'echo "$1" >"$2"' sh "$2" "$M/sandboxes/$1/ctl" 2>/dev/null; }
is() { [ "$(cat "$M/sandboxes/$1/state" 2>/dev/null)" = "$2" ]; }
remount() { # the mount may have been killed
	mountpoint -q "$M" && ls "$M" >/dev/null 2>&1 && return
	fusermount3 -uz "$M" 2>/dev/null
	unset INTERPFS_FAILPOINT
	mount_it
}
whole() { # WHAT: what a sandbox from the snapshot has
	mkdir "$M/sandboxes/copy" && echo "from_snapshot: snap" >"$M/sandboxes/copy/config" && ctl copy wait || fail "$1: $(cat "$M/sandboxes/copy/error")"
	same "$1: its files" "kept 300 1" "$(inside copy 'echo $(cat /root/file) $(ls /data | wc -l) $(cat /data/1)')"
	rmdir "$M/sandboxes/copy" || fail "$1: rmdir of the copy"
	eventually 60 sh -c "[ ! -d '$M/sandboxes/copy' ] && [ \$(ls '$S/sandboxes' | wc -l) = 2 ]"
	rmdir "$M/snapshots/snap" || fail "$1: rmdir: $(cat "$M/error")"
}
# Nothing of a snapshot, but for the part that the sandbox itself stands on.
clean() {
	[ "$(ls "$S/snapshots")" = names ] && [ -z "$(ls "$S/snapshots/names")" ] && [ -z "$(ls -A "$S/parts" | grep -v '^\.lock$\|^\.sweeping$' |
		grep -vxF "$(tr ' ' '\n' <"$S/sandboxes/$serial/box/below" 2>/dev/null)")" ]
}
good() { # WHAT: after it was taken, or not
	local took=$2
	remount
	if [ "$took" = 0 ]; then
		whole "$1"
	else
		eventually 60 sh -c "[ -d '$M/snapshots/snap' ] || [ \"\$(ls '$S/snapshots')\" = names ]"
		[ ! -d "$M/snapshots/snap" ] || whole "$1, not told"
	fi
	eventually 60 clean
	if is lab stopped; then ctl lab start; fi
	eventually 60 is lab ready
	same "$1: the sandbox's files" "kept 300 1" "$(inside lab 'echo $(cat /root/file) $(ls /data | wc -l) $(cat /data/1)')"
}

mount_it
warm_up
mkdir "$M/sandboxes/lab" && echo 'network: none' >"$M/sandboxes/lab/config" && ctl lab wait || fail "lab: $(cat "$M/sandboxes/lab/error")"
serial=$(jq .serial "$M/sandboxes/lab/info.json")
inside lab 'echo kept >/root/file; mkdir /data; for i in $(seq 300); do echo $i >/data/$i; done' || fail "files"
grep -q snapshot-moved "$INTERPFS" || fail "this build has no failpoints: make SANITIZE=address,undefined BUILD=build/asan"

for step in stopped:snapshot-moving stopped:snapshot-moved running:snapshot-copied running:snapshot-frozen running:snapshot-naming stopped:state-add-name running:snapshot-ready; do
	how=${step%:*} name=${step#*:}
	unmount_it
	rm -f "$T/killed"
	export INTERPFS_FAILPOINT=$name:$T/killed
	mount_it
	eventually 60 is lab ready
	[ "$how" = running ] || ctl lab stop || fail "$step: stop"
	ctl lab 'snapshot snap'
	took=$?
	case $name in snapshot-naming | state-add-name) [ $took != 0 ] || fail "$step: the mount was killed, and the command went well" ;;
	*) [ $took = 0 ] || fail "$step: $(cat "$M/sandboxes/lab/error")" ;;
	esac
	[ "$name" != snapshot-ready ] || eventually 60 test -s "$M/snapshots/snap/size" # it is told before it is counted
	good "$step" $took
	[ -e "$T/killed" ] || fail "$step was never reached"
	unset INTERPFS_FAILPOINT
done

# At random, runners and the mount.
for i in 1 2 3; do
	[ $((i % 2)) = 0 ] && ctl lab stop
	ctl lab 'snapshot snap' & taking=$!
	sleep "0.$((RANDOM % 3))$((RANDOM % 9))" # the moment is the test, not a condition
	mounted=$(cut -d' ' -f1 "$S/lock")
	[ $((i % 3)) = 0 ] && kill -9 "$mounted"
	for f in "$S"/snapshots/[0-9]*/run/pid; do if [ -e "$f" ]; then kill -9 $(live_pid "$f") 2>/dev/null; fi; done
	wait $taking
	good "random $i" $?
done
rmdir "$M/sandboxes/lab"
eventually 60 sh -c "[ -z \"\$(find '$S/parts' -mindepth 1 -maxdepth 1 -type d)\" ]"
