#!/bin/bash
# Layers that uv makes, where this machine has it on its PATH: packages, one that does not exist, and
# Jupyter Server.
. "$(dirname "$0")/../functions.sh"

inside() { "$INTERPFS" exec "$M/sandboxes/lab" -- "$@"; }

# Nothing else of its environment on the PATH: the interpreter stays the machine's.
{ python3 -m venv "$T/venv" && "$T/venv/bin/pip" install -q uv && mkdir "$T/bin" && ln -s "$T/venv/bin/uv" "$T/bin/"; } ||
	fail "uv cannot be installed"
PATH=$T/bin:$PATH mount_it
mkdir "$M/sandboxes/lab"
echo 'python_packages: [six, numpy]' >"$M/sandboxes/lab/config"
echo wait >"$M/sandboxes/lab/ctl" || fail "$(cat "$M/sandboxes/lab/error"): $(tail -n 5 "$M/sandboxes/lab/log")"
grep -q '^ + six==' "$M/sandboxes/lab/log" || fail "uv did not install: $(cat "$M/sandboxes/lab/log")"
same "packages" "10 ok" "$(inside python3 -c 'import numpy, six; print(numpy.arange(5).sum(), "ok")')"
inside pip uninstall -y six >/dev/null 2>&1 || fail "pip inside"
fails "what pip took away" inside python3 -c 'import six'
fails "uv itself inside" inside test -e /run/interpfs/uv

mkdir "$M/sandboxes/bad"
echo 'python_packages: [interpfs-no-such-package-anywhere]' >"$M/sandboxes/bad/config"
echo wait >"$M/sandboxes/bad/ctl" 2>/dev/null && fail "a package that does not exist"
case $(cat "$M/sandboxes/bad/error") in
*interpfs-no-such-package-anywhere*) ;;
*) fail "error: $(cat "$M/sandboxes/bad/error")" ;;
esac
same "builds left" "" "$(ls -d "$S"/layers/.build-* 2>/dev/null)"

mkdir "$M/notebooks/nb"
echo 'sandbox: lab' >"$M/notebooks/nb/config"
echo wait >"$M/notebooks/nb/ctl" || fail "a notebook: $(cat "$M/notebooks/nb/error"): $(tail -n 5 "$M/sandboxes/lab/log")"
grep -q '^ + jupyter-server==' "$M/sandboxes/lab/log" || fail "uv did not install Jupyter: $(tail -n 30 "$M/sandboxes/lab/log")"
same "a cell" 45 "$(ask "$M/notebooks/nb/exec" 'import numpy; print(numpy.arange(10).sum())')"
