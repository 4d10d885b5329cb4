#!/bin/bash
# How sandboxes end and are found again: a deadline, a killed guest, a killed runner; nothing is
# started twice and nothing is left.
# runs: root user
. "$(dirname "$0")/../functions.sh"

box() { echo "$S/sandboxes/$(jq .serial "$M/sandboxes/$1/info.json")"; }
state() { cat "$M/sandboxes/$1/state"; }
is() { [ "$(state "$1")" = "$2" ]; }
guest() { local pid; read -r pid _ <"$(box "$1")/guest.pid"; echo "$pid"; }
runner() { local pid; read -r pid _ <"$(box "$1")/run/pid"; echo "$pid"; }
guests() { find "$S"/runtime -mindepth 2 -maxdepth 2 -name 'interpfs-*' | wc -l; }
make_one() { mkdir "$M/sandboxes/$1"; printf 'network: none\n%s\n' "$2" >"$M/sandboxes/$1/config"; echo wait >"$M/sandboxes/$1/ctl" || fail "$(cat "$M/sandboxes/$1/error")"; }

mount_it

# What was decided can be seen at once, by a close and by start.
mkdir "$M/sandboxes/seen"
for i in 1 2 3 4 5; do
	echo "timeout: 90$i" >"$M/sandboxes/seen/config"
	case $(state seen) in draft | stopped) fail "$i: a config that was closed, and the state is $(state seen)" ;; esac
	echo stop >"$M/sandboxes/seen/ctl" && is seen stopped || fail "stop: $(state seen)"
	echo start >"$M/sandboxes/seen/ctl"
	case $(state seen) in draft | stopped) fail "$i: start has returned, and the state is $(state seen)" ;; esac
	echo stop >"$M/sandboxes/seen/ctl"
done
rmdir "$M/sandboxes/seen"

# The deadline is the guest's own.
make_one short "timeout: 600"
printf 'network: none\ntimeout: 2\n' >"$M/sandboxes/short/config" || fail "a shorter timeout: $(cat "$M/sandboxes/short/error")"
inside short sleep 60 && fail "a command outlived its sandbox"
eventually 10 is short stopped
case $(cat "$M/sandboxes/short/error") in *"timeout of 2 seconds was reached"*) ;; *) fail "error: $(cat "$M/sandboxes/short/error")" ;; esac
same "containers" 0 "$(guests)"
printf 'network: none\ntimeout: 100\n' >"$M/sandboxes/short/config" || fail "a longer timeout: $(cat "$M/sandboxes/short/error")"
from=$(date +%s)
echo restart >"$M/sandboxes/short/ctl" || fail "restart"
same "error after a restart" "" "$(cat "$M/sandboxes/short/error")"
ends() { jq .deadline "$M/sandboxes/short/info.json"; }
between() { awk -v a="$2" -v t="$3" -v b="$4" 'BEGIN { exit !(a <= t + 0.01 && t <= b + 1.01) }' || fail "$1: $3, not from $2 to $4"; }
before=$(ends)
between "the deadline" $((from + 100)) "$before" $(($(date +%s) + 100))
echo 'extend 300' >"$M/sandboxes/short/ctl" || fail "extend"
then=$(awk -v t="$before" 'BEGIN { printf "%.3f", t + 300 }')
between "the deadline after extend" "$then" "$(ends)" "$then"
grep -q 'extended by 300 seconds, until 2' "$M/sandboxes/short/log" || fail "log: $(cat "$M/sandboxes/short/log")"
for wrong in extend 'extend soon' 'extend -5'; do
	fails "$wrong" sh -c "echo '$wrong' >$M/sandboxes/short/ctl"
	same "error of '$wrong'" "extend takes a number of seconds, as in: extend 600" "$(cat "$M/sandboxes/short/error")"
done
printf 'network: none\ntimeout: 900\n' >"$M/sandboxes/short/config" || fail "a longer timeout: $(cat "$M/sandboxes/short/error")"
eventually 5 sh -c "[ \"\$(jq '.deadline | floor' $M/sandboxes/short/info.json)\" -gt $(($(date +%s) + 800)) ]"
rmdir "$M/sandboxes/short"

# A killed guest.
make_one lab ""
inside lab sh -c 'echo kept >/root/file'
kill -9 "$(guest lab)" 2>/dev/null || fail "the guest cannot be killed from outside"
eventually 10 is lab died
[ -s "$M/sandboxes/lab/error" ] || fail "died without a word"
same "containers" 0 "$(guests)"
echo start >"$M/sandboxes/lab/ctl" && echo wait >"$M/sandboxes/lab/ctl" || fail "start after a death"
same "a file after a death" kept "$(inside lab cat /root/file)"

# A killed runner: the sandbox goes on, and the next runner finds it.
before=$(guest lab)
inside lab sh -c 'sleep 300 & echo $! >/root/sleeper'
old=$(runner lab)
kill -9 "$old"
eventually 10 sh -c "read -r p _ <'$(box lab)/run/pid' && [ \"\$p\" != '$old' ] && [ -d /proc/\$p ]"
eventually 10 is lab ready
inside lab sh -c 'kill -0 $(cat /root/sleeper)' || fail "what ran inside is gone"
same "the guest" "$before" "$(guest lab)"
same "containers" 1 "$(guests)"
# A call that its runner's death cut off is told by error until one ends well, or something else goes wrong.
(ask "$M/sandboxes/lab/exec" 'touch /root/began; sleep 60' >/dev/null 2>&1) & caller=$!
eventually 10 inside lab test -e /root/began
kill -9 "$(runner lab)"
wait $caller
same "error" "its runner ended unexpectedly" "$(cat "$M/sandboxes/lab/error")"
same "the next call" fine "$(ask "$M/sandboxes/lab/exec" 'echo fine')"
same "error after it" "" "$(cat "$M/sandboxes/lab/error")"
fails "an unknown command" sh -c "echo nonsense >'$M/sandboxes/lab/ctl'"
kill -9 "$(guest lab)"
eventually 10 is lab died
case $(cat "$M/sandboxes/lab/error") in *killed*) ;; *) fail "the error of what died: $(cat "$M/sandboxes/lab/error")" ;; esac
echo start >"$M/sandboxes/lab/ctl" && echo wait >"$M/sandboxes/lab/ctl" || fail "start after a death"

# Both at once, while nobody is there to see it.
old=$(runner lab); kill -9 "$old" "$(guest lab)"
eventually 10 is lab died
same "containers" 0 "$(guests)"
echo start >"$M/sandboxes/lab/ctl" && echo wait >"$M/sandboxes/lab/ctl"

# After an upgrade a restart is the new program's.
mkdir "$T/bin" && cp "$INTERPFS" "$(dirname "$INTERPFS")/interpfs-guest" "$T/bin/" && cp -r share "$T/" || fail "a program of its own"
unmount_it
ours=$INTERPFS INTERPFS=$T/bin/interpfs
mount_it
old=$(runner lab)
echo restart >"$M/sandboxes/lab/ctl" || fail "restart: $(cat "$M/sandboxes/lab/error")"
same "the same program, the same runner" "$old" "$(runner lab)"
echo stop >"$M/sandboxes/lab/ctl" && echo start >"$M/sandboxes/lab/ctl" && echo wait >"$M/sandboxes/lab/ctl" || fail "stop and start"
cp "$ours" "$T/bin/interpfs~" && mv "$T/bin/interpfs~" "$INTERPFS"
old=$(runner lab) before=$(guest lab)
inside lab true || fail "a sandbox whose program was replaced goes on"
same "the runner, while nobody asks for more" "$old" "$(runner lab)"
echo restart >"$M/sandboxes/lab/ctl" || fail "restart: $(cat "$M/sandboxes/lab/error")"
[ "$(runner lab)" != "$old" ] || fail "the old program runs it still"
if [ "$(id -u)" = 0 ]; then same "the new runner's program" "$T/bin/interpfs" "$(readlink "/proc/$(runner lab)/exe")"; fi
[ "$(guest lab)" != "$before" ] && same "containers" 1 "$(guests)"
same "a file after an upgrade" kept "$(inside lab cat /root/file)"
INTERPFS=$ours

# The mount goes away; the sandbox and its runner go on.
before=$(guest lab)
unmount_it
[ -d "/proc/$before" ] || fail "the sandbox ended with the mount"
mount_it
eventually 10 is lab ready
same "the guest after a new mount" "$before" "$(guest lab)"
same "a file after a new mount" kept "$(inside lab cat /root/file)"

rmdir "$M/sandboxes/lab"
eventually 10 sh -c "[ \"\$(find '$S/runtime' -mindepth 2 | wc -l)\" = 0 ]"
same "mounts" "" "$(grep "$S" /proc/mounts | grep -v "$M")"
