#!/bin/bash
# What runs inside a sandbox tries by name to get out of it: no attempt may succeed.
# runs: root user
. "$(dirname "$0")/../functions.sh"

tried=0
inside() { timeout 120 "$INTERPFS" exec "$M/sandboxes/lab" -- "$@" 2>/dev/null; }
# refused WHAT SHELL: the shell's text, run inside, prints OUT where the attempt has succeeded.
refused() {
	local out
	tried=$((tried + 1))
	out=$(inside sh -c "$2"; echo "ended $?")
	case $out in *OUT*) fail "$1 succeeded: $out" ;; esac
	case $out in *TRIED*) ;; *) fail "$1 was not tried: $out" ;; esac
}
python() { refused "$1" "python3 - <<'EOF'
import ctypes, os, sys, socket, fcntl
c, c_int2 = ctypes.CDLL(None, use_errno=True), (ctypes.c_int * 2)()
print('TRIED', flush=True)
$2
EOF"; }

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
for n in lab other net; do
	mkdir "$M/sandboxes/$n"
	case $n in net) echo 'network: full' ;; *) echo 'network: none' ;; esac >"$T/config"
	if [ "$n" = lab ]; then printf 'secrets: [TEST_TOKEN]\nenv: {VARIABLE: %s}\n' "$variable" >>"$T/config"; fi
	cp "$T/config" "$M/sandboxes/$n/config"
done
for n in lab other net; do echo wait >"$M/sandboxes/$n/ctl" || fail "$n: $(cat "$M/sandboxes/$n/error")"; done
echo "$secret" >"$M/sandboxes/other/fs/root/mine" || fail "the other's file"
same "an attempt that works is seen" "TRIED OUT" "$(inside sh -c 'echo TRIED OUT')"

# a server on the host's loopback
cat >"$T/server.py" <<-'EOF'
	import socket, sys, threading
	s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)
	threading.Thread(target=lambda: [c[0].sendall(b'reached') for c in iter(s.accept, None)], daemon=True).start(); sys.stdin.read()
EOF
coproc SERVER { exec python3 "$T/server.py"; }
read -r port <&"${SERVER[0]}"
on_exit "kill $SERVER_PID"

refused "the host's passwords" 'echo TRIED; grep -q . /etc/shadow /etc/gshadow && echo OUT'
# what the host gets while the sandbox runs
if [ "$(id -u)" = 0 ]; then
	on_exit 'rm -rf /etc/interpfs-test-key /etc/interpfs-test'
	mkdir -p /etc/interpfs-test
	for f in /etc/interpfs-test-key /etc/interpfs-test/key; do (umask 077; echo "$secret" >"$f"); done
	refused "the host's new key" "echo TRIED; grep -rs $secret /etc && echo OUT"
fi
refused "private keys" 'echo TRIED; grep -rls "PRIVATE KEY" /etc/ssl/private /etc/ssh | grep . && echo OUT'
refused "the host's file by its name" "echo TRIED; grep -s $secret '$T/secret' && echo OUT"
refused "the state directory" "echo TRIED; ls '$S' && echo OUT"
refused "the host's pid 1 and this shell" "echo TRIED; ls -d /proc/$$ && echo OUT; tr '\\0' ' ' </proc/1/cmdline | grep -v guest && echo OUT"
refused "/proc/1/root" "echo TRIED; grep -s $secret '/proc/1/root$T/secret' /proc/1/cwd'$T/secret' && echo OUT"
refused "the other sandbox's file" "echo TRIED; grep -rs $secret /root /home /srv /var /tmp /workspace /opt && echo OUT"
refused "a socket of the host" 'echo TRIED; find / -xdev \( -name docker.sock -o -name guest.sock -o -path "*/run/sock" \) 2>/dev/null | grep . && echo OUT; find /run -type s | grep . && echo OUT'
refused "a mount" 'echo TRIED; mkdir -p /tmp/m; mount -t tmpfs none /tmp/m && echo OUT; mount --bind / /tmp/m && echo OUT; mount -o remount,rw /sys && echo OUT'
refused "namespaces" 'echo TRIED; for o in -U -m -n -p; do unshare $o true && echo OUT; done'
python "namespaces by clone" '
for f in 0x10000000, 0x00020000, 0x40000000:
    p = c.syscall(56, f | 17, 0, 0, 0, 0)
    if p == 0: os._exit(0)
    if p > 0: print("OUT")'
python "the guest traced" '
if c.ptrace(16, 1, 0, 0) == 0: print("OUT attach")
if c.ptrace(0x4206, 1, 0, 0) == 0: print("OUT seize")
try: os.open("/proc/1/mem", os.O_RDONLY); print("OUT mem")
except OSError: pass
p = c.syscall(434, 1, 0)
for n in range(3, 64):
    # the names may be listed by uid 0; what they stand for may not be had
    try: print("OUT link", n, os.readlink("/proc/1/fd/%d" % n))
    except OSError: pass
    if c.syscall(438, p, n, 0) >= 0: print("OUT getfd", n)'
refused "device nodes" 'echo TRIED; mknod /tmp/disk b 8 0 && echo OUT; mknod /tmp/mem c 1 1 && echo OUT; mknod /dev/kmsg2 c 1 11 && echo OUT'
refused "raw disks" 'echo TRIED; find / -xdev -type b 2>/dev/null | grep . && echo OUT; find /dev -type b | grep . && echo OUT; dd if=/dev/mem of=/dev/null bs=1 count=1 && echo OUT'
python "the host's loopback" "
try:
    s = socket.create_connection(('127.0.0.1', $port), 2); print('OUT' if s.recv(7) == b'reached' else '')
except OSError: pass"
tried=$((tried + 1))
fails "the machine's credentials of a cloud" timeout 120 "$INTERPFS" exec "$M/sandboxes/net" -- python3 -c \
	'import socket; socket.create_connection(("169.254.169.254", 80), 5)'
refused "the kernel's settings" 'echo TRIED; echo x 2>/dev/null >/proc/sys/kernel/core_pattern && echo OUT; echo h >/proc/sysrq-trigger && echo OUT; find /sys -xdev -maxdepth 3 -writable -type f 2>/dev/null | while read -r f; do (: >"$f") 2>/dev/null && echo OUT; done'
python "the kernel's keys" '
if c.syscall(248, b"user", b"interpfs", b"x", 1, -3) > 0 or c.syscall(250, 0, -3, 1) > 0: print("OUT")'
python "typing into a terminal" '
m, s = os.openpty()
try: fcntl.ioctl(s, 0x5412, b"x"); print("OUT")
except OSError: pass'
python "files without a path, bpf, io_uring, another process'\''s memory" '
for n in 303, 304, 321, 425, 310, 323, 298:
    if c.syscall(n, 0, 0, 0, 0, 0, 0) >= 0: print("OUT", n)'
python "rarely used sockets, also by a number of 64 bits whose lower half is theirs" '
for f in range(3, 64):
    for high in 0, 1 << 32:
        for call, more in (41, (0, 0)), (53, (0, c_int2)):
            if f not in (10, 16) and c.syscall(ctypes.c_long(call), ctypes.c_long(f | high), ctypes.c_long(2), *more) >= 0: print("OUT", f)'
python "a socket that holds up who closes it" '
s, two = socket.socket(), bytes([1, 0, 0, 0, 60, 0, 0, 0])
s.setsockopt(1, 13, two)
c.syscall(ctypes.c_long(54), ctypes.c_long(s.fileno()), ctypes.c_long(1 | 1 << 32), ctypes.c_long(13 | 1 << 40), two, ctypes.c_long(8))
if any(s.getsockopt(1, 13, 8)): print("OUT")'
python "a lease that holds up who writes" '
f = os.open("/tmp/leased", os.O_RDONLY | os.O_CREAT)
for call in 1024, 1040, 1024 | 1 << 32:
    if c.syscall(ctypes.c_long(72), ctypes.c_long(f), ctypes.c_long(call), ctypes.c_long(0)) >= 0: print("OUT", call)'
python "the calls of other machines" '
import mmap
m = mmap.mmap(-1, 4096, prot=7)
m.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3])) # getpid of 32 bits
old = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
for call in old, lambda: c.syscall(ctypes.c_long(0x40000000 | 39)):
    p = os.fork()
    if p == 0: os._exit(call() > 0)
    if os.waitpid(p, 0)[1] == 256: print("OUT")'
python "a file of a bound folder written" '
for d in "/run/interpfs/guest", "/workspace/libraries/x.py":
    try: open(d, "ab"); print("OUT", d)
    except OSError: pass'
refused "a file system that takes setuid programs or devices" 'echo TRIED; grep " - overlay " /proc/self/mountinfo | grep -v "nosuid,nodev" && echo OUT'
refused "the host's name for its control group" 'echo TRIED; grep -v ":/$" /proc/self/cgroup && echo OUT'
refused "more privileges" 'echo TRIED; grep -q "NoNewPrivs:.1" /proc/self/status || echo OUT; grep -q "Seccomp:.2" /proc/self/status || echo OUT'

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
timeout 120 sh -c "echo restart >'$M/sandboxes/lab/ctl'" || fail "what has Jupyter's place holds the sandbox up: $(cat "$M/sandboxes/lab/error")"

# What it leaves for its next start, where the host makes folders and files of its own in it.
mkdir "$T/victim"
for n in lab net; do
	tried=$((tried + 1))
	"$INTERPFS" exec "$M/sandboxes/$n" -- sh -c "mv /var /var~ && ln -s '$T/victim' /var &&
		for f in hosts hostname resolv.conf passwd group; do mkfifo /etc/.\$f~ || exit; done" || fail "$n: nothing was left"
	timeout 120 sh -c "echo restart >'$M/sandboxes/$n/ctl'" || fail "$n does not start again: $(cat "$M/sandboxes/$n/error")"
	same "the host's folder after $n was started again" "" "$(ls "$T/victim")"
done

# The environment is on no disk, neither while it starts nor when that fails.
tried=$((tried + 1))
same "the variable inside" "$variable" "$(inside sh -c 'echo $VARIABLE')"
touch "$T/refuse"
fails "a start that its runtime refuses" timeout 120 sh -c "echo restart >'$M/sandboxes/lab/ctl'"
rm "$T/refuse"
[ -e "$T/seen" ] || fail "the runtime did not look"
same "files with the environment while it started" "" "$(cat "$T/seen")"
same "files with the environment after it failed" "" "$(grep -rslF "$variable" "$S"/sandboxes/*/box "$S/runtime")"
timeout 120 sh -c "echo restart >'$M/sandboxes/lab/ctl'" || fail "lab does not start again: $(cat "$M/sandboxes/lab/error")"

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
