#!/bin/bash
# What runs inside a sandbox tries by name to get out of it: no attempt may succeed.
# runs: root user
. "$(dirname "$0")/../functions.sh"

tried=0
inside() { timeout 20 "$INTERPFS" exec "$M/sandboxes/lab" -- "$@" 2>/dev/null; }
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
c = ctypes.CDLL(None, use_errno=True)
print('TRIED', flush=True)
$2
EOF"; }

secret=secret-$RANDOM$RANDOM
echo "$secret" >"$T/secret"
mount_it
for n in lab other net; do
	mkdir "$M/sandboxes/$n"
	case $n in net) echo 'network: full' ;; *) echo 'network: none' ;; esac >"$M/sandboxes/$n/config"
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
python "a file of a bound folder written" '
for d in "/run/interpfs/guest", "/workspace/libraries/x.py":
    try: open(d, "ab"); print("OUT", d)
    except OSError: pass'
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

# What it leaves for its next start, where the host makes folders and files of its own in it.
mkdir "$T/victim"
for n in lab net; do
	tried=$((tried + 1))
	"$INTERPFS" exec "$M/sandboxes/$n" -- sh -c "mv /var /var~ && ln -s '$T/victim' /var &&
		for f in hosts hostname resolv.conf passwd group; do mkfifo /etc/.\$f~ || exit; done" || fail "$n: nothing was left"
	timeout 20 sh -c "echo restart >'$M/sandboxes/$n/ctl'" || fail "$n does not start again: $(cat "$M/sandboxes/$n/error")"
	same "the host's folder after $n was started again" "" "$(ls "$T/victim")"
done

# the state directory is nobody else's
same "the state directory's mode" 700 "$(stat -c %a "$S")"
# layers are packages that anybody may have; a workspace is bound into sandboxes
same "modes" "" "$(find "$S" -mindepth 1 -maxdepth 2 -perm /077 ! -type l ! -path "$S/layers*" ! -path "$S/jupyter*" ! -path "$S/workspaces*" -printf '%m %P\n' | head -n 5)"
same "configurations" "" "$(find "$S" -name config.json -perm /077 -not -path '*/layers/*' -not -path '*/root/*' -printf '%m %P\n' 2>/dev/null | head -n 5)"
[ "$tried" -ge 25 ] || fail "only $tried attempts"
