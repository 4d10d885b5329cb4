#!/bin/bash
# The Docker Engine as it is: the list that every engine runs.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh

start_docker
make_image interpfs-test
engine_tests docker "image: interpfs-test"

# The engine goes away and comes back: what runs is found again, and nothing is started twice.
BACKEND=docker LINE="image: interpfs-test"
made lab "network: none" || fail "$(error lab)"
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
same "containers" 1 "$(containers | wc -l)"
# It goes away, and so does the runner; the sandbox ends meanwhile.
pause_engine
kill -9 "$(runner_of lab)"
kill -9 "$(info lab .pid)"
resume_engine
eventually 20 is lab died
rmdir "$M/sandboxes/lab"
eventually 20 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ]"
same "containers" "" "$(containers)"
