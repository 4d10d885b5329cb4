#!/bin/bash
# A sandbox's own files behind `fs`: live, both ways, never leading out of it, gone while it is stopped.
. "$(dirname "$0")/../functions.sh"
. tests/fs.sh
mount_it
L=$M/sandboxes/lab
mkdir "$L"
fails "fs of a draft" ls "$L/fs/"
echo 'network: none' >"$L/config" || fail "config"
echo wait >"$L/ctl" || fail "the sandbox did not start: $(cat "$L/error")"
fs_both_ways
fs_stays_inside

# walkers do not run into it
same "grep -r of the tree" "" "$(grep -rl 'number 3 of a file' "$M/sandboxes")"
same "it is not listed" "" "$(ls -A "$M" | grep -F .fs)"

# the workspace is inside, read-only, at once
echo 'def f(): return 42' >"$M/workspace/libraries/lib.py"
same "a library" 42 "$(exec 9<>"$L/python"; printf 'import lib; print(lib.f())\n' >&9; cat <&9; exec 9>&-)"
same "used-by" sandboxes/lab "$(cat "$M/workspace/used-by")"
fails "a workspace in use stays" rmdir "$M/workspaces/default"
case $(cat "$M/error") in *"in use by sandboxes/lab"*) ;; *) fail "error: $(cat "$M/error")" ;; esac
same "read-only inside" "" "$(within 'touch /workspace/libraries/x 2>/dev/null && echo made; true')"
echo 'python_packages: [numpy]' >"$T/new"; fails "a field that cannot change while it runs" cp "$T/new" "$L/config"
case $(cat "$L/error") in *python_packages*) ;; *) fail "EBUSY names no field: $(cat "$L/error")" ;; esac

fs_ends
rmdir "$L" || fail "rmdir"
