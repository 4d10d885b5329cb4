#!/bin/bash
# network: full reaches out, and not to this machine's loopback; none reaches nothing.
# runs: root user
. "$(dirname "$0")/../functions.sh"


# A server of this machine on its loopback, and one on an abstract socket.
cat >"$T/server.py" <<-'EOF'
	import socket, sys, threading
	t = socket.create_server(('127.0.0.1', 0)); u = socket.socket(socket.AF_UNIX)
	u.bind('\0interpfs-test-%d' % t.getsockname()[1]); u.listen()
	print(t.getsockname()[1], flush=True)
	for s in t, u: threading.Thread(target=lambda s=s: [c[0].sendall(b'reached') for c in iter(s.accept, None)], daemon=True).start()
	sys.stdin.read()
EOF
coproc SERVER { exec python3 "$T/server.py"; }
read -r port <&"${SERVER[0]}"
on_exit "kill $SERVER_PID"
cat >"$T/try.py" <<-'EOF'
	import socket, sys
	address, port, seconds = sys.argv[1], int(sys.argv[2]), int((sys.argv + [5])[3]) # what must not answer is not waited for long
	s = socket.socket(socket.AF_UNIX if address == 'abstract' else socket.AF_INET); s.settimeout(seconds)
	s.connect('\0interpfs-test-%d' % port if address == 'abstract' else (address, port)); print(s.recv(7).decode())
EOF
same "the server itself" reached "$(python3 "$T/try.py" 127.0.0.1 "$port" 60)"
same "the server's other socket" reached "$(python3 "$T/try.py" abstract "$port" 60)"

# Where clouds answer any program with the machine's credentials.
no_credentials() { # SANDBOX
	inside "$1" cat /proc/net/route >"$T/routes"
	for route in 0000FEA9 C8646464 10813FA8; do
		grep -q "^[*].*$route" "$T/routes" || fail "$1: $route is not refused: $(cat "$T/routes")"
	done
	fails "the machine's credentials from $1" inside "$1" python3 -c 'import socket; socket.create_connection(("169.254.169.254", 80), 3)'
}

mount_it
for n in full none; do
	mkdir "$M/sandboxes/$n"
	printf 'network: %s\nlocal_files: [["%s", /workspace/try.py]]\n' "$n" "$T/try.py" >"$M/sandboxes/$n/config"
done
for n in full none; do
	echo wait >"$M/sandboxes/$n/ctl" || fail "$n: $(cat "$M/sandboxes/$n/error")"
	for a in 127.0.0.1 10.0.2.2 abstract; do
		fails "the host's server from $n as $a" inside $n python3 /workspace/try.py $a "$port"
	done
	same "$n: its own loopback" "5" "$(inside $n python3 -c '
import socket
s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); c.send(b"hello"); print(len(s.accept()[0].recv(9)))')"
done
case $(jq -r .network "$M/sandboxes/full/info.json") in
"full ("*) ;;
*) fail "info.json says: $(jq -r .network "$M/sandboxes/full/info.json")" ;;
esac
no_credentials full
same "info.json" none "$(jq -r .network "$M/sandboxes/none/info.json")"

# Out: to an address of this machine that is not its loopback, where there is one.
address=$(ip -4 -o addr show scope global 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}')
if [ -n "$address" ]; then
	cat >"$T/out.py" <<-EOF
		import signal, socket, threading
		s = socket.create_server(('$address', 0)); print(s.getsockname()[1], flush=True)
		threading.Thread(target=lambda: [c[0].sendall(b'reached') for c in iter(s.accept, None)], daemon=True).start(); signal.pause()
	EOF
	exec 8< <(exec python3 "$T/out.py" </dev/null)
	on_exit "kill $!"
	read -r out <&8
	same "out" reached "$(inside full python3 /workspace/try.py "$address" "$out" 60)"
	fails "out of none" inside none python3 /workspace/try.py "$address" "$out"
fi

# Its helper ends with it and not with the runner that started it, and what it started with is gone.
helpers() { # those that write to the sandbox's network.log
	local p
	for p in $(pgrep -x 'slirp4netns|pasta.*'); do
		[ "$(readlink "/proc/$p/fd/2")" != "$S/sandboxes/$serial/box/ctl/network.log" ] || echo "$p"
	done
}
runs_one() { [ "$(helpers | wc -l)" = 1 ]; }
runs_none() { [ "$(helpers | wc -l)" = 0 ]; }
serial=$(jq .serial "$M/sandboxes/full/info.json")
runs_one || fail "helpers: $(helpers)"
same "what kept the namespaces" "" "$(pgrep -f "^$(dirname "$(realpath "$INTERPFS")")/interpfs-guest hold")"
for p in $(runner_pids); do kill -9 "$p"; done
eventually 10 sh -c "[ \"\$(cat '$M/sandboxes/full/state')\" = ready ] && '$INTERPFS' exec '$M/sandboxes/full' -- true"
runs_one || fail "the helper ended with the runner"
rmdir "$M/sandboxes/full" "$M/sandboxes/none"
eventually 10 runs_none

# With pasta, which only an ordinary user has use for.
if [ "$(id -u)" != 0 ] && command -v pasta >/dev/null; then
	unmount_it
	mkdir "$T/bin"
	for p in runc fusermount3 pasta python3; do ln -s "$(command -v $p)" "$T/bin/"; done
	PATH=$T/bin "$INTERPFS" mount -o "state=$S" "$M" >>"$T/mount.log" 2>&1 || fail mount
	mkdir "$M/sandboxes/pasta"
	printf 'network: full\nlocal_files: [["%s", /workspace/try.py]]\n' "$T/try.py" >"$M/sandboxes/pasta/config"
	echo wait >"$M/sandboxes/pasta/ctl" || fail "pasta: $(cat "$M/sandboxes/pasta/error")"
	same "info.json" "full (pasta)" "$(jq -r .network "$M/sandboxes/pasta/info.json")"
	for a in 127.0.0.1 10.0.2.2 abstract; do
		fails "the host's server by pasta as $a" inside pasta python3 /workspace/try.py $a "$port"
	done
	no_credentials pasta
	[ -z "$address" ] || fails "the host's loopback by its own address" inside pasta python3 /workspace/try.py "$address" "$port"
	serial=$(jq .serial "$M/sandboxes/pasta/info.json")
	runs() { pgrep -f "[p]asta .*--pid $S/sandboxes/$serial/" >/dev/null; }
	rests() { ! runs; }
	runs || fail "no pasta runs"
	for p in $(runner_pids); do kill -9 "$p"; done
	eventually 10 sh -c "[ \"\$(cat '$M/sandboxes/pasta/state')\" = ready ] && '$INTERPFS' exec '$M/sandboxes/pasta' -- true"
	runs || fail "pasta ended with the runner"
	rmdir "$M/sandboxes/pasta"
	eventually 10 rests
fi
