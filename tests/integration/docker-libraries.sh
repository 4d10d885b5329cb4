#!/bin/bash
# What pip installs for a workspace, in containers: made once for an image whatever their network is, and there at once
# in those that run.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh
. tests/workspaces.sh

${ENGINE_TO_TEST:-start_docker}
make_image interpfs-test
BACKEND=docker LINE="image: interpfs-test"
mount_it
wheel "$T" tiny 1.0
cp "$T/tiny-1.0-py3-none-any.whl" "$W/libraries/" && settled

# Two start with it at the same time.
for n in lab two; do
	mkdir "$M/sandboxes/$n"
	write_config $n "network: none" || fail "$n: $(error $n)"
done
for n in lab two; do
	ctl $n wait || fail "$n: $(error $n): $(tail -n 20 "$M/sandboxes/$n/log")"
	same "in $n" 1.0 "$(inside $n python3 -c 'import tiny; print(tiny.version)')"
	same "its program in $n" "tiny 1.0" "$(inside $n tiny)"
done
same "installed so often" 1 "$(cat "$M"/sandboxes/*/log | grep -c 'Successfully installed tiny')"
for n in lab two; do eventually 100 grep -qx "tiny-1.0-py3-none-any.whl wheel installed sandboxes/$n" "$W/installed"; done
fails "writing what is installed" inside lab sh -c 'echo x >/workspace/.packages/x'

# While they run: a wheel, and what requirements.txt names beside it; one that is not there is told with pip's sentence.
inside lab sh -c 'sleep 300 & echo $! >/root/sleeper'
wheel "$W/libraries" late 2.0
mkdir "$W/libraries/wheels"; wheel "$W/libraries/wheels" listed 4.0
printf './wheels/listed-4.0-py3-none-any.whl\n' >"$W/libraries/requirements.txt"
echo 'packages: ["none @ file:///workspace/libraries/none.whl"]' >"$W/config" || fail "config: $(cat "$W/error")"
settled
for n in lab two; do
	eventually 60 grep -qF 'none\x20@\x20file:///workspace/libraries/none.whl package failed sandboxes/'$n' ' "$W/installed"
	grep -qx "late-2.0-py3-none-any.whl wheel installed sandboxes/$n" "$W/installed" && grep -qx "requirements.txt requirements installed sandboxes/$n" "$W/installed" ||
		fail "late: $(cat "$W/installed")"
	grep -F none.whl "$W/installed" | grep -q ' ERROR: ' || fail "pip's sentence: $(cat "$W/installed")"
	same "in $n" "2.0 4.0 1.0" "$(inside $n python3 -c 'import late, listed, tiny; print(late.version, listed.version, tiny.version)')"
done
inside lab sh -c 'kill -0 $(cat /root/sleeper)' || fail "what ran inside is gone"

# By the next runner; by what starts later; and taken away.
kill -9 "$(runner_of lab)"
eventually 20 inside lab true
echo '{}' >"$W/config"
wheel "$W/libraries" after 5.0; settled
eventually 60 grep -qx "after-5.0-py3-none-any.whl wheel installed sandboxes/lab" "$W/installed"
same "after a runner's death" 5.0 "$(inside lab python3 -c 'import after; print(after.version)')"
ctl two restart || fail "restart: $(error two)"
same "after a restart" 5.0 "$(inside two python3 -c 'import after; print(after.version)')"
rm "$W/libraries"/*.whl "$W/libraries/requirements.txt"; settled
eventually 60 sh -c "[ \"\$(cat '$W/installed')\" = 'wheels folder installed /workspace/libraries/wheels' ]"
eventually 60 sh -c "! '$INTERPFS' exec '$M/sandboxes/lab' -- python3 -c 'import tiny'"
rmdir "$M/sandboxes/lab" "$M/sandboxes/two"
eventually 20 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ]"

# The engine is on another machine.
between
made far "network: none" || fail "far: $(error far)"
cp "$T/tiny-1.0-py3-none-any.whl" "$W/libraries/" && settled
same "refused" "tiny-1.0-py3-none-any.whl wheel failed sandboxes/far the engine is on another machine: name it in python_packages" \
	"$(line tiny-1.0-py3-none-any.whl)"
rmdir "$M/sandboxes/far"
eventually 20 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ]"
same "containers" "" "$(containers)"
not_between
