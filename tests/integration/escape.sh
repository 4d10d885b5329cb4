#!/bin/bash
# What runs inside a sandbox tries by name to get out of it: no attempt may succeed.
# runs: root user
. "$(dirname "$0")/../functions.sh"

. tests/escape.sh

secret=secret-$RANDOM$RANDOM
echo "$secret" >"$T/secret"
token=token-$RANDOM$RANDOM
# A runtime that looks what its start has on the disk; and that fails where $T/refuse is.
variable=variable-$RANDOM$RANDOM
cat >"$T/runtime" <<EOF
#!/bin/sh
case " \$* " in *" run "*)
	grep -rslF $variable "$S"/sandboxes/*/box "$S/runtime" >>"$T/seen"
	if [ -e "$T/refuse" ]; then echo refused >&2; exit 1; fi ;;
esac
exec $(command -v runc || command -v crun) "\$@"
EOF
chmod 755 "$T/runtime"
TEST_TOKEN=$token mount_it -o "runtime=$T/runtime"
warm_up
image=
if [ -n "${IMAGE:-}" ]; then
	. tests/root.sh
	image="image: $(root_tar)"
fi
for n in lab other net; do
	mkdir "$M/sandboxes/$n"
	case $n in net) echo 'network: full' ;; *) echo 'network: none' ;; esac >"$T/config"
	[ -z "$image" ] || echo "$image" >>"$T/config"
	if [ "$n" = lab ]; then printf 'secrets: [TEST_TOKEN]\nenv: {VARIABLE: %s}\n' "$variable" >>"$T/config"; fi
	cp "$T/config" "$M/sandboxes/$n/config"
done
for n in lab other net; do echo wait >"$M/sandboxes/$n/ctl" || fail "$n: $(cat "$M/sandboxes/$n/error")"; done
echo "$secret" >"$M/sandboxes/other/fs/root/mine" || fail "the other's file"
escape_inside
# what the host gets while the sandbox runs
if [ "$(id -u)" = 0 ]; then
	on_exit 'rm -rf /etc/interpfs-test-key /etc/interpfs-test'
	mkdir -p /etc/interpfs-test
	for f in /etc/interpfs-test-key /etc/interpfs-test/key; do (umask 077; echo "$secret" >"$f"); done
	refused "the host's new key" "echo TRIED; grep -rs $secret /etc && echo OUT"
fi
refused "a file system that takes setuid programs or devices" 'echo TRIED; grep " - overlay " /proc/self/mountinfo | grep -v "nosuid,nodev" && echo OUT'

# links that the host might follow
inside sh -c "mkdir -p /workspace/outputs /srv/e; ln -sf '$T/secret' /srv/e/link; ln -sf '$T/secret' /workspace/outputs/link; ln -sfn / /srv/e/top
ln -sfn /proc/1/root /srv/e/magic; ln -sfn '$T' /srv/e/folder"
for p in srv/e/link "srv/e/top$T/secret" "srv/e/magic$T/secret" srv/e/folder/secret workspace/outputs/link; do
	tried=$((tried + 1))
	if grep -qs "$secret" "$M/sandboxes/lab/fs/$p"; then fail "fs/$p leads to the host"; fi
	if (echo changed >"$M/sandboxes/lab/fs/$p") 2>/dev/null; then
		same "the host's file after a write to fs/$p" "$secret" "$(cat "$T/secret")"
	fi
done
tried=$((tried + 1))
python3 - "$M/sandboxes/lab/fs" "$secret" "$T/secret" <<'EOF' || fail "a name with .. leads out of fs"
import os, sys
fd = os.open(sys.argv[1] + '/', os.O_RDONLY | os.O_DIRECTORY)
for up in range(1, 12):
    try: f = os.open('srv/' + '../' * up + sys.argv[3][1:], os.O_RDONLY, dir_fd=fd)
    except OSError: continue
    # the caller's own walk may leave the mount, the mount may not have answered it
    if os.fstat(f).st_dev == os.fstat(fd).st_dev: sys.exit(1)
EOF
same "the host's file" "$secret" "$(cat "$T/secret")"

# Jupyter Server, and what takes its place
mkdir "$M/notebooks/probe" && echo 'sandbox: lab' >"$M/notebooks/probe/config"
echo wait >"$M/notebooks/probe/ctl" || fail "a notebook: $(cat "$M/notebooks/probe/error")"
url=$(cat "$M/notebooks/probe/url") server=${url%/\?token=*}
asked() { # WHAT STATUS CURL…
	tried=$((tried + 1))
	same "Jupyter Server $1" "$2" "$(curl -s -m 10 -o /dev/null -w '%{http_code}' "${@:3}")"
}
asked "with its token" 200 "$server/api/status?token=${url#*token=}"
asked "without a token" 403 "$server/api/status"
asked "by another name" 403 -H 'Host: evil.example' "$url"
asked "after a login" 200 -L -c "$T/cookies" "$url"
asked "with that login" 200 -b "$T/cookies" "$server/api/status"
web=(-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==')
asked "from another page" 403 -b "$T/cookies" "${web[@]}" -H 'Origin: http://evil.example' "$server/api/events/subscribe"
same "the url's mode" 400 "$(stat -c %a "$M/notebooks/probe/url")"

cat >"$T/evil.py" <<'EOF'
import array, os, socket, struct
place = "/run/interpfs/jupyter.sock"
os.rename(place, place + ".old")
listening = socket.socket(socket.AF_UNIX)
listening.bind(place)
listening.listen(50)
open("/root/up", "w").close()
while True:
    who = listening.accept()[0]
    # a connection inside that cannot come to its end, to be closed by whoever has it last
    other = socket.create_server(("127.0.0.1", 0))
    mine = socket.create_connection(other.getsockname())
    mine.setblocking(False)
    try:
        while True: mine.send(bytes(65536))
    except BlockingIOError: pass
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    others = [os.open("/dev/null", os.O_RDWR), os.open("/", os.O_PATH), os.memfd_create("x")]
    who.sendmsg([b"HTTP/1.1 200 OK\r\n\r\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", others * 60 + [mine.fileno()]))])
    for fd in others: os.close(fd)
    mine.close()
    who.close()
EOF
cp "$T/evil.py" "$M/sandboxes/lab/fs/root/evil.py"
inside sh -c 'python3 /root/evil.py >/root/evil.log 2>&1 &'
eventually 10 test -e "$M/sandboxes/lab/fs/root/up"
runner=$(cut -d' ' -f1 "$(jq -r .folder "$M/sandboxes/lab/info.json")/run/pid")
descriptors() { if [ "$(id -u)" = 0 ]; then ls "/proc/$runner/fd"; fi | wc -l; } # a user may not look
had=$(descriptors)
for _ in 1 2 3 4 5; do curl -s -m 1 -o /dev/null "$server/api/status"; done
tried=$((tried + 1))
same "a command while descriptors come" fine "$(inside echo fine)"
few() { [ "$(descriptors)" -le "$had" ]; }
eventually 10 few
timeout 400 sh -c "echo restart >'$M/sandboxes/lab/ctl'" || fail "what has Jupyter's place holds the sandbox up: $(cat "$M/sandboxes/lab/error")"

# What it leaves for its next start, where the host makes folders and files of its own in it.
mkdir "$T/victim"
change="mv /var /var~ && ln -s '$T/victim' /var"
[ -z "$image" ] || change="rm /sbin && ln -s '$T/victim' /sbin && ln -s '$T/victim' /added" # an image's folders are mounts
for n in lab net; do
	tried=$((tried + 1))
	"$INTERPFS" exec "$M/sandboxes/$n" -- sh -c "$change &&
		for f in hosts hostname resolv.conf passwd group; do mkfifo /etc/.\$f~ || exit; done" || fail "$n: nothing was left"
	timeout 400 sh -c "echo restart >'$M/sandboxes/$n/ctl'" || fail "$n does not start again: $(cat "$M/sandboxes/$n/error")"
	same "the host's folder after $n was started again" "" "$(ls "$T/victim")"
done

# The environment is on no disk, neither while it starts nor when that fails.
tried=$((tried + 1))
same "the variable inside" "$variable" "$(inside sh -c 'echo $VARIABLE')"
touch "$T/refuse"
fails "a start that its runtime refuses" timeout 400 sh -c "echo restart >'$M/sandboxes/lab/ctl'"
rm "$T/refuse"
[ -e "$T/seen" ] || fail "the runtime did not look"
same "files with the environment while it started" "" "$(cat "$T/seen")"
same "files with the environment after it failed" "" "$(grep -rslF "$variable" "$S"/sandboxes/*/box "$S/runtime")"
timeout 400 sh -c "echo restart >'$M/sandboxes/lab/ctl'" || fail "lab does not start again: $(cat "$M/sandboxes/lab/error")"

# Secrets are where they are needed, and in no file, no other process, no core.
same "the secret inside" "$token" "$(inside sh -c 'echo $TEST_TOKEN')"
same "files with the secret" "" "$(grep -rslF "$token" "$S")"
same "command lines with the secret" "" "$(grep -lsFf <(echo "$token") /proc/[0-9]*/cmdline)"
mount=$(cut -d' ' -f1 "$S/lock")
for pid in $mount $(runner_pids); do
	same "the limit of core files of $pid" "1 1" "$(awk '/^Max core/ {print $5, $6}' "/proc/$pid/limits")"
	if [ "$(id -u)" != 0 ]; then fails "looking into $pid" cat "/proc/$pid/environ"
	elif [ "$pid" != "$mount" ]; then fails "the secret in the environment of $pid" grep -qsF "$token" "/proc/$pid/environ"; fi
done
same "the limit inside" "1 1" "$(inside awk '/^Max core/ {print $5, $6}' /proc/self/limits)"

# the state directory is nobody else's
same "the state directory's mode" 700 "$(stat -c %a "$S")"
# layers are packages that anybody may have; a workspace is bound into sandboxes
same "modes" "" "$(find "$S" -mindepth 1 -maxdepth 2 -perm /077 ! -type l ! -path "$S/etc/*" ! -path "$S/layers*" ! -path "$S/jupyter*" ! -path "$S/workspaces*" -printf '%m %P\n' | head -n 5)"
same "configurations" "" "$(find "$S" -name config.json -perm /077 -not -path '*/layers/*' -not -path '*/root/*' -printf '%m %P\n' 2>/dev/null | head -n 5)"
[ "$tried" -ge 42 ] || fail "only $tried attempts"
