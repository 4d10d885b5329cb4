#!/bin/bash
# What crashes leave behind on an engine is listed and removed, what others have there is not; an engine that
# does not answer holds nobody up for long.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh

listed() { "$INTERPFS" ps -o "state=$S"; }
reap() { "$INTERPFS" doctor -o "state=$S" --reap; }
has_line() { listed | grep -q "$1"; }
says() { eventually 20 has_line "$1"; } # what was killed holds its locks for a moment
tag() { api POST "/images/interpfs-test/tag?repo=$1&tag=$2" >/dev/null; }

start_docker
make_image interpfs-test
BACKEND=docker LINE="image: interpfs-test"
mount_it
id=$(cat "$S/id")
foreign_container || fail "a container of nobody's"

# Everything dies while an image is made, and after a sandbox's own record is lost.
made lab "network: none" || fail "$(error lab)"
lab=$(cat "$M/sandboxes/lab/id")
mkdir "$M/sandboxes/slow"
write_config slow "network: none" "setup: ['sleep 1000']"
eventually 60 sh -c "grep -q '^setup: sleep' '$M/sandboxes/slow/log'"
says "^- *docker *build *interpfs-$id-build-.* running .* whoever makes it"
same "nothing to reap" "" "$(reap)"
tag "interpfs-$id" sandbox-999
tag "interpfs-$id" layer-abc
tag interpfs-0000000000000000 sandbox-1
daemon=$(cut -d' ' -f1 "$S/lock")
kill -9 "$daemon" $(runner_pids)
fusermount3 -uz "$M"
says " build *interpfs-$id-build-.* running .*stray: nobody makes it any more"
says "image *interpfs-$id:sandbox-999 .*stray: there is no sandbox 999"
says "image *interpfs-$id:layer-abc .*the cache of images"
listed | grep -q 0000000000000000 && fail "another's image: $(listed)"
reap >"$T/said" || fail "reap: $(cat "$T/said")"
same "reaped" "build image" "$(awk '{print $3}' "$T/said" | sort | tr '\n' ' ' | sed 's/ $//')"
same "containers" "/foreign running
/$lab running" "$(containers)"
same "images" "interpfs-0000000000000000:sandbox-1 interpfs-$id:layer-abc interpfs-test:latest" \
	"$(api GET /images/json | jq -r '.[].RepoTags[]' | sort | tr '\n' ' ' | sed 's/ $//')"
api DELETE "/images/interpfs-$id:layer-abc" >/dev/null

# Its name was taken away, and everything died before the container was.
kill -9 $(runner_pids) 2>/dev/null
rm "$S/sandboxes/names/lab"
says " $lab *running .*stray: its sandbox was removed"

# An engine that hangs, and one that is not there: told, in a few seconds, and nothing is taken for gone.
kill -STOP "$ENGINE_PID"
timeout 60 "$INTERPFS" ps -o "state=$S" >"$T/said" 2>&1; same "ps of an engine that hangs" 1 $?
grep -q "^interpfs ps: docker: the engine at unix://$T/engine/sock does not answer" "$T/said" || fail "ps: $(cat "$T/said")"
timeout 60 "$INTERPFS" doctor -o "state=$S" --reap >"$T/said" 2>&1; same "reap on an engine that hangs" 1 $?
timeout 60 "$INTERPFS" doctor -o "state=$S" | grep strays >"$T/said"
grep -q "^advice *strays *docker: the engine at unix://$T/engine/sock does not answer" "$T/said" || fail "doctor: $(cat "$T/said")"
# Nor does it hold up the mount: what is known is shown, and meanwhile everything else answers.
mount_it
timeout 60 cat "$M/backends/docker/state" >"$T/state-read" & waiting=$!
timeout 60 cat "$M/backends/local/state" "$M/status" "$M/sandboxes/slow/state" >/dev/null || fail "the mount waits for the engine"
wait $waiting || fail "state of an engine that hangs"
timeout 60 grep -rs . "$M/backends" >/dev/null || fail "a walk over backends"
unmount_it
kill -9 $(runner_pids) 2>/dev/null
kill -CONT "$ENGINE_PID"
pause_engine
DOCKER_HOST=unix://$T/nowhere listed >"$T/said" 2>&1 && fail "ps without an engine"
grep -q "^interpfs ps: docker: no engine answers at $T/engine/sock" "$T/said" || fail "ps: $(cat "$T/said")"
resume_engine
# Another engine is the mount's now; where the sandboxes were is remembered.
DOCKER_HOST=unix://$T/nowhere reap >"$T/said" || fail "reap: $(cat "$T/said")"
same "reaped" "removed  docker   sandbox  $lab" "$(cat "$T/said")"
same "containers" "/foreign running" "$(containers)"

# The next mount makes an end of what was recorded.
mount_it
eventually 20 grep -q ready "$M/backends/docker/state"
jq -e '(.engine | startswith("Docker ")) and .limits.memory == "enforced"' "$M/backends/docker/info.json" >/dev/null || fail "$(cat "$M/backends/docker/info.json")"
pause_engine
eventually 20 grep -q unavailable "$M/backends/docker/state"
grep -q "^no engine answers at $T/engine/sock: start Docker, or set DOCKER_HOST" "$M/backends/docker/error" || fail "error: $(cat "$M/backends/docker/error")"
resume_engine
eventually 20 grep -q ready "$M/backends/docker/state"
eventually 20 test ! -e "$S/sandboxes/${lab##*-}"
rmdir "$M/sandboxes/slow"
eventually 20 sh -c "[ \"\$('$INTERPFS' ps -o 'state=$S' | wc -l)\" = 1 ]"
exit 0
