#!/bin/bash
# Python packages: installed once however many ask, shared, seen in log as they come; what pip
# cannot find is said in its own sentence; a build that nobody wants any more ends.
# runs: root user
. "$(dirname "$0")/../functions.sh"

layers() { ls "$S/layers" | grep -c '^[0-9a-f]'; }

mount_it
# Two that ask for the same at once, in different order.
for n in one two; do mkdir "$M/sandboxes/$n"; done
echo 'python_packages: [numpy, six]' >"$M/sandboxes/one/config"
echo '{"python_packages": ["six", "numpy"], "network": "none"}' >"$M/sandboxes/two/config"
eventually 60 sh -c "grep -q building '$M/sandboxes/one/state' || grep -q ready '$M/sandboxes/one/state'"
for n in one two; do
	echo wait >"$M/sandboxes/$n/ctl" || fail "$n: $(cat "$M/sandboxes/$n/error"): $(tail -n 5 "$M/sandboxes/$n/log")"
	same "$n" "10 ok" "$(inside $n python3 -c 'import numpy, six; print(numpy.arange(5).sum(), "ok")')"
done
same "layers" 2 "$(layers)"
same "installed so often" 1 "$(cat "$M"/sandboxes/*/log | grep -c 'Successfully installed.*numpy\|^ + numpy')"

# A third finds it all there.
mkdir "$M/sandboxes/three"
echo 'python_packages: [numpy, six]' >"$M/sandboxes/three/config"
echo wait >"$M/sandboxes/three/ctl"
! grep -q 'Successfully installed' "$M/sandboxes/three/log" || fail "installed again: $(cat "$M/sandboxes/three/log")"
same "layers" 2 "$(layers)"

# What one does to its packages is its own.
inside three pip uninstall -y six >/dev/null 2>&1 || fail "pip inside"
fails "six in three" inside three python3 -c 'import six'
inside one python3 -c 'import six' || fail "six in one is gone"

# No such package: pip's sentence, its whole output in log, nothing left; mended by another config.
mkdir "$M/sandboxes/bad"
echo 'python_packages: [interpfs-no-such-package-anywhere]' >"$M/sandboxes/bad/config"
echo wait >"$M/sandboxes/bad/ctl" 2>/dev/null && fail "a package that does not exist"
same "state" failed "$(cat "$M/sandboxes/bad/state")"
case $(cat "$M/sandboxes/bad/error") in
*"No matching distribution found for interpfs-no-such-package-anywhere"* | *"interpfs-no-such-package-anywhere was not found"*) ;;
*) fail "error: $(cat "$M/sandboxes/bad/error")" ;;
esac
grep -q interpfs-no-such-package-anywhere "$M/sandboxes/bad/log" || fail "log: $(cat "$M/sandboxes/bad/log")"
same "builds left" "" "$(ls -d "$S"/layers/.build-* 2>/dev/null)"
echo 'python_packages: [six]' >"$M/sandboxes/bad/config"
echo wait >"$M/sandboxes/bad/ctl" || fail "mended: $(cat "$M/sandboxes/bad/error")"
inside bad python3 -c 'import six' || fail "six"

# Stopped or removed while it builds: at once, and nothing of the build is left.
mkdir "$M/sandboxes/slow"
echo 'python_packages: [scipy, six]' >"$M/sandboxes/slow/config"
eventually 30 sh -c "ls -d '$S'/layers/.build-*"
rmdir "$M/sandboxes/slow"
eventually 10 sh -c "! ls -d '$S'/layers/.build-* 2>/dev/null"
eventually 10 sh -c "[ \"\$(find '$S/runtime' -mindepth 2 -name '*-build-*' | wc -l)\" = 0 ]"
