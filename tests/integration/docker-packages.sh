#!/bin/bash
# What is installed into an image: made once however many ask, kept as an image, seen in log, refused in
# the installer's own words, changed when the config does; and Jupyter, once for a kind of image.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh

said() { case $(error "$1") in *"$2"*) ;; *) fail "$1: error is '$(error "$1")', not '$2'" ;; esac; }
layers() { api GET /images/json | jq -r '.[].RepoTags[]?' | grep -c 'interpfs-[0-9a-f]*:layer-'; }
no_builds() { [ "$(builds)" = 0 ]; }
builds() { containers | grep -c -- -build-; }

${ENGINE_TO_TEST:-start_docker}
make_image interpfs-test
BACKEND=docker LINE="image: interpfs-test"
mount_it

# Two that ask for the same at once.
for n in one two; do mkdir "$M/sandboxes/$n"; write_config $n "network: none" "python_packages: [six]" "setup: ['echo set up >/root/setup']"; done
eventually 60 sh -c "grep -q building '$M/sandboxes/one/state' || grep -q ready '$M/sandboxes/one/state'"
for n in one two; do
	ctl $n wait || fail "$n: $(error $n): $(tail -n 5 "$M/sandboxes/$n/log")"
	same "$n" "ok" "$(inside $n python3 -c 'import six; print("ok")')"
	same "$n's setup" "set up" "$(inside $n cat /root/setup)"
done
same "layers" 2 "$(layers)"
same "builds left" 0 "$(builds)"
same "installed so often" 1 "$(cat "$M"/sandboxes/*/log | grep -c 'Successfully installed.*six')"

# A third finds it all there.
made three "network: none" "python_packages: [six]" "setup: ['echo set up >/root/setup']" || fail "three: $(error three)"
! grep -q 'Successfully installed' "$M/sandboxes/three/log" || fail "installed again: $(cat "$M/sandboxes/three/log")"
rmdir "$M/sandboxes/two" "$M/sandboxes/three"

# Another list for files that are there already.
inside one sh -c 'echo kept >/root/file'
ctl one stop
write_config one "network: none" "python_packages: [six, iniconfig]" "setup: ['echo set up >/root/setup']"
ctl one wait || fail "another list: $(error one): $(tail -n 5 "$M/sandboxes/one/log")"
same "both packages" "ok kept" "$(inside one python3 -c 'import six, iniconfig; print("ok", open("/root/file").read().strip())')"

# What cannot be is said in the installer's words, and nothing is left; mended by another config.
made bad "network: none" "python_packages: [interpfs-no-such-package-anywhere]" && fail "a package that does not exist"
said bad "No matching distribution found for interpfs-no-such-package-anywhere"
grep -q interpfs-no-such-package-anywhere "$M/sandboxes/bad/log" || fail "log: $(cat "$M/sandboxes/bad/log")"
same "builds left" 0 "$(builds)"
write_config bad "network: none" "setup: ['echo what is wrong >&2; exit 3']"
ctl bad wait 2>/dev/null && fail "a setup that failed"
said bad "setup: what is wrong"
write_config bad "network: none" "system_packages: [git]"
ctl bad wait 2>/dev/null && fail "packages without a package manager"
said bad "system_packages: error: the image has none of apt-get"
write_config bad "network: none" 'python_version: "2.7"' 2>/dev/null && fail "Python 2"
write_config bad "network: none" 'python_version: "3.99"'
ctl bad wait 2>/dev/null && fail "a Python that is not there"
said bad "the image interpfs-test has Python 3."
write_config bad "network: none" "python_packages: [six]" && ctl bad wait || fail "mended: $(error bad)"
rmdir "$M/sandboxes/bad"

# Removed while it is made: at once, and nothing of it stays.
mkdir "$M/sandboxes/slow"
write_config slow "network: none" "setup: ['sleep 1000']"
eventually 30 sh -c "grep -q '^setup: sleep' '$M/sandboxes/slow/log'"
rmdir "$M/sandboxes/slow"
eventually 20 no_builds

# Jupyter: made with the first notebook, there for the next sandbox of the image.
mkdir "$M/notebooks/first"
echo 'sandbox: one' >"$M/notebooks/first/config"
same "a cell" "42 ok" "$(ask "$M/notebooks/first/exec" 'import six; print(6*7, "ok")')"
made other "network: none" || fail "other: $(error other)"
mkdir "$M/notebooks/second"
echo 'sandbox: other' >"$M/notebooks/second/config"
same "a cell of the next" "1 False" "$(ask "$M/notebooks/second/exec" 'import importlib.util; print(1, importlib.util.find_spec("six") is not None)')"
! grep -q 'Successfully installed' "$M/sandboxes/other/log" || fail "Jupyter was installed again"
same "writing to Jupyter" 1 "$(inside other sh -c 'touch /opt/interpfs/jupyter/x 2>/dev/null; echo $?')"
curl -fsS --noproxy '*' "$(sed 's,/?token,/api/status?token,' "$M/sandboxes/other/jupyter")" | jq -e .kernels >/dev/null || fail "its address does not answer"
# A new runner finds the server again, and the notebook goes on.
ask "$M/notebooks/second/exec" 'kept = "kept"'
kill -9 "$(runner_of other)"
eventually 20 is other ready
eventually 30 sh -c "[ \"\$(cat '$M/notebooks/second/state')\" = idle ]"
same "a cell after its runner died" kept "$(ask "$M/notebooks/second/exec" 'print(kept)')"
