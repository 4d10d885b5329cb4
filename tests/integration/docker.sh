#!/bin/bash
# What is docker's alone: which engine, images that are fetched with progress in the log or refused in
# the engine's own words, files that stay where they are, containers that somebody else ends or removes.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh

said() { case $(error "$1") in *"$2"*) ;; *) fail "$1: error is '$(error "$1")', not '$2'" ;; esac; }

BACKEND=docker LINE="network: none"

# No engine; one that is none; an address of a kind that is not supported.
export DOCKER_HOST=unix://$T/nowhere.sock
mount_it
made none && fail "a sandbox without an engine"
same "state" failed "$(state none)"
said none "docker: no engine answers at $T/nowhere.sock: start Docker, or set DOCKER_HOST"
# Nothing of it was made anywhere: it may move.
echo 'network: none' >"$M/sandboxes/none/config"
ctl none wait || fail "moved to local: $(error none)"
same "moved" '"local"' "$(info none .backend)"
# Now its files are there, and it stays.
ctl none stop
write_config none || fail "$(error none)"
ctl none wait 2>/dev/null && fail "its files were left behind"
said none "its files are on the backend local, and it stays there: make another sandbox for docker"
rmdir "$M/sandboxes/none"
unmount_it
export DOCKER_HOST=ssh://nowhere
mount_it
made none && fail "a sandbox over ssh"
said none "the engine's address 'ssh://nowhere' is not supported: it begins with unix:// or tcp://"
rmdir "$M/sandboxes/none"
unmount_it

start_docker
nsenter --net -t "$ENGINE_HOLDER" python3 tests/registry.py 5000 lab/root "$(root_tar)" >"$T/registry.log" 2>&1 &
REGISTRY=$!
on_exit 'kill $REGISTRY'
eventually 60 nsenter --net -t "$ENGINE_HOLDER" curl -fsS http://127.0.0.1:5000/v2/
mount_it

# An image that is not there is fetched, and seen to be.
LINE="network: none
image: localhost:5000/lab/root"
mkdir "$M/sandboxes/lab"
write_config lab
eventually 30 sh -c "grep -q building '$M/sandboxes/lab/state' || grep -q ready '$M/sandboxes/lab/state'"
ctl lab wait || fail "$(error lab): $(cat "$M/sandboxes/lab/log")"
grep -q '^fetching localhost:5000/lab/root: [0-9.]* of [0-9.]* MB' "$M/sandboxes/lab/log" || fail "log: $(cat "$M/sandboxes/lab/log")"
same "the image's environment" yes "$(inside lab sh -c 'echo $FROM_IMAGE')"

# What the engine refuses is said in its words, at once or in the middle of an answer that began well.
LINE="network: none"
made bad "image: localhost:5000/lab/none" && fail "an image that is nowhere"
same "state" failed "$(state bad)"
said bad "docker: image localhost:5000/lab/none: "
made cut "image: localhost:5000/lab/root:broken" && fail "an image with a broken layer"
said cut "docker: image localhost:5000/lab/root:broken: "
case $(error cut) in *filesystem\ layer\ verification\ failed* | *unexpected\ EOF* | *gzip* | *digest*) ;; *) fail "error: $(error cut)" ;; esac
made missing "image: localhost:5000/lab/root:missing" && fail "an image without its layer"
said missing "docker: image localhost:5000/lab/root:missing: "
fails "an image with a space" write_config bad "image: a b"
for n in bad cut missing; do
	# Mended by another config.
	write_config $n "image: localhost:5000/lab/root" && ctl $n wait || fail "$n, mended: $(error $n)"
	rmdir "$M/sandboxes/$n"
done

# A field that only another backend serves is refused by name.
mkdir "$M/sandboxes/local"
echo 'image: python:3.12' >"$M/sandboxes/local/config" 2>/dev/null
said local "line 1: image: on the backend local it is the path of a folder, a .tar or an OCI layout; names such as python:3.12 need backend: docker"
rmdir "$M/sandboxes/local"

# Ended, stopped or removed by somebody else: told, and its files are there as long as its container is.
id=$(cat "$M/sandboxes/lab/id")
inside lab sh -c 'echo kept >/root/file'
api POST "/containers/$id/kill" >/dev/null
eventually 10 is lab died
same "why" "its container was killed (status 137)" "$(error lab)"
ctl lab start && ctl lab wait || fail "start after a kill: $(error lab)"
same "a file after a kill" kept "$(inside lab cat /root/file)"
api POST "/containers/$id/stop" >/dev/null
eventually 10 is lab died
same "why" "its container was stopped by somebody else" "$(error lab)"
ctl lab start && ctl lab wait || fail "start after a stop: $(error lab)"
api DELETE "/containers/$id?force=1" >/dev/null
eventually 10 is lab died
same "why" "its container was removed by somebody else, and its files with it" "$(error lab)"
ctl lab start && ctl lab wait || fail "start after a removal: $(error lab)"
fails "a file of the container that was removed" inside lab cat /root/file

# Its image is what its files stand on.
ctl lab stop
write_config lab "image: localhost:5000/lab/root:broken"
ctl lab wait 2>/dev/null && fail "another image below its files"
said lab "its files stand on the image localhost:5000/lab/root, and it stays there: make another sandbox for localhost:5000/lab/root:broken"
write_config lab "image: localhost:5000/lab/root" && ctl lab wait || fail "its own image: $(error lab)"

# A runner that is killed while the container is made anew: the next goes on from whatever step it was.
if grep -q docker-renamed "$INTERPFS"; then
	inside lab sh -c 'echo precious >/root/file'
	for step in docker-created docker-renamed docker-remade sandbox-runtime sandbox-started sandbox-running sandbox-ready; do
		ctl lab stop
		unmount_it
		export INTERPFS_FAILPOINT=$step:$T/$step
		mount_it
		unset INTERPFS_FAILPOINT
		if [ $step = docker-created ]; then
			made fresh "image: localhost:5000/lab/root" || eventually 20 is fresh ready
			inside fresh true || fail "$step: it does not answer"
			rmdir "$M/sandboxes/fresh"
		fi
		case $(jq -r .config.network "$M/sandboxes/lab/info.json") in none) LINE="network: full" ;; *) LINE="network: none" ;; esac
		write_config lab "image: localhost:5000/lab/root"
		eventually 30 is lab ready
		[ -e "$T/$step" ] || fail "$step was never reached"
		eventually 20 inside lab true
		same "$step: its file" precious "$(inside lab cat /root/file)"
		same "$step: containers" "/$id running" "$(containers)"
	done
	LINE="network: none"
	unmount_it
	mount_it
fi

# The volume with the guest was removed while nothing used it.
ctl lab stop
api DELETE "/containers/$id?force=1" >/dev/null
for v in $(api GET /volumes | jq -r '.Volumes[].Name'); do api DELETE "/volumes/$v" >/dev/null; done
ctl lab start && ctl lab wait || fail "start without the volume: $(error lab)"
inside lab true || fail "it does not answer"

# Two sandboxes are two containers; what is another's is left alone.
api POST '/containers/create?name=another' -H 'Content-Type: application/json' \
	-d '{"Image": "localhost:5000/lab/root", "Cmd": ["sleep", "1000"], "Labels": {"io.interpfs.state": "0000000000000000"}}' >/dev/null
api POST /containers/another/start >/dev/null
made two "image: localhost:5000/lab/root" || fail "$(error two)"
fails "another sandbox's files" inside two cat /root/file
rmdir "$M/sandboxes/lab" "$M/sandboxes/two"
eventually 20 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ]"
same "what is left" "/another running" "$(containers)"
