#!/bin/bash
# The Python of an image on this machine: what pip installs, in python_packages and by the workspace, and notebooks.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/root.sh

mount_it
mkdir "$T/folder" && tar -C "$T/folder" -xf "$(root_tar)" && echo 'NAME=tested' >"$T/folder/etc/os-release" || fail "a folder"
mkdir "$M/sandboxes/one"; echo "{image: $T/folder, python_packages: [six]}" >"$M/sandboxes/one/config"
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/one" -- "$@"; }
timeout 400 sh -c "echo wait >'$M/sandboxes/one/ctl'" || fail "one: $(cat "$M/sandboxes/one/error"): $(tail -n 5 "$M/sandboxes/one/log")"
same "its interpreter" "$(readlink -f /usr/bin/python3)" "$(jq -r .python.interpreter "$M/sandboxes/one/info.json")"
python3 tests/wheels.py "$M/workspace/libraries" tiny 1.0 || fail wheel
timeout 400 sh -c "echo wait >'$M/workspace/ctl'"
grep -qx "tiny-1.0-py3-none-any.whl wheel installed sandboxes/one" "$M/workspace/installed" || fail "a wheel: $(cat "$M/workspace/installed"): $(tail -n 5 "$M/sandboxes/one/log")"
same "both" 1.0 "$(inside python3 -c 'import six, tiny; print(tiny.version)')"
mkdir "$M/notebooks/nb" && echo 'sandbox: one' >"$M/notebooks/nb/config"
timeout 400 sh -c "echo wait >'$M/notebooks/nb/ctl'" || fail "notebook: $(cat "$M/notebooks/nb/error"): $(tail -n 5 "$M/sandboxes/one/log")"
same "a cell" "tested 1.0" "$(ask "$M/notebooks/nb/exec" 'import tiny; print(open("/etc/os-release").read()[5:].strip(), tiny.version)')"

# A version that it has not is refused by name.
mkdir "$M/sandboxes/two"; echo "{image: $T/folder, python_version: '3.7'}" >"$M/sandboxes/two/config"
timeout 400 sh -c "echo wait >'$M/sandboxes/two/ctl'" 2>/dev/null && fail "Python 3.7"
same "no such version" "the image has no Python 3.7; install it by system_packages, or leave python_version out" "$(cat "$M/sandboxes/two/error")"
