# What every engine does, as one list: engine_tests BACKEND LINE, where LINE is what else a config
# needs there (an image). Sourced after functions.sh. What one engine cannot is said here, by name.

state() { cat "$M/sandboxes/$1/state"; }
is() { [ "$(state "$1")" = "$2" ]; }
info() { jq -c "$2" "$M/sandboxes/$1/info.json"; }
runner_of() { local pid; read -r pid _ <"$S/sandboxes/$(jq .serial "$M/sandboxes/$1/info.json")/run/pid"; echo "$pid"; }

write_config() { # NAME LINES...
	{ echo "backend: $BACKEND"; [ -z "$LINE" ] || echo "$LINE"; printf '%s\n' "${@:2}"; } >"$T/config"
	cat "$T/config" >"$M/sandboxes/$1/config"
}

made() { # NAME LINES...: whether it became ready
	mkdir "$M/sandboxes/$1" && write_config "$@" && ctl "$1" wait
}

# Nothing with that id runs or lies there.
gone_from_engine() {
	case $BACKEND in
	local) ! find "$S/runtime" -mindepth 2 -name "$1" 2>/dev/null | grep . && ! find /sys/fs/cgroup -maxdepth 4 -type d -name "$1" 2>/dev/null | grep . ;;
	docker) ! containers | grep -q "^/$1 " ;;
	esac
}

foreign_container() {
	api POST '/containers/create?name=foreign' -H 'Content-Type: application/json' \
		-d "{\"Image\": \"${LINE#image: }\", \"Cmd\": [\"sleep\", \"1000\"], \"Labels\": {\"io.interpfs.state\": \"0000000000000000\", \"io.interpfs.kind\": \"sandbox\", \"io.interpfs.serial\": \"1\"}}" >/dev/null
	api POST /containers/foreign/start >/dev/null
	containers | grep -q '^/foreign running'
}

gone() { # NAME ID: nothing of it runs, nor is kept by the engine
	case $BACKEND in
	local) [ -z "$(find "$S/runtime" -mindepth 2 -name "$1" 2>/dev/null)" ] ;;
	docker) ! containers | grep -q "^/$1" && [ "$(api GET /images/json | jq length)" = 1 ] ;;
	esac
}

engine_commands() {
	local i many=() sleeper
	same "stdout" out "$(inside lab sh -c 'echo out; echo err >&2' 2>/dev/null)"
	same "stderr" err "$(inside lab sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)"
	inside lab sh -c 'exit 7'; same "an exit status" 7 $?
	inside lab sh -c 'kill -9 $$'; same "a signal's status" 137 $?
	fails "a command that is not there" inside lab no-such-command
	same "the environment" "hello there 7" "$(inside lab sh -c 'echo $GREETING $NUMBER')"
	same "where commands begin" /workspace "$(inside lab pwd)"
	same "who they are" 0 "$(inside lab id -u)"
	same "a megabyte of output" 1000000 "$(inside lab head -c 1000000 /dev/zero | wc -c)"
	same "exec" "hello
[exit 3]" "$(ask "$M/sandboxes/lab/exec" 'echo hello; exit 3')"
	same "python" 42 "$(ask "$M/sandboxes/lab/python" 'print(6*7)')"
	case $(ask "$M/sandboxes/lab/python" '1/0') in *ZeroDivisionError*"[exit 1]") ;; *) fail "a traceback" ;; esac
	# Many at once, each with its own answer.
	for i in 1 2 3 4 5 6 7 8; do inside lab sh -c "head -c 300000 /dev/zero | wc -c; echo $i" >"$T/many-$i" & many+=($!); done
	wait "${many[@]}"
	for i in 1 2 3 4 5 6 7 8; do same "command $i of eight" "300000 $i" "$(tr '\n' ' ' <"$T/many-$i" | sed 's/ $//')"; done
	"$INTERPFS" exec "$M/sandboxes/lab" -- sleep 300 & sleeper=$!
	eventually 10 sh -c "'$INTERPFS' exec '$M/sandboxes/lab' -- sh -c 'ps ax | grep -v grep | grep -q \"sleep 300\"'"
	kill $sleeper; wait $sleeper
	eventually 10 sh -c "! '$INTERPFS' exec '$M/sandboxes/lab' -- sh -c 'ps ax | grep -v grep | grep -q \"sleep 300\"'"
}

# What the mount tells of where it runs.
engine_backend() {
	same "the backend" ready "$(cat "$M/backends/$BACKEND/state")"
	same "its error" "" "$(cat "$M/backends/$BACKEND/error")"
	jq -e '.cpus > 0 and .memory > 0 and (.gpus | type == "array") and .limits.pids == "enforced"' "$M/backends/$BACKEND/info.json" >/dev/null ||
		fail "info.json: $(cat "$M/backends/$BACKEND/info.json")"
	eventually 20 grep -q "^lab *$BACKEND *sandbox *$(cat "$M/sandboxes/lab/id") *running .*Z *sandboxes/lab" "$M/backends/$BACKEND/running"
}

engine_isolation() {
	fails "the host's files" inside lab test -e "$T/config"
	fails "mounting" inside lab mount -t tmpfs none /mnt
	fails "the host's processes" inside lab sh -c '[ "$(ls -d /proc/[0-9]* | wc -l)" -gt 20 ]'
	fails "process 1 told to end from inside" inside lab sh -c 'kill -TERM 1; kill -KILL 1; sleep 0.3; exit 1'
	inside lab true || fail "process 1 was ended from inside"
	same "networks" lo "$(inside lab sh -c 'cut -sd: -f1 /proc/net/dev' | tr -d ' ')"
	inside lab sh -c 'echo kept >/root/file; mkdir -p /usr/local; echo kept >/usr/local/file; mkdir -p /srv/x; echo kept >/srv/x/file' || fail "its own system is not writable"
}

engine_limits() {
	if [ "$BACKEND" = local ] && [ "$(id -u)" != 0 ]; then
		same "memory" '"not available"' "$(info lab .memory.how)"
		return
	fi
	same "memory" '{"asked":268435456,"in_force":268435456,"how":"enforced"}' "$(info lab .memory)"
	same "cpu" '{"asked":1,"in_force":1,"how":"enforced"}' "$(info lab .cpu)"
	same "pids" '"enforced"' "$(info lab .pids.how)"
	inside lab python3 -c 'x = bytearray(400 << 20)' && fail "400 MiB within 256 MiB"
	inside lab true || fail "it ended with a command that had no memory"
}

engine_adoption() {
	local old
	inside lab sh -c 'sleep 300 & echo $! >/root/sleeper'
	old=$(runner_of lab)
	kill -9 "$old"
	eventually 20 sh -c "read -r p _ <'$S/sandboxes/$(jq .serial "$M/sandboxes/lab/info.json")/run/pid' && [ \"\$p\" != '$old' ] && [ -d /proc/\$p ]"
	eventually 20 is lab ready
	same "a command by the next runner" kept "$(inside lab cat /root/file)"
	inside lab sh -c 'kill -0 $(cat /root/sleeper)' || fail "what ran inside is gone"
	# Again, and the mount with it.
	unmount_it
	kill -9 "$(runner_pids)" 2>/dev/null
	mount_it
	eventually 20 is lab ready
	eventually 20 inside lab true
	inside lab sh -c 'kill -0 $(cat /root/sleeper)' || fail "what ran inside is gone after a new mount"
	ctl lab 'extend 60' || fail "extend: $(error lab)"
}

engine_restart() {
	ctl lab restart || fail "restart: $(error lab)"
	same "files after a restart" "kept kept" "$(inside lab sh -c 'cat /root/file /srv/x/file' | tr '\n' ' ' | sed 's/ $//')"
	fails "what ran before the restart" inside lab sh -c 'kill -0 $(cat /root/sleeper)'
	ctl lab stop
	same "state" stopped "$(state lab)"
	fails "a command in a stopped sandbox" inside lab true
	ctl lab start && ctl lab wait || fail "start: $(error lab)"
	same "a file after a stop" kept "$(inside lab cat /root/file)"
}

# A config that changed while it was stopped; its files are the same.
engine_change() {
	local env="env: {GREETING: other, ADDED: new}"
	ctl lab stop
	write_config lab "network: full" "memory: 384M" "cpu: 0.5" "$env" "timeout: 7200" || fail "$(error lab)"
	ctl lab wait || fail "changed: $(error lab)"
	same "the changed environment" "other new" "$(inside lab sh -c 'echo $GREETING $NUMBER $ADDED')"
	same "files after a change" "kept kept" "$(inside lab sh -c 'cat /root/file /srv/x/file' | tr '\n' ' ' | sed 's/ $//')"
	[ "$(inside lab sh -c 'sed 1,2d /proc/net/dev | wc -l')" -gt 1 ] || fail "no network: $(inside lab cat /proc/net/dev)"
	[ "$BACKEND" = local ] && [ "$(id -u)" != 0 ] || same "changed limits" "402653184 0.5" "$(info lab .memory.in_force) $(info lab .cpu.in_force)"
	ctl lab stop
	write_config lab "network: none" "memory: 256M" "cpu: 1" "$env" && ctl lab wait || fail "changed back: $(error lab)"
	same "files after a second change" kept "$(inside lab cat /root/file)"
	same "networks" lo "$(inside lab sh -c 'cut -sd: -f1 /proc/net/dev' | tr -d ' ')"
}

# Copies go in once; what is done with them stays inside.
engine_files() {
	local long=$(printf 'n%.0s' $(seq 120))
	mkdir -p "$T/data/deep/er" && echo original >"$T/data/file" && echo deep >"$T/data/deep/er/$long" && ln -sf ../file "$T/data/deep/link"
	echo "kept as it was" >"$T/note" && printf '#!/bin/sh\necho ran\n' >"$T/program" && chmod 0755 "$T/program"
	made files "network: none" "local_files: [['$T/note', /workspace/new/note.txt], ['$T/program', /usr/local/bin/program]]" \
		"local_dirs: [['$T/data', /workspace/data]]" || fail "files: $(error files)"
	same "a copied file" "kept as it was" "$(inside files cat /workspace/new/note.txt)"
	same "a copied program" ran "$(inside files /usr/local/bin/program)"
	same "a folder" "original deep original" "$(inside files sh -c "cd /workspace/data; cat file deep/er/$long deep/link" | tr '\n' ' ' | sed 's/ $//')"
	inside files sh -c 'echo changed >/workspace/data/file; echo changed >/workspace/new/note.txt; echo new >/workspace/data/new'
	same "the folder here" "original deep file" "$(cat "$T/data/file") $(ls "$T/data" | tr '\n' ' ' | sed 's/ $//')"
	ctl files restart || fail "restart: $(error files)"
	same "copies after a restart" "changed changed" "$(inside files cat /workspace/data/file /workspace/new/note.txt | tr '\n' ' ' | sed 's/ $//')"
	rmdir "$M/sandboxes/files"
}

# Its folders are seen inside as they are, and cannot be written there.
engine_workspace() {
	echo 'def greet(): return "from a library"' >"$M/workspaces/default/libraries/greeting.py"
	same "a library" "from a library" "$(inside lab python3 -c 'import greeting; print(greeting.greet())')"
	fails "the workspace can be written" inside lab sh -c 'echo x >/workspace/libraries/greeting.py'
}

engine_secrets() {
	export INTERPFS_TEST_SECRET=a-value-nobody-may-read
	unmount_it; mount_it
	made secret "network: none" "secrets: [INTERPFS_TEST_SECRET]" || fail "secret: $(error secret)"
	same "a secret inside" a-value-nobody-may-read "$(inside secret sh -c 'echo $INTERPFS_TEST_SECRET')"
	grep -rqs a-value-nobody-may-read "$S" && fail "the secret is on the disk"
	[ "$BACKEND" != docker ] || ! api GET "/containers/$(cat "$M/sandboxes/secret/id")/json" | grep -q a-value || fail "the engine has the secret"
	rmdir "$M/sandboxes/secret"
	unset INTERPFS_TEST_SECRET
	eventually 20 inside lab true
}

# A list of hosts: the only way out is the proxy, which puts secrets into requests to their hosts.
engine_listed() {
	local plain secure line servers get="import sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[1], headers={'X-Key': sys.argv[2]}), timeout=30).read().decode())"
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext 'subjectAltName=DNS:localhost' \
		-addext basicConstraints=critical,CA:TRUE -keyout "$T/key.pem" -out "$T/cert.pem" 2>/dev/null || fail "openssl"
	coproc SAYS { exec python3 tests/says.py "$T"; }
	servers=$SAYS_PID
	read -r plain secure line <&"${SAYS[0]}" || fail "the servers"
	on_exit "kill $servers 2>/dev/null"
	export LISTED_TOKEN=the-value-of-it SSL_CERT_FILE=$T/cert.pem
	unmount_it; mount_it
	made listed "network: ['localhost:$plain', 'localhost:$secure', 'localhost:$line']" "secrets: [{name: LISTED_TOKEN, hosts: ['localhost:$secure']}]" \
		"env: {no_proxy: '', NO_PROXY: ''}" || fail "listed: $(error listed)"
	case $(info listed .network) in '"listed hosts'*) ;; *) fail "info.json: $(info listed .network)" ;; esac
	same "networks" lo "$(inside listed sh -c 'cut -sd: -f1 /proc/net/dev' | tr -d ' ')"
	same "what stands inside" interpfs-secret-LISTED_TOKEN "$(inside listed sh -c 'echo $LISTED_TOKEN')"
	inside listed python3 -c "$get" "http://localhost:$plain/a" x >"$T/out" 2>&1 && grep -q 'X-Key: x' "$T/out" || fail "http: $(cat "$T/out")"
	inside listed python3 -c "$get" "https://localhost:$secure/a" interpfs-secret-LISTED_TOKEN >"$T/out" 2>&1 && grep -q 'X-Key: the-value-of-it' "$T/out" ||
		fail "https: $(cat "$T/out") $(tail -n 5 "$M/sandboxes/listed/log")"
	inside listed python3 -c "$get" "http://localhost:$plain/a" interpfs-secret-LISTED_TOKEN | grep -q 'X-Key: interpfs-secret' || fail "the secret went to another host"
	# Many at once, more than have a door.
	inside listed python3 -c "import sys, threading, urllib.request as u
good = []
def get(): good.append(len(u.urlopen(sys.argv[1] + 'x' * 8000, timeout=100).read()) > 8000)
all = [threading.Thread(target=get) for _ in range(60)]
for t in all: t.start()
for t in all: t.join()
sys.exit(0 if good == [True] * 60 else 1)" "http://localhost:$plain/" || fail "sixty at once"
	for url in http://example.org/ https://example.org/ "http://localhost:1/" "http://127.0.0.1:$plain/" http://169.254.169.254/ "http://[::ffff:127.0.0.1]:$plain/"; do
		fails "$url" inside listed python3 -c "$get" "$url" x
	done
	fails "past the proxy" inside listed env HTTP_PROXY= http_proxy= python3 -c "$get" "http://169.254.169.254/" x
	eventually 20 grep -q 'network: refused: example.org:443 is not in' "$M/sandboxes/listed/log"
	grep -rqs the-value-of-it "$S" && fail "the secret is on the disk"
	[ "$BACKEND" != docker ] || ! api GET "/containers/$(cat "$M/sandboxes/listed/id")/json" | grep -q the-value || fail "the engine has the secret"
	# The next runner opens it again; and so does a restart.
	kill -9 "$(runner_of listed)"
	eventually 30 inside listed python3 -c "$get" "https://localhost:$secure/" x
	ctl listed restart || fail "restart: $(error listed)"
	inside listed python3 -c "$get" "https://localhost:$secure/a" interpfs-secret-LISTED_TOKEN | grep -q 'X-Key: the-value-of-it' || fail "after a restart"
	rmdir "$M/sandboxes/listed"
	kill $servers
	unset LISTED_TOKEN SSL_CERT_FILE
}

# Repositories: cloned inside once it is ready, by the proxy; what fails is the repository's own state.
engine_repos() {
	local url
	. tests/git/git.sh
	serve_git
	url=http://localhost:$GIT_PORT
	cp -r "$G/tool.git" "$G/broken.git"
	made cloned "network: ['localhost:$GIT_PORT']" "env: {no_proxy: '', NO_PROXY: ''}" \
		"repos: [{url: $url/tool.git, revision: v1, install: 'cp tool.py /root/installed'}, {url: $url/broken.git, install: 'echo all is lost; exit 3'}]" ||
		fail "cloned: $(error cloned)"
	fails "one that fails" repo_ctl cloned broken wait
	same "a repository" "ready $(git -C "$G/tool.git" rev-parse v1)" "$(repo cloned tool state) $(repo cloned tool revision)"
	same "its install" "VALUE = 'v1'" "$(inside cloned cat /root/installed)"
	same "one that failed" "ready install ended with status 3: all is lost" "$(state cloned) $(repo cloned broken error)"
	kill -9 "$(runner_of cloned)"
	eventually 30 inside cloned rm /root/installed
	ctl cloned restart || fail "restart: $(error cloned)"
	fails "one that fails again" repo_ctl cloned broken wait
	same "after a restart" "ready 1" "$(repo cloned tool state) $(sent tool.git)"
	fails "what was installed again" inside cloned test -e /root/installed
	rmdir "$M/sandboxes/cloned"
}

# GPUs by a CDI specification of the test's own, with harmless devices: nodes, variables and files are inside and
# the devices work, each has one owner, and what is not there is refused with what is.
engine_gpus() {
	mkdir -p "$T/cdi"
	cat >"$T/cdi/test.yaml" <<-END
		cdiVersion: "0.6.0"
		kind: example.com/gpu
		devices:
		  - name: A100-0
		    containerEdits: {deviceNodes: [{path: /dev/test-gpu0, hostPath: /dev/zero}]}
		  - name: A100-1
		    containerEdits: {deviceNodes: [{path: /dev/test-gpu1, hostPath: /dev/zero}]}
		containerEdits:
		  env: [TEST_GPU=yes]
		  deviceNodes: [{path: /dev/test-gpuctl, hostPath: /dev/null}]
		  mounts: [{hostPath: $T/cdi/test.yaml, containerPath: /opt/driver/spec.yaml, options: [ro, bind]}]
	END
	export INTERPFS_CDI=$T/cdi
	unmount_it; mount_it
	mkdir "$M/sandboxes/gpu1" "$M/sandboxes/gpu2"
	write_config gpu1 "network: none" "gpu: A100" && write_config gpu2 "network: none" "gpu: A100" || fail "gpu: $(error gpu1) $(error gpu2)"
	ctl gpu1 wait && ctl gpu2 wait || fail "gpu: $(error gpu1) $(error gpu2)"
	same "their GPUs" "test-gpu0 test-gpu1" "$(for n in gpu1 gpu2; do inside $n sh -c 'ls /dev | grep "test-gpu[01]"'; done | sort | tr '\n' ' ' | sed 's/ $//')"
	same "the device works" 4 "$(inside gpu1 sh -c 'head -c 4 /dev/test-gpu[01] | wc -c')"
	same "the control device" ok "$(inside gpu1 sh -c 'echo x >/dev/test-gpuctl && echo ok')"
	same "variables and files" "yes 1" "$(inside gpu1 sh -c 'echo $TEST_GPU $(grep -c cdiVersion /opt/driver/spec.yaml)')"
	same "info.json" 1 "$(info gpu1 '.gpus | length')"
	made gpu3 "network: none" "gpu: A100" 2>/dev/null && fail "a third of two"
	case $(error gpu3) in *"gpu: 2 of 2 A100 are in use by other sandboxes") ;; *) fail "the third's error: $(error gpu3)" ;; esac
	write_config gpu3 "network: none" "gpu: H100"; ctl gpu3 wait 2>/dev/null && fail "a GPU that is none"
	case $(error gpu3) in *"gpu: this machine has "*A100-0*", not 1 H100") ;; *) fail "the error: $(error gpu3)" ;; esac
	ctl gpu1 stop
	write_config gpu3 "network: none" "gpu: any" && ctl gpu3 wait || fail "the one that was given back: $(error gpu3)"
	ctl gpu2 restart || fail "restart: $(error gpu2)"
	same "the device after a restart" 4 "$(inside gpu2 sh -c 'head -c 4 /dev/test-gpu[01] | wc -c')"
	rmdir "$M/sandboxes/gpu1" "$M/sandboxes/gpu2" "$M/sandboxes/gpu3"
	unset INTERPFS_CDI
}

# What listens inside is reached from here, whatever its network.
engine_ports() {
	local url
	made server "network: none" "ports: [8000]" || fail "server: $(error server)"
	"$INTERPFS" exec "$M/sandboxes/server" -- sh -c 'seq 100000 >/root/numbers; cd /root; exec python3 -m http.server 8000' >/dev/null 2>&1 &
	url=$(cat "$M/sandboxes/server/ports/8000")
	eventually 20 curl -fsS --noproxy '*' "http://$url/"
	same "a file over a port" "$(seq 100000 | md5sum)" "$(curl -sS --noproxy '*' "http://$url/numbers" | md5sum)"
	for i in 1 2 3 4 5 6 7 8; do curl -sS --noproxy '*' "http://$url/numbers" >"$T/port-$i" & ports+=($!); done
	wait "${ports[@]}"
	for i in 1 2 3 4 5 6 7 8; do same "transfer $i of eight" "$(seq 100000 | md5sum)" "$(md5sum <"$T/port-$i")"; done
	rmdir "$M/sandboxes/server"
}

# Functions that one serves, called through the mount, and from another that has its library.
engine_interfaces() {
	local tools=$M/sandboxes/serving/interfaces/tools
	made serving "network: none" "execution_mode: none" || fail "serving: $(error serving)"
	mkdir "$tools" "$M/workspaces/calling" || fail "an interface"
	printf 'COUNT = []\n\n@expose\ndef count(by: int = 1) -> int:\n    """Counts."""\n    COUNT.append(by)\n    return sum(COUNT)\n\n@expose\ndef big():\n    return "x" * 3000000\n' \
		>"$tools/interface.py" && echo wait >"$tools/ctl" || fail "interface: $(cat "$tools/error")"
	same "a function" 5 "$(ask "$tools/functions/count" '{"by": 5}')"
	same "a large result" 3000003 "$(ask "$tools/functions/big" '{}' | wc -c)"
	cp "$tools/library/tools.py" "$M/workspaces/calling/libraries/" || fail "its library"
	made calling "network: none" "workspace: calling" || fail "calling: $(error calling)"
	same "from another sandbox" "6 [8, 10, 12] 3000000" "$(ask "$M/sandboxes/calling/python" 'import tools
print(tools.count(), [tools.count(by=2) for _ in range(3)], len(tools.big()))')"
	kill -9 "$(runner_of serving)" "$(runner_of calling)"
	eventually 60 sh -c "echo wait >'$tools/ctl'"
	same "after the deaths of the runners" 13 "$(ask "$tools/functions/count" '{}')"
	eventually 60 is calling ready
	same "and from the other" 14 "$(ask "$M/sandboxes/calling/python" 'import tools; print(tools.count())')"
	rmdir "$M/sandboxes/calling" "$M/sandboxes/serving"
	rmdir "$M/workspaces/calling"
}

ends_soon() { is short stopped || [ "$(info short '.deadline | floor')" -lt $(($(date +%s) + 100)) ]; }

engine_timeout() {
	made short "network: none" "timeout: 300" || fail "short: $(error short)"
	# Shorter only now: a slow machine may take any time to start it.
	write_config short "network: none" "timeout: 2" || fail "a shorter timeout: $(error short)"
	inside short sleep 60 && fail "a command outlived its sandbox"
	eventually 15 is short stopped
	case $(error short) in *"timeout of 2 seconds was reached"*) ;; *) fail "error: $(error short)" ;; esac
	write_config short "network: none" "timeout: 300" || fail "a longer timeout: $(error short)"
	ctl short restart || fail "restart after a timeout: $(error short)"
	same "error after a restart" "" "$(error short)"
	ctl short 'extend 300' || fail "extend"
	# Its deadline holds while no runner lives.
	rmdir "$M/sandboxes/short"
	made short "network: none" "timeout: 300" || fail "short: $(error short)"
	write_config short "network: none" "timeout: 5" || fail "a shorter timeout: $(error short)"
	eventually 10 ends_soon
	unmount_it
	kill -9 $(runner_pids) 2>/dev/null
	sleep 6 # nobody is there to ask
	mount_it
	eventually 20 is short stopped
	case $(error short) in *"timeout of 5 seconds was reached"*) ;; *) fail "error after nobody was there: $(error short)" ;; esac
	rmdir "$M/sandboxes/short"
	eventually 20 is lab ready
}

engine_end() {
	local id
	id=$(cat "$M/sandboxes/lab/id")
	rmdir "$M/sandboxes/lab" || fail "rmdir"
	eventually 20 gone "$id"
	eventually 20 test ! -e "$S/sandboxes/${id##*-}"
	same "mounts" "" "$(grep "$S" /proc/mounts | grep -v "$M")"
}

ps_line() { "$INTERPFS" ps -o "state=$S" | grep -- "$1"; }
ps_says() { # ID WORDS: its line has them
	local line
	line=$(ps_line " $1 ") || fail "ps has no line of $1: $("$INTERPFS" ps -o "state=$S" 2>&1)"
	case $line in $2) ;; *) fail "ps says '$line' where '$2' was expected" ;; esac
}

# What exists is listed, whose it is told, and what a crash of everything left is removed; not another's.
engine_strays() {
	local id serial other=$T/other
	made lost "network: none" && made kept "network: none" || fail "$(error lost) $(error kept)"
	id=$(cat "$M/sandboxes/lost/id") serial=${id##*-}
	ps_says "$id" "lost *$BACKEND *sandbox *running *Z *sandboxes/lost"
	ctl kept stop
	ps_says "$(cat "$M/sandboxes/kept/id")" "kept *$BACKEND *sandbox *stopped *sandboxes/kept"
	"$INTERPFS" doctor -o "state=$S" | grep -q "^ok *strays *nothing is left behind" || fail "doctor: $("$INTERPFS" doctor -o "state=$S")"
	ctl kept start && ctl kept wait || fail "kept: $(error kept)"
	# Another state directory has one, too.
	on_exit '"$INTERPFS" doctor -o "state=$S" --reap >/dev/null 2>&1'
	mkdir -p "$other/mnt"
	"$INTERPFS" mount -o "state=$other/state" "$other/mnt" >>"$T/mount.log" 2>&1 || fail "another mount"
	copy_layers "$S" "$other/state"
	on_exit 'rmdir "$T/other/mnt/sandboxes/"* 2>/dev/null; eventually 20 sh -c "[ \"\$(ls $T/other/state/sandboxes)\" = names ]"; fusermount3 -u "$T/other/mnt"'
	mkdir "$other/mnt/sandboxes/theirs"
	cat "$T/config" >"$other/mnt/sandboxes/theirs/config"
	echo wait >"$other/mnt/sandboxes/theirs/ctl" || fail "theirs: $(cat "$other/mnt/sandboxes/theirs/error")"
	[ "$BACKEND" != docker ] || foreign_container || fail "a container of nobody's"
	# All of ours is killed, and one sandbox's record lost.
	unmount_it
	kill -9 $(runner_pids)
	rm -rf --one-file-system "$S/sandboxes/$serial" "$S/sandboxes/names/lost"
	ps_says "$id" "*$BACKEND *sandbox *running *stray: there is no sandbox $serial"
	ps_says "interpfs-$(cat "$S/id")-$((serial + 1))" "kept *running *sandboxes/kept"
	"$INTERPFS" doctor -o "state=$S" >"$T/doctor"
	grep -q "^advice *strays *1 left behind .*$id" "$T/doctor" && grep -q "interpfs doctor -o state=$S --reap" "$T/doctor" || fail "doctor: $(cat "$T/doctor")"
	same "reaped" "removed  $(printf %-8s $BACKEND) sandbox  $id" "$("$INTERPFS" doctor -o "state=$S" --reap 2>&1)"
	gone_from_engine "$id" || fail "it is still there: $("$INTERPFS" ps -o "state=$S")"
	same "reaped again" "" "$("$INTERPFS" doctor -o "state=$S" --reap 2>&1)"
	[ "$BACKEND" != docker ] || containers | grep -q '^/foreign running' || fail "what is nobody's of ours: $(containers)"
	"$INTERPFS" exec "$other/mnt/sandboxes/theirs" -- true || fail "another's sandbox was ended"
	mount_it
	eventually 20 is kept ready
	inside kept true || fail "the one that was not lost was ended"
	rmdir "$M/sandboxes/kept" "$other/mnt/sandboxes/theirs"
	eventually 20 sh -c "[ \"\$(ls '$S/sandboxes' '$other/state/sandboxes' | grep -c '^[0-9]')\" = 0 ]"
	[ "$BACKEND" != docker ] || api DELETE '/containers/foreign?force=1' >/dev/null
}

# Of one that runs, and of one that is stopped; what begins from them; removal while something stands on them.
engine_snapshots() {
	local name
	echo of the host >"$T/snapped"
	made snapped "network: none" "env: {GREETING: snapped}" "local_files: [['$T/snapped', /workspace/file]]" || fail "snapped: $(error snapped)"
	inside snapped sh -c 'mkdir -p /usr/local; echo first >/root/file; echo first >/usr/local/file; mkdir -p /data; echo first >/data/file; echo inside >/workspace/file
		echo locked >/root/locked; chmod 0 /root/locked; ln -s file /root/link'
	ctl snapped 'snapshot running' || fail "a snapshot of one that runs: $(error snapped)"
	inside snapped sh -c 'echo second >/root/file; rm /usr/local/file'
	ctl snapped stop
	ctl snapped 'snapshot stopped' || fail "a snapshot of one that is stopped: $(error snapped)"
	same "from" sandboxes/snapped "$(cat "$M/snapshots/stopped/from")"
	eventually 30 test -s "$M/snapshots/stopped/size"
	ctl snapped start && ctl snapped wait || fail "started after its snapshot: $(error snapped)"
	same "its files" "second first inside" "$(inside snapped sh -c 'echo $(cat /root/file /data/file /workspace/file)')"
	for s in running stopped; do
		mkdir "$M/sandboxes/of-$s" && echo "from_snapshot: $s" 2>/dev/null >"$M/sandboxes/of-$s/config" && ctl "of-$s" wait || fail "from $s: $(error "of-$s")"
	done
	same "of one that ran" "first first first inside locked file snapped" "$(inside of-running sh -c 'echo $(cat /root/file /usr/local/file /data/file /workspace/file /root/locked; readlink /root/link) $GREETING')"
	same "of one that was stopped" "second no first inside" "$(inside of-stopped sh -c 'echo $(cat /root/file) $(test -e /usr/local/file || echo no) $(cat /data/file /workspace/file)')"
	# Its timeout stops it; its files stay, and are a snapshot, too. "timeout" can change while it runs.
	made timed "network: none" "timeout: 3600" "snapshot_on_timeout: true" || fail "timed: $(error timed)"
	inside timed sh -c 'echo in time >/root/file'
	write_config timed "network: none" "timeout: 1" "snapshot_on_timeout: true" || fail "another timeout: $(error timed)"
	eventually 60 is timed stopped
	case $(error timed) in *"timeout of "*" was reached; its files are snapshots/timed-"*) ;; *) fail "why it stopped: $(error timed)" ;; esac
	name=$(sed 's,.*snapshots/,,' "$M/sandboxes/timed/error")
	eventually 60 test -d "$M/snapshots/$name"
	mkdir "$M/sandboxes/of-timed" && printf 'from_snapshot: %s\ntimeout: 3600\n' "$name" 2>/dev/null >"$M/sandboxes/of-timed/config" && ctl of-timed wait || fail "of-timed: $(error of-timed)"
	same "what it had in the end" "in time" "$(inside of-timed cat /root/file)"
	eventually 20 sh -c "[ ! -e '$S/sandboxes/$(jq .serial "$M/sandboxes/timed/info.json")/due' ]"
	rmdir "$M/sandboxes/timed" "$M/sandboxes/of-timed"
	eventually 20 rmdir "$M/snapshots/$name"
	fails "a name that is taken" ctl snapped 'snapshot stopped'
	fails "a removal of what is used" rmdir "$M/snapshots/running"
	ctl of-running stop
	rmdir "$M/snapshots/running" || fail "removal: $(cat "$M/error")"
	ctl of-running start && ctl of-running wait || fail "started after its snapshot's removal: $(error of-running)"
	same "its files" first "$(inside of-running cat /root/file)"
	rmdir "$M/sandboxes/of-running" "$M/sandboxes/snapped"
	if [ "$BACKEND" = docker ]; then removed_at_once of-stopped stopped; else rmdir "$M/sandboxes/of-stopped" && eventually 20 rmdir "$M/snapshots/stopped"; fi
	eventually 60 sh -c "[ \"\$(ls '$S/snapshots')\" = names ]"
	eventually 60 no_snapshots
}

# A snapshot and the last sandbox on it: neither leaves to the other what they stand on. Here the snapshot's runner has
# asked the engine, which refused, and its folder is there still when the sandbox's runner looks.
removed_at_once() { # SANDBOX SNAPSHOT
	local folder runner daemon
	folder=$S/snapshots/$(basename "$(readlink "$S/snapshots/names/$2")") runner=$(runner_of "$1")
	read -r daemon _ <"$S/lock"
	on_exit "kill -CONT $runner $daemon 2>/dev/null"
	kill -STOP "$runner"
	rmdir "$M/sandboxes/$1" || fail "rmdir: $(cat "$M/error")"
	kill -STOP "$daemon"
	echo "$(($(cut -d' ' -f1 "$folder/want") + 1)) removed" >"$folder/want"
	kill -CONT "$runner"
	eventually 60 ended "$runner"
	eventually 20 no_snapshots
	kill -CONT "$daemon"
	rmdir "$M/snapshots/$2" || fail "rmdir: $(cat "$M/error")"
}
ended() { case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in "" | Z*) return 0 ;; *) return 1 ;; esac; }

no_snapshots() {
	case $BACKEND in
	local) [ -z "$(find "$S/parts" -mindepth 1 -maxdepth 1 -type d)" ] ;;
	docker) ! api GET /images/json | grep -q ':snapshot-' ;;
	esac
}

engine_tests() {
	BACKEND=$1 LINE=$2
	mount_it
	made lab "network: none" "memory: 256M" "cpu: 1" "env: {GREETING: 'hello there', NUMBER: 7}" || fail "it did not start: $(error lab)"
	same "state" ready "$(state lab)"
	case $(cat "$M/sandboxes/lab/id") in interpfs-*-*) ;; *) fail "id: $(cat "$M/sandboxes/lab/id")" ;; esac
	engine_commands
	engine_backend
	engine_isolation
	engine_limits
	engine_adoption
	engine_restart
	engine_workspace
	engine_change
	engine_files
	engine_secrets
	engine_listed
	engine_repos
	engine_gpus
	engine_ports
	engine_interfaces
	engine_snapshots
	engine_timeout
	engine_end
	engine_strays
}
