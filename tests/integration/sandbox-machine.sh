#!/bin/bash
# What a machine lacks is said in a sentence with the way out, and never worked around by running
# unprotected: no runtime, one that fails. A secret that nobody has is named; one that is there
# reaches commands and nothing else.
# runs: root user
. "$(dirname "$0")/../functions.sh"

made() { mkdir "$M/sandboxes/$1"; printf '%s\n' "${@:2}" | cat 2>/dev/null >"$M/sandboxes/$1/config" || return; echo wait >"$M/sandboxes/$1/ctl" 2>/dev/null; }
said() { case $(error "$1") in *"$2"*) ;; *) fail "$1: error is '$(error "$1")', not '$2'" ;; esac; }

# A runtime that is not there; one that starts nothing.
mount_it -o runtime=no-such-runtime
made lab "network: none" && fail "a sandbox without a runtime"
said lab "the container runtime 'no-such-runtime' is not installed"
rmdir "$M/sandboxes/lab"
unmount_it
printf '#!/bin/sh\necho "cannot do this here" >&2; exit 1\n' >"$T/broken"
chmod +x "$T/broken"
mount_it -o "runtime=$T/broken"
made lab "network: none" && fail "a sandbox by a runtime that fails"
said lab "cannot do this here"
rmdir "$M/sandboxes/lab"
unmount_it

# Each one by its name, where it works.
for r in runc crun; do
	command -v $r >/dev/null || continue
	mount_it -o runtime=$r
	if made "$r" "network: none"; then
		same "$r" hello "$(inside $r echo hello)"
		case $(jq -r .runtime "$M/sandboxes/$r/info.json") in */$r) works=$r ;; *) fail "info.json: $(jq .runtime "$M/sandboxes/$r/info.json")" ;; esac
	else
		said $r "no sandbox can be isolated here"
	fi
	rmdir "$M/sandboxes/$r"
	unmount_it
done
[ -n "${works:-}" ] || fail "neither runc nor crun starts a sandbox here"

# Secrets: one that is missing is named; one that is there reaches commands and nothing else.
export INTERPFS_TEST_SECRET=a-value-nobody-may-read
mount_it
made lab "network: none" "secrets: [INTERPFS_TEST_SECRET]" || fail "$(error lab)"
same "a secret inside" a-value-nobody-may-read "$(inside lab sh -c 'echo $INTERPFS_TEST_SECRET')"
grep -rqs a-value-nobody-may-read "$S" && fail "the secret is in $(grep -rls a-value-nobody-may-read "$S")"
read -r pid _ <"$S/sandboxes/$(jq .serial "$M/sandboxes/lab/info.json")/guest.pid"
tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -q a-value && fail "the secret is in the guest's environment"
made bad "network: none" "secrets: [INTERPFS_TEST_ABSENT]" && fail "a missing secret"
said bad INTERPFS_TEST_ABSENT
rmdir "$M/sandboxes/lab" "$M/sandboxes/bad"
