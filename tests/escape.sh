# What runs inside a sandbox and tries by name to get out of it, whatever the backend: no attempt may succeed. Sourced
# after functions.sh.
#
#   refused WHAT SHELL     the shell's text, run inside, says TRIED, and OUT where the attempt has succeeded
#   python WHAT CODE       the same in Python
#   escape_inside          the list; the sandboxes lab and other (network: none) and net (full) are there, $secret is in
#                          $T/secret and in other, $S is the state directory. GROUP_IS_NAMED: the engine gives
#                          its containers no namespace of control groups here
tried=0
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/lab" -- "$@" 2>/dev/null; }
# refused WHAT SHELL: the shell's text, run inside, prints OUT where the attempt has succeeded.
refused() {
	local out
	tried=$((tried + 1))
	out=$(inside sh -c "$2"; echo "ended $?")
	case $out in *OUT*) fail "$1 succeeded: $out" ;; esac
	case $out in *TRIED*) ;; *) fail "$1 was not tried: $out" ;; esac
}
python() { refused "$1" "python3 - <<'EOF'
import ctypes, glob, os, sys, socket, fcntl
c, c_int2 = ctypes.CDLL(None, use_errno=True), (ctypes.c_int * 2)()
print('TRIED', flush=True)
$2
EOF"; }

escape_inside() { # at the margin, since its texts are
local port
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
refused "a socket of the host" 'echo TRIED; find / -xdev \( -name docker.sock -o -name guest.sock -o -path "*/run/sock" \) 2>/dev/null | grep . && echo OUT; find /run -type s | grep -v "^/run/interpfs/" && echo OUT'
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
fails "the machine's credentials of a cloud" timeout 400 "$INTERPFS" exec "$M/sandboxes/net" -- python3 -c \
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
for d in *glob.glob("/run/interpfs/guest"), *glob.glob("/opt/interpfs/guest/*.d/guest"), "/workspace/libraries/x.py":
    try: open(d, "ab"); print("OUT", d)
    except OSError: pass'
[ -n "${GROUP_IS_NAMED:-}" ] || refused "the host's name for its control group" 'echo TRIED; grep -v ":/$" /proc/self/cgroup && echo OUT'
refused "more privileges" 'echo TRIED; grep -q "NoNewPrivs:.1" /proc/self/status || echo OUT; grep -q "Seccomp:.2" /proc/self/status || echo OUT'
python "a setuid file of root's" '
import shutil
shutil.copy("/usr/bin/id", "/tmp/id"); os.chmod("/tmp/id", 0o4755)
p = os.fork()
if p == 0: os.setgid(65534); os.setuid(65534); print("OUT" if os.popen("/tmp/id -u").read() == "0\n" else "")'
refused "capabilities beyond the eleven" 'echo TRIED; grep -E "^Cap(Bnd|Eff|Prm):" /proc/self/status | grep -v "00000000800405fb$" && echo OUT; grep -E "^Cap(Inh|Amb):" /proc/self/status | grep -v "0$" && echo OUT'
}
