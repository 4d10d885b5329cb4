#!/bin/bash
# How sandboxes end and are found again: a deadline, a killed guest, a killed runner; nothing is
# started twice and nothing is left.
# runs: root user
. "$(dirname "$0")/../functions.sh"

box() { echo "$S/sandboxes/$(jq .serial "$M/sandboxes/$1/info.json")"; }
state() { cat "$M/sandboxes/$1/state"; }
is() { [ "$(state "$1")" = "$2" ]; }
inside() { "$INTERPFS" exec "$M/sandboxes/$1" -- "${@:2}"; }
guest() { local pid; read -r pid _ <"$(box "$1")/guest.pid"; echo "$pid"; }
runner() { local pid; read -r pid _ <"$(box "$1")/run/pid"; echo "$pid"; }
guests() { find "$S"/runtime -mindepth 2 -maxdepth 2 -name 'interpfs-*' | wc -l; }
make_one() { mkdir "$M/sandboxes/$1"; printf 'network: none\n%s\n' "$2" >"$M/sandboxes/$1/config"; echo wait >"$M/sandboxes/$1/ctl" || fail "$(cat "$M/sandboxes/$1/error")"; }

mount_it

# The deadline is the guest's own.
make_one short "timeout: 2"
inside short sleep 60 && fail "a command outlived its sandbox"
eventually 10 is short stopped
case $(cat "$M/sandboxes/short/error") in *"timeout of 2 seconds was reached"*) ;; *) fail "error: $(cat "$M/sandboxes/short/error")" ;; esac
same "containers" 0 "$(guests)"
echo restart >"$M/sandboxes/short/ctl" || fail "restart"
same "error after a restart" "" "$(cat "$M/sandboxes/short/error")"
echo 'extend 300' >"$M/sandboxes/short/ctl" || fail "extend"
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

# Both at once, while nobody is there to see it.
old=$(runner lab); kill -9 "$old" "$(guest lab)"
eventually 10 is lab died
same "containers" 0 "$(guests)"
echo start >"$M/sandboxes/lab/ctl" && echo wait >"$M/sandboxes/lab/ctl"

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
