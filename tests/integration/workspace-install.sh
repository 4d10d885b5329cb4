#!/bin/bash
# What pip installs for a workspace: wheels, an sdist, requirements.txt and the config's packages come into
# whatever runs with it, once for all of its kind, also into a kernel that runs.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/workspaces.sh

mount_it
warm_up
wheel "$T" tiny 1.0
cp "$T/tiny-1.0-py3-none-any.whl" "$W/libraries/" && settled
same "nobody uses it" "tiny-1.0-py3-none-any.whl wheel waiting /workspace/libraries/tiny-1.0-py3-none-any.whl for a sandbox that uses this workspace to run" \
	"$(line tiny-1.0-py3-none-any.whl)"

# One starts with it, another at the same time: it is made once; without a network, too.
for n in lab walled; do mkdir "$M/sandboxes/$n"; done
echo 'network: none' >"$M/sandboxes/walled/config"; echo 'timeout: 900' >"$M/sandboxes/lab/config"
for n in lab walled; do
	echo wait >"$M/sandboxes/$n/ctl" || fail "$n: $(cat "$M/sandboxes/$n/error"): $(tail -n 5 "$M/sandboxes/$n/log")"
	same "in $n" "1.0" "$(inside $n python3 -c 'import tiny; print(tiny.version)')"
	same "its program in $n" "tiny 1.0" "$(inside $n tiny)"
done
same "installed so often" 1 "$(cat "$M"/sandboxes/*/log | grep -c 'Successfully installed tiny\|^ + tiny')"
for n in lab walled; do eventually 100 grep -qx "tiny-1.0-py3-none-any.whl wheel installed sandboxes/$n" "$W/installed"; done
same "its size is true" "$(wc -c <"$W/installed")" "$(stat -c %s "$W/installed")"

# While they run: a kernel imports it in the next cell.
mkdir "$M/notebooks/nb" && echo 'sandbox: lab' >"$M/notebooks/nb/config"
echo wait >"$M/notebooks/nb/ctl" || fail "notebook: $(cat "$M/notebooks/nb/error")"
same "not there yet" '[error ModuleNotFoundError]' "$(cell 'import late' | tail -n1)"
wheel "$W/libraries" late 2.0
settled
for n in lab walled; do grep -qx "late-2.0-py3-none-any.whl wheel installed sandboxes/$n" "$W/installed" || fail "late: $(cat "$W/installed")"; done
same "a wheel in a running kernel" "2.0 1.0" "$(cell 'import late, tiny; print(late.version, tiny.version)')"

# An sdist, requirements (relative to their file), packages of the config.
wheel "$W/libraries" built 3.0 sdist
mkdir "$W/libraries/wheels"; for n in listed named; do wheel "$W/libraries/wheels" $n 4.0; done
printf '# what else\n./wheels/listed-4.0-py3-none-any.whl\n' >"$W/libraries/requirements.txt"
echo 'packages: ["named @ file:///workspace/libraries/wheels/named-4.0-py3-none-any.whl"]' >"$W/config" || fail "config: $(cat "$W/error")"
settled
for l in "built-3.0.tar.gz sdist" "requirements.txt requirements" 'named\x20@\x20file:///workspace/libraries/wheels/named-4.0-py3-none-any.whl package'; do
	grep -qxF "$l installed sandboxes/lab" "$W/installed" || fail "$l: $(cat "$W/installed"); $(tail -n 20 "$M/sandboxes/lab/log")"
done
same "all three" "3.0 4.0 4.0" "$(cell 'import built, listed, named; print(built.version, listed.version, named.version)')"

# It outlives the mount and its runners; a runner that is killed while pip works has the next one begin anew.
unmount_it; mount_it
wheel "$W/libraries" after 5.0; settled
same "after a remount" 5.0 "$(inside lab python3 -c 'import after; print(after.version)')"
wheel "$W/libraries" cut 6.0
eventually 60 sh -c "ls -d '$S'/layers/.build-*"
kill -9 "$(live_pid "$S/sandboxes/$(basename "$(readlink "$S/sandboxes/names/lab")")/run/pid")"
settled
same "after a runner's death" 6.0 "$(inside lab python3 -c 'import cut; print(cut.version)')"
grep -qx 'cut-6.0-py3-none-any.whl wheel installed sandboxes/lab' "$W/installed" || fail "cut: $(cat "$W/installed")"
echo '{}' >"$W/config"; rm "$W/libraries"/*.whl "$W/libraries"/*.tar.gz "$W/libraries/requirements.txt"; settled
same "all taken away" "wheels folder installed /workspace/libraries/wheels" "$(cat "$W/installed")"
same "builds left" "" "$(ls -d "$S"/layers/.build-* 2>/dev/null)"
fails "nothing is left" inside lab python3 -c 'import tiny'
