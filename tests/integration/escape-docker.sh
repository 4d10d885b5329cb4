#!/bin/bash
# What runs inside a container tries by name to get out of it: no attempt may succeed. The engine's containers are
# told names by an address of the kind that is out of reach.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh
. tests/escape.sh

secret=secret-$RANDOM$RANDOM token=token-$RANDOM$RANDOM variable=variable-$RANDOM$RANDOM
echo "$secret" >"$T/secret"
${ENGINE_TO_TEST:-start_docker --dns 169.254.169.253}
make_image interpfs-test
BACKEND=docker LINE="image: interpfs-test"
MOUNTS_OWN=$variable TEST_TOKEN=$token mount_it
made lab "network: none" "secrets: [TEST_TOKEN]" "env: {VARIABLE: $variable-inside}" || fail "lab: $(error lab)"
made other "network: none" && made net "network: full" || fail "$(error other) $(error net)"
"$INTERPFS" exec "$M/sandboxes/other" -- sh -c "echo $secret >/root/mine" || fail "the other's file"
id=$(cat "$M/sandboxes/lab/id")

escape_inside

# Cloud's addresses: unreachable at once, whatever is behind the engine's network; names by one of them are told.
reaches() { # ADDRESS PORT
	timeout 400 "$INTERPFS" exec "$M/sandboxes/net" -- python3 -c 'import errno, socket, sys
try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
except OSError as e: sys.exit(e.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH))' "$@"
}
for address in 169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192; do
	tried=$((tried + 1))
	fails "$address" reaches $address 80
done
case ${ENGINE_TO_TEST:-} in
'')
	grep -q . <(timeout 400 "$INTERPFS" exec "$M/sandboxes/net" -- grep 169.254.169.253 /etc/resolv.conf) || fail "the name server is another"
	fails "the name server's other ports" reaches 169.254.169.253 80
	reaches 169.254.169.253 53 || fail "names are out of reach"
	;;
esac

# The engine's own way in, with the mount's next runner: nobody inside gets hold of it.
kill -9 "$(runner_of lab)"
eventually 30 inside true
eventually 20 is lab ready
inside sh -c 'grep -lz ^connect$ /proc/[0-9]*/cmdline' | grep -q . || fail "the engine's way in is not seen inside"
python "the engine's way in traced" '
for p in os.listdir("/proc"):
    if p.isdigit() and open("/proc/%s/cmdline" % p, "rb").read().endswith(b"\0connect\0"):
        if c.ptrace(0x4206, int(p), 0, 0) == 0: print("OUT seize")
        for f in "mem", "environ":
            try: os.open("/proc/%s/%s" % (p, f), os.O_RDONLY); print("OUT", f)
            except OSError: pass'
python "the guest's socket" '
s = socket.socket(socket.AF_UNIX); s.settimeout(5)
s.connect(b"\0interpfs-guest")
try:
    s.sendall(bytes([1, 0, 0, 0, 1, 0, 0, 0]) + b"O\0\0\0p")
    if s.recv(100): print("OUT")
except OSError: pass'
refused "a hard link to the guest" 'echo TRIED; ln /opt/interpfs/guest/*.d/guest /tmp/g && echo OUT; ln /opt/interpfs/guest/*.d/guest /opt/interpfs/g && echo OUT'
refused "the mount's environment" "echo TRIED; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep '^MOUNTS_OWN=variable-' && echo OUT"
# What whoever may ask the engine can read has neither.
tried=$((tried + 1))
api GET "/containers/$id/json" | grep -e "$token" -e "$variable" && fail "the engine has what is the sandbox's"
same "the secret inside" "$token" "$(inside sh -c 'echo $TEST_TOKEN')"
same "files with the secret" "" "$(grep -rslF "$token" "$S")"
[ "$tried" -ge 38 ] || fail "only $tried attempts"
