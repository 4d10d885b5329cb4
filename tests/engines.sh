# Engines for the tests: the Docker Engine and Podman of the distribution, started here with sockets,
# data and networks of their own (a network namespace that slirp4netns joins to the outside), and
# stopped again. Sourced after functions.sh, by root.
#
#   start_docker [OPTIONS]   sets DOCKER_HOST, and ENGINE_HOLDER (a process in the engine's network)
#   start_podman
#   container_tests          the list of engine.sh, and that an engine may go away and come back
#   make_image NAME          imports a small root with a shell, coreutils, Python and pip
#   api METHOD PATH [CURL]   the engine's answer
#   containers               a line each: name state
#   pause_engine resume_engine    it ends, and is started again
#   stop_engine              with all that it ran
#
# No test may need the command `docker` or `podman`: the first ones on PATH here fail, and are told.
ENGINE=
mkdir -p "$T/bin"
for c in docker podman; do
	printf '#!/bin/sh\necho "%s $*" >>"%s/commands-called"; exit 1\n' $c "$T" >"$T/bin/$c"
	chmod 0755 "$T/bin/$c"
done
PODMAN=$(PATH=/usr/bin:/usr/local/bin command -v podman)
PATH=$T/bin:$PATH

api() {
	local method=$1 path=$2; shift 2
	curl -sS --max-time 120 --unix-socket "$T/engine/sock" -X "$method" "$@" "http://engine$path"
}

containers() { api GET '/containers/json?all=1' | jq -r '.[] | "\(.Names[0]) \(.State)"' | sort; }
answers() { [ "$(api GET /_ping 2>/dev/null)" = OK ]; }

# start_engine ENGINE WORDS...: the words run in the namespaces, $T/engine/log has what they said
start_engine() {
	ENGINE=$1; shift
	ENGINE_WORDS=("$@")
	mkdir -p "$T/engine"
	unshare --net --mount --propagation private sh -c 'ip link set lo up; exec sleep infinity' &
	ENGINE_HOLDER=$!; disown
	on_exit stop_engine
	eventually 10 sh -c "[ \"\$(readlink /proc/$ENGINE_HOLDER/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ] && grep -q sleep /proc/$ENGINE_HOLDER/comm"
	slirp4netns --configure --mtu=65520 --disable-host-loopback "$ENGINE_HOLDER" tap0 >"$T/engine/network.log" 2>&1 &
	ENGINE_NETWORK=$!; disown
	export DOCKER_HOST=unix://$T/engine/sock
	resume_engine
}

# What it ran goes on, as far as the engine lets it.
pause_engine() {
	kill "$ENGINE_PID"
	wait "$ENGINE_PID" 2>/dev/null
}

resume_engine() {
	(cd "$T/engine" && exec nsenter --net --mount -t "$ENGINE_HOLDER" "${ENGINE_WORDS[@]}" >>log 2>&1) &
	ENGINE_PID=$!
	eventually 30 answers
}

start_docker() {
	start_engine docker dockerd --host "unix://$T/engine/sock" --data-root "$T/engine/data" --exec-root "$T/engine/exec" \
		--pidfile "$T/engine/dockerd.pid" --cgroup-parent /interpfs-tests --live-restore "$@"
}

start_podman() {
	local runtime=crun
	# crun refuses control groups of both versions at once.
	[ -d /sys/fs/cgroup/unified ] && runtime=runc
	mkdir -p "$T/engine"
	cat >"$T/engine/storage.conf" <<-END
		[storage]
		driver = "overlay"
		runroot = "$T/engine/run"
		graphroot = "$T/engine/data"
	END
	cat >"$T/engine/containers.conf" <<-END
		[containers]
		default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		runtime = "$runtime"
	END
	export CONTAINERS_CONF=$T/engine/containers.conf CONTAINERS_STORAGE_CONF=$T/engine/storage.conf
	start_engine podman "$PODMAN" --root "$T/engine/data" --runroot "$T/engine/run" --tmpdir "$T/engine/tmp" \
		system service --time=0 "unix://$T/engine/sock"
}

engine_left() { pgrep -f -- "$T/engine/"; }
nothing_of_engine() { [ -z "$(engine_left)" ]; }

stop_engine() {
	local id
	[ -n "$ENGINE" ] || return 0
	ENGINE=
	end_objects # while there is an engine on which they can end
	for id in $(api GET '/containers/json?all=1' 2>/dev/null | jq -r '.[].Id' 2>/dev/null); do
		api DELETE "/containers/$id?force=1&v=1" >/dev/null 2>&1
	done
	kill "$ENGINE_PID" 2>/dev/null
	for _ in $(seq 600); do kill -0 "$ENGINE_PID" 2>/dev/null || break; sleep 0.1; done
	kill -9 "$ENGINE_PID" "$ENGINE_NETWORK" "$ENGINE_HOLDER" 2>/dev/null
	# Podman has a monitor of each exec stay for five minutes after it; they name this test's folder.
	for id in $(engine_left); do kill -9 "$id" 2>/dev/null; done
	for _ in $(seq 600); do nothing_of_engine && break; sleep 0.1; done
	nothing_of_engine || { echo "FAILED: the engine left processes: $(engine_left | xargs)" >&2; status=1; } # finish()'s
	find /sys/fs/cgroup -maxdepth 2 -name interpfs-tests -type d -exec rmdir {} + 2>/dev/null
	unset DOCKER_HOST
	[ ! -e "$T/commands-called" ] || { echo "FAILED: a command was run: $(cat "$T/commands-called")" >&2; exit 1; }
}

# shellcheck source=/dev/null
. "$TOP/tests/root.sh"
# shellcheck source=/dev/null
. "$TOP/tests/fs.sh"

make_image() {
	api POST "/images/create?fromSrc=-&repo=$1&tag=latest" -H 'Content-Type: application/x-tar' -T "$(root_tar)" >"$T/import.json" ||
		fail "import: $(cat "$T/import.json")"
	api GET "/images/$1/json" | jq -e .Id >/dev/null || fail "import: $(cat "$T/import.json")"
}

one_container() { [ "$(containers | wc -l)" = 1 ]; }

# between WORDS...: the engine behind between.py (WORDS are its arguments), until not_between
between() {
	local at
	coproc BETWEEN { exec python3 tests/between.py "$T/engine/sock" "$@"; }
	between=$BETWEEN_PID
	on_exit "kill $between 2>/dev/null"
	read -r at <&"${BETWEEN[0]}" || fail "between"
	case $at in /*) DOCKER_HOST=unix://$at ;; *) DOCKER_HOST=tcp://127.0.0.1:$at ;; esac
	unmount_it; mount_it
}
not_between() {
	kill "$between"
	wait "$between" 2>/dev/null
	DOCKER_HOST=unix://$T/engine/sock
	unmount_it; mount_it
}

# behind FS WORDS...: a sandbox there, as whose fs/ info.json tells FS
behind() {
	local told=$1; shift
	between "$@"
	made far "network: none" || fail "behind $DOCKER_HOST: $(error far)"
	same "fs behind $DOCKER_HOST" "\"not available: $told\"" "$(info far .fs)"
	same "what ls says" "Operation not supported" "$(LC_ALL=C ls "$M/sandboxes/far/fs/" 2>&1 | sed 's/.*: //')"
	kill -9 "$(runner_of far)"
	eventually 20 inside far true
	same "the next runner" "Operation not supported" "$(LC_ALL=C ls "$M/sandboxes/far/fs/" 2>&1 | sed 's/.*: //')"
	rmdir "$M/sandboxes/far"
	eventually 20 sh -c "[ \"\$(ls '$S/sandboxes' | grep -c '^[0-9]')\" = 1 ]" # lab alone
	not_between
}

# Its files behind fs/, and where they cannot be had: on another machine's engine, and where the number of a process is
# not this machine's: that of the host's first one, and of one beside it with another root.
container_files() {
	local L=$M/sandboxes/lab
	same "fs" '"live"' "$(info lab .fs)"
	fs_both_ways
	fs_stays_inside
	kill -9 "$(runner_of lab)"
	eventually 20 inside lab true
	same "by the next runner" more "$(tail -n1 "$L/fs/srv/other")"
	fs_ends
	behind "the engine is on another machine"
	behind "the engine's processes are not to be seen on this machine" "$T/engine/first" 1
	behind "the engine's processes are not to be seen on this machine" "$T/engine/other" "$(info lab .pid)"
	eventually 20 inside lab true
}

# The list of engine.sh on an engine that was started, and what only an engine can do: it goes away and comes back.
container_tests() {
	local waiting
	make_image interpfs-test
	engine_tests docker "image: interpfs-test"

	made lab "network: none" || fail "$(error lab)"
	container_files

	# The engine goes away and comes back: what runs is found again, and nothing is started twice.
	inside lab sh -c 'sleep 300 & echo $! >/root/sleeper'
	pause_engine
	eventually 20 grep -q 'not to be found for now: docker: no engine answers' "$M/sandboxes/lab/log"
	same "state without an engine" ready "$(state lab)"
	"$INTERPFS" exec "$M/sandboxes/lab" -- cat /root/sleeper >"$T/waited" & waiting=$!
	resume_engine
	wait $waiting || fail "a command that waited for the engine"
	same "the command that waited" "$(inside lab cat /root/sleeper)" "$(cat "$T/waited")"
	inside lab sh -c 'kill -0 $(cat /root/sleeper)' || fail "what ran inside is gone"
	grep -q 'found again, after its connection was lost' "$M/sandboxes/lab/log" || fail "log: $(cat "$M/sandboxes/lab/log")"
	eventually 20 one_container # what was removed before may take a moment
	# It goes away, and so does the runner; the sandbox ends meanwhile.
	pause_engine
	kill -9 "$(runner_of lab)"
	kill -9 "$(info lab .pid)"
	resume_engine
	eventually 20 is lab died
	rmdir "$M/sandboxes/lab"
	eventually 20 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ]"
	same "containers" "" "$(containers)"
}
