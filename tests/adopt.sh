# A container that somebody else has started becomes a sandbox (`adopt`), as one list for every engine.
# Sourced after functions.sh, engines.sh and engine.sh.

# foreign NAME JSON: creates and starts one, as anybody may
foreign() {
	api POST "/containers/create?name=$1" -H 'Content-Type: application/json' -d "$2" >"$T/created.json"
	jq -e .Id "$T/created.json" >/dev/null || fail "create $1: $(cat "$T/created.json")"
	api POST "/containers/$1/start" >"$T/started.json"
	[ "$(of "$1" .State.Running)" = true ] || fail "start $1: $(cat "$T/started.json")"
}
of() { api GET "/containers/$1/json" | jq -r "$2"; }
said() { case $(error "$1") in *"$2"*) ;; *) fail "$1: error is '$(error "$1")', not '$2'" ;; esac; }
fails_as() { # NAME WHAT CONFIG-LINES...: it fails, and says so
	made "$1" "${@:3}" && fail "$1 became ready"
	same "$1: state" failed "$(state "$1")"
	said "$1" "$2"
	rmdir "$M/sandboxes/$1"
}
refused() { # WHAT CONFIG-LINES...: its config is refused, and says so
	mkdir "$M/sandboxes/refused"
	printf '%s\n' "${@:2}" >"$T/config"
	cat "$T/config" 2>/dev/null >"$M/sandboxes/refused/config"
	said refused "$1"
	same "state" draft "$(state refused)"
	rmdir "$M/sandboxes/refused"
}
# What runs in a container, as its engine sees it; what is the guest's there.
processes_of() { api GET "/containers/$1/top?ps_args=-eo%20pid,args" | jq -r '.Processes[][1]'; }
file_of() { jq -r .file "$S/sandboxes/$1/adopted"; } # SERIAL
has_file() { [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 60 --unix-socket "$T/engine/sock" -I "http://engine/containers/$1/archive?path=$2")" = 200 ]; }
let_go() { # CONTAINER FILE: nothing of ours is there, and it runs
	same "$1 runs on" true "$(of "$1" .State.Running)"
	processes_of "$1" >"$T/processes"
	grep -q 'interpfs-guest\|sleep 300' "$T/processes" && fail "left in $1: $(cat "$T/processes")"
	has_file "$1" "$2" && fail "$2 is left in $1"
	return 0
}
serial() { jq .serial "$M/sandboxes/$1/info.json"; }

adopt_use() {
	local id
	id=$(of web .Id)
	made lab "adopt: web" "env: {GREETING: hello}" "ports: [8000]" || fail "lab: $(error lab); $(cat "$M/sandboxes/lab/log")"
	same "its id" "$id" "$(cat "$M/sandboxes/lab/id")"
	same "its container" "\"$id\"" "$(info lab .container)"
	same "info.json" '{"name":"web","end":"it is let go of, and runs on"}' "$(info lab .adopted)"
	grep -q "adopts the container web (${id:0:12}), which runs on" "$M/sandboxes/lab/log" || fail "log: $(cat "$M/sandboxes/lab/log")"
	same "exec" "theirs hello /srv" "$(ask "$M/sandboxes/lab/exec" 'echo $FROM $GREETING $(pwd)')"
	same "python" 42 "$(ask "$M/sandboxes/lab/python" 'print(6 * 7)')"
	inside lab sh -c 'exit 7'; same "an exit status" 7 $?
	fails "a command that is not there" inside lab no-such-command
	same "its file" theirs "$(inside lab cat /root/file)"
	eventually 20 test -s "$M/sandboxes/lab/ports/8000"
	eventually 20 curl -fsS -o "$T/page" "$(cat "$M/sandboxes/lab/ports/8000")"
	grep -q 'Directory listing' "$T/page" || fail "port 8000: $(cat "$T/page")"
	eventually 20 grep -q 'http.server 8000' "$M/sandboxes/lab/processes"
	# What it may not change it has not.
	ls "$M/sandboxes/lab/fs/" >"$T/said" 2>&1 && fail "fs of somebody else's container: $(cat "$T/said")"
	same "folders" no "$(inside lab sh -c 'test -e /workspace || test -e /run/interpfs || echo no')"
	# Once at a time, whatever it is called.
	fails_as other "the container ${id:0:12} is adopted by sandboxes/lab already" "adopt: ${id:0:12}"
	fails "a snapshot" ctl lab 'snapshot kept'
	case $(cat "$M/error" "$M/sandboxes/lab/error") in *"a container that was adopted has no snapshots"*) ;; *) fail "snapshot: $(cat "$M/error") $(error lab)" ;; esac
	fails "a field that cannot change" write_config lab "adopt: bare"
	write_config lab "adopt: web" "env: {GREETING: hello}" "ports: [8000]" || fail "as it was: $(error lab)"
}

# The runner dies, and the mount with the next one: what was started inside runs on, the guest is found again.
adopt_again() {
	local old
	inside lab sh -c '(sleep 300 >/dev/null 2>&1 & echo $! >/tmp/sleeper)'
	old=$(runner_of lab)
	kill -9 "$old"
	eventually 20 sh -c "read -r p _ <'$S/sandboxes/$(serial lab)/run/pid' && [ \"\$p\" != '$old' ] && [ -d /proc/\$p ]"
	eventually 20 inside lab sh -c 'kill -0 $(cat /tmp/sleeper)'
	# Its file was tidied away meanwhile.
	inside lab rm "$(file_of "$SERIAL")"
	unmount_it
	kill -9 $(runner_pids) 2>/dev/null
	mount_it
	eventually 20 is lab ready
	eventually 20 inside lab sh -c 'kill -0 $(cat /tmp/sleeper)'
	same "its id" "$(of web .Id)" "$(cat "$M/sandboxes/lab/id")"
}

adopt_ends() {
	local file
	file=$(file_of "$SERIAL")
	has_file web "$file" || fail "its guest's file is not $file"
	ctl lab stop || fail "stop: $(error lab)"
	same "state" stopped "$(state lab)"
	let_go web "$file"
	fails "a command in one that was let go of" inside lab true
	ctl lab start && ctl lab wait || fail "start: $(error lab)"
	same "its file" theirs "$(inside lab cat /root/file)"

	# Its guest is killed, its container is not.
	inside lab sh -c 'kill -9 $PPID' 2>/dev/null
	eventually 20 is lab died
	said lab "its guest was ended in the container web, which runs on (status 137)"
	same "what is there" "" "$(file_of "$SERIAL")"
	ctl lab start && ctl lab wait || fail "start after its guest was killed: $(error lab)"

}

adopt_over() {
	# Its time is over; what it runs gets a moment, and everything of it ends.
	write_config lab "adopt: web" "env: {GREETING: hello}" "ports: [8000]" "timeout: 1" || fail "timeout: $(error lab)"
	eventually 30 is lab stopped
	said lab "timeout"
	let_go web /nothing
	same "containers" running "$(of web .State.Status)"

	# Whoever holds it is gone.
	write_config lab "adopt: web" && ctl lab wait || fail "again: $(error lab)"
	inside lab sh -c '(sleep 300 >/dev/null 2>&1 &)'
	exec 8>"$M/sandboxes/lab/hold"
	exec 8>&-
	eventually 20 is lab stopped
	let_go web /nothing
	ctl lab start && ctl lab wait || fail "after it was held: $(error lab)"
}

adopt_dies() {
	local file
	# Its container ends, and cannot be adopted until it runs.
	api POST /containers/web/kill >/dev/null
	eventually 20 is lab died
	said lab "the container web has ended (status 137)"
	ctl lab start; ctl lab wait 2>/dev/null && fail "one that does not run was adopted"
	said lab "docker: adopt: the container web does not run (it is exited): start it first"
	api POST /containers/web/start >/dev/null
	ctl lab start && ctl lab wait || fail "start: $(error lab)"
	file=$(file_of "$SERIAL")
	rmdir "$M/sandboxes/lab"
	eventually 20 test ! -e "$S/sandboxes/$SERIAL"
	let_go web "$file"
	same "files of guests" "" "$(files_in web)" # nor what was left when it ended
}

# One whose programs are another user's, who cannot remove what root's engine has put there.
adopt_user() {
	local file
	foreign user "{\"Image\": \"interpfs-test\", \"User\": \"1234\", \"Cmd\": [\"sleep\", \"1000\"]}"
	made user "adopt: $(of user .Id)" || fail "user: $(error user)"
	same "its user" 1234 "$(inside user id -u)"
	file=$(file_of "$(serial user)")
	inside user sh -c '(sleep 300 >/dev/null 2>&1 &)'
	rmdir "$M/sandboxes/user"
	eventually 20 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ]"
	let_go user "$file"
	made user "adopt: user" || fail "user: $(error user)"
	api DELETE '/containers/user?force=1' >/dev/null
	eventually 20 is user died
	said user "the container user " # was removed, or has ended: it does both
	rmdir "$M/sandboxes/user"
}

# Without a shell, paused, in a root that cannot be written, among this machine's processes.
adopt_kinds() {
	local file
	make_bare
	foreign bare '{"Image": "bare", "Cmd": ["/sleep", "1000"]}'
	made bare "adopt: bare" || fail "bare: $(error bare)"
	same "without a shell" "" "$(ask "$M/sandboxes/bare/exec" true 2>/dev/null)"
	said bare "/bin/sh: No such file or directory"
	inside bare /sleep 0 || fail "a program that is there"
	file=$(file_of "$(serial bare)")
	api POST /containers/bare/pause >/dev/null
	fails_as paused "the container bare is paused" "adopt: bare"
	api POST /containers/bare/unpause >/dev/null
	ctl bare stop || fail "stop: $(error bare)"
	let_go bare "$file"
	rmdir "$M/sandboxes/bare"

	foreign closed '{"Image": "interpfs-test", "Cmd": ["sleep", "1000"], "HostConfig": {"ReadonlyRootfs": true}}'
	fails_as closed "the guest cannot be put into the container closed, at /run, /tmp, /var/tmp or /: " "adopt: closed"
	foreign shared '{"Image": "interpfs-test", "Cmd": ["sleep", "1000"], "HostConfig": {"PidMode": "host"}}'
	fails_as shared "the container shared has not its own processes" "adopt: shared"
}

# An image with one program and its libraries: no shell, no folders.
make_bare() {
	mkdir -p "$T/bare"
	cp -L /bin/sleep "$T/bare/sleep"
	ldd /bin/sleep | grep -o '/[^ ]*' | while read -r l; do mkdir -p "$T/bare/${l%/*}" && cp -L "$l" "$T/bare$l"; done
	tar -C "$T/bare" -cf "$T/bare.tar" .
	api POST "/images/create?fromSrc=-&repo=bare&tag=latest" -H 'Content-Type: application/x-tar' -T "$T/bare.tar" >"$T/import.json" || fail "import: $(cat "$T/import.json")"
}

# The runner is killed at each step: the next goes on, and nothing is left in the end.
adopt_steps() {
	local step
	grep -q docker-adopting "$INTERPFS" || return 0
	for step in docker-adopted docker-adopting sandbox-running docker-let-go; do
		unmount_it
		export INTERPFS_FAILPOINT=$step:$T/$step
		mount_it
		unset INTERPFS_FAILPOINT
		if [ ! -d "$M/sandboxes/steps" ]; then mkdir "$M/sandboxes/steps"; write_config steps "adopt: web"; else ctl steps start; fi
		[ $step != docker-let-go ] || { ctl steps wait; ctl steps stop; ctl steps start; }
		eventually 20 is steps ready
		[ -e "$T/$step" ] || fail "$step was never reached"
		eventually 20 inside steps true
		same "$step: guests" 1 "$(processes_of web | grep -c ' adopted ')"
		ctl steps stop
		same "$step: state" stopped "$(state steps)"
		let_go web /nothing
		same "$step: files" "" "$(files_in web)"
	done
	rmdir "$M/sandboxes/steps"
}

# The files of guests that are there.
files_in() { api GET "/containers/$1/archive?path=/run" | tar -t | grep interpfs; }

adopt_start() {
	make_image interpfs-test
	BACKEND=docker LINE=
	foreign web '{"Image": "interpfs-test", "WorkingDir": "/srv", "Env": ["FROM=theirs"], "Cmd": ["sh", "-c", "echo theirs >/root/file; exec python3 -m http.server 8000"]}'
	mount_it
}

adopt_refusals() {
	local line
	fails_as none "docker: adopt: there is no container none on " "adopt: none"
	refused "line 1: adopt: '../web' is no name or id of a container" "adopt: ../web"
	refused "line 1: adopt: the backend local does not have it; docker does" "adopt: web"
	for line in "image: x" "python_packages: [numpy]" "setup: ['true']" "memory: 1G" "cpu: 1" "gpu: any" "network: none" \
		"local_files: [[/etc/hostname, /x]]" "workspace: x" "python_version: '3.12'" "snapshot_on_timeout: true"; do
		refused "line 3: ${line%%:*} cannot stand beside adopt: a container that is adopted stays as it is" "backend: docker" "adopt: web" "$line"
	done
	# One that interpfs has made itself.
	made own "image: interpfs-test" "network: none" || fail "own: $(error own)"
	fails_as theirs "is that of sandboxes/own: use that" "adopt: $(cat "$M/sandboxes/own/id")"
	rmdir "$M/sandboxes/own"
}

# It is used by a sandbox, found again, let go of.
adopt_tests() {
	adopt_use
	SERIAL=$(serial lab)
	adopt_again
	adopt_ends
	[ "$ENGINE" != docker ] || adopt_over
	adopt_dies
	adopt_user
}
