#!/bin/bash
# A sandbox from its config to its removal: what is inside and what is not, limits as the kernel
# has them, files that are copied in, a restart that keeps files, an end that leaves nothing.
# runs: root user
. "$(dirname "$0")/../functions.sh"

inside() { "$INTERPFS" exec "$M/sandboxes/lab" -- "$@"; }
ctl() { echo "$1" >"$M/sandboxes/lab/ctl"; }
state() { cat "$M/sandboxes/lab/state"; }
info() { jq -c "$1" "$M/sandboxes/lab/info.json"; }

mount_it
echo "kept as it was" >"$T/note"
mkdir "$T/data" && echo original >"$T/data/file"
mkdir "$M/sandboxes/lab"
same "a draft's state" draft "$(state)"
cat >"$M/sandboxes/lab/config" <<-EOF
	network: none
	memory: 256M
	cpu: 1
	env: {GREETING: 'hello there', NUMBER: 7}
	local_files: [["$T/note", /workspace/deep/note.txt]]
	local_dirs: [["$T/data", /workspace/data]]
EOF
ctl wait || fail "it did not start: $(cat "$M/sandboxes/lab/error")"
same "state" ready "$(state)"
case $(cat "$M/sandboxes/lab/id") in interpfs-*-*) ;; *) fail "id: $(cat "$M/sandboxes/lab/id")" ;; esac

# Commands.
same "stdout" "out" "$(inside sh -c 'echo out; echo err >&2' 2>/dev/null)"
same "stderr" "err" "$(inside sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)"
inside sh -c 'exit 7'; same "an exit status" 7 $?
same "env" "hello there 7" "$(inside sh -c 'echo $GREETING $NUMBER')"
same "where commands begin" /workspace "$(inside pwd)"
exec 3<>"$M/sandboxes/lab/python"; echo 'print(6*7)' >&3; same "python" 42 "$(cat <&3)"; exec 3>&-
exec 3<>"$M/sandboxes/lab/python"; echo '1/0' >&3; got=$(cat <&3); exec 3>&-
case $got in *ZeroDivisionError*"[exit 1]") ;; *) fail "a traceback: $got" ;; esac
inside pip --version >/dev/null || fail "pip inside"

# What is inside, and what is not.
fails "the host's shadow file" inside cat /etc/shadow
fails "the host's temporary folder" inside test -e "$T/note"
fails "mounting" inside mount -t tmpfs none /mnt
fails "a new user namespace" inside unshare -U true
fails "the host's processes" inside sh -c '[ "$(ls -d /proc/[0-9]* | wc -l)" -gt 20 ]'
fails "another root" inside chroot /mnt true
inside sh -c 'echo x >/usr/local/bin/mine && echo y >/etc/mine && echo z >/opt/mine && echo w >/root/mine' ||
	fail "its own system is not writable"
for f in /usr/local/bin/mine /etc/mine /opt/mine; do [ ! -e "$f" ] || fail "$f was written on the host"; done
same "the host's networks" "lo" "$(inside sh -c 'ls /sys/class/net 2>/dev/null || cut -sd: -f1 /proc/net/dev' | tr -d ' ')"

# Files that were copied, and a folder that is copied on write.
same "a copied file" "kept as it was" "$(inside cat /workspace/deep/note.txt)"
inside sh -c 'echo changed >/workspace/deep/note.txt; echo changed >/workspace/data/file; echo new >/workspace/data/new'
same "the folder inside" changed "$(inside cat /workspace/data/file)"
same "the host's file" "kept as it was" "$(cat "$T/note")"
same "the host's folder" "original file" "$(cat "$T/data/file") $(ls "$T/data")"

# Limits, as the kernel has them.
if [ "$(id -u)" = 0 ]; then
	same "memory" '{"asked":268435456,"in_force":268435456,"how":"enforced"}' "$(info .memory)"
	same "cpu" '"enforced"' "$(info .cpu.how)"
	inside python3 -c 'x = bytearray(400 << 20)' && fail "400 MiB within 256 MiB"
else
	same "memory" '"not available"' "$(info .memory.how)"
	same "cpu" '"advisory"' "$(info .cpu.how)"
	same "processors" 1 "$(inside nproc)"
fi
same "pids" '"enforced"' "$(info .pids.how)"
same "network" '"none"' "$(info .network)"

# A restart keeps its files; stopped, it answers nothing.
ctl restart || fail "restart: $(cat "$M/sandboxes/lab/error")"
same "a file after a restart" "x y z w" "$(inside cat /usr/local/bin/mine /etc/mine /opt/mine /root/mine | tr '\n' ' ' | sed 's/ $//')"
same "a copied file after a restart" changed "$(inside cat /workspace/deep/note.txt)"
ctl stop
same "state" stopped "$(state)"
fails "a command in a stopped sandbox" inside true
ctl start && ctl wait
same "state" ready "$(state)"

# What can change alive does; what cannot is refused and named.
sed -i '$a timeout: 7200' "$M/sandboxes/lab/config" 2>/dev/null || { c=$(cat "$M/sandboxes/lab/config"); printf '%s\ntimeout: 7200\n' "$c" >"$M/sandboxes/lab/config"; }
eventually 5 sh -c "jq -e '.config.timeout == 7200' '$M/sandboxes/lab/info.json'"
same "state" ready "$(state)"
ctl 'extend 60' || fail "extend: $(cat "$M/sandboxes/lab/error")"
fails "extend without a number" ctl 'extend much'

# What this machine does not have: it fails with the reason.
mkdir "$M/sandboxes/bad"
printf 'network: none\npython_version: "3.99"\n' >"$M/sandboxes/bad/config"
echo wait >"$M/sandboxes/bad/ctl" 2>/dev/null && fail "wait: it did not fail"
same "state" failed "$(cat "$M/sandboxes/bad/state")"
case $(cat "$M/sandboxes/bad/error") in "there is no Python 3.99"*) ;; *) fail "error: $(cat "$M/sandboxes/bad/error")" ;; esac
rmdir "$M/sandboxes/bad"

# Removed: gone at once, and nothing is left.
id=$(cat "$M/sandboxes/lab/id")
serial=${id##*-}
read -r pid _ <"$S/sandboxes/$serial/guest.pid"
[ -d "/proc/$pid" ] || fail "guest.pid names no process"
rmdir "$M/sandboxes/lab" || fail "rmdir"
eventually 10 test ! -e "$S/sandboxes/$serial"
eventually 10 sh -c "[ -z \"\$(find '$S/runtime' -mindepth 2)\" ]"
eventually 10 test ! -d "/proc/$pid"
same "control groups" "" "$(find /sys/fs/cgroup -maxdepth 3 -name "$id" 2>/dev/null)"
same "mounts" "" "$(grep "$S" /proc/mounts | grep -v "$M")"
