#!/bin/bash
# What pip cannot install for a workspace is said with the reason and keeps nobody else from being used: what is
# broken, what has a requirement that there is not, what cannot go together with the rest.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/workspaces.sh

mount_it
warm_up
mkdir "$M/sandboxes/lab" && echo 'timeout: 900' >"$M/sandboxes/lab/config"
wheel "$W/libraries" tiny 1.0
# One that is broken, one whose requirement there is not, two that cannot go together: each is said, the rest goes on.
echo 'no archive' >"$W/libraries/bad-1.0-py3-none-any.whl"
python3 -c "import zipfile; zipfile.ZipFile('$W/libraries/hollow-1.0-py3-none-any.whl', 'w').close()"
wheel "$W/libraries" lonely 1.0 interpfs-no-such-package-anywhere
wheel "$W/libraries" zealous 1.0 'tiny<1.0'
echo wait >"$M/sandboxes/lab/ctl" || fail "lab: $(cat "$M/sandboxes/lab/error")"
settled
same "broken" "bad-1.0-py3-none-any.whl wheel failed /workspace/libraries/bad-1.0-py3-none-any.whl it is no wheel: File is not a zip file" "$(line bad-1.0-py3-none-any.whl)"
same "hollow" "hollow-1.0-py3-none-any.whl wheel failed /workspace/libraries/hollow-1.0-py3-none-any.whl it is no wheel: it holds no METADATA" "$(line hollow-1.0-py3-none-any.whl)"
grep -q '^lonely-1.0-py3-none-any.whl wheel failed sandboxes/lab .*interpfs-no-such-package-anywhere' "$W/installed" || fail "lonely: $(cat "$W/installed")"
grep -q '^zealous-1.0-py3-none-any.whl wheel failed sandboxes/lab .*Cannot install .*tiny\|^zealous.*failed.*tiny' "$W/installed" || fail "zealous: $(cat "$W/installed")"
same "the other" "tiny-1.0-py3-none-any.whl wheel installed sandboxes/lab" "$(line tiny-1.0-py3-none-any.whl)"
same "the other, inside" "1.0" "$(inside lab python3 -c 'import tiny; print(tiny.version)')"
fails "what failed" inside lab python3 -c 'import zealous'

# A sandbox that starts with it all does, and tries nothing again; what failed is tried again when somebody asks.
tries() { cat "$M"/sandboxes/*/log | grep -c 'No matching distribution found for interpfs-no-such\|not found in the package registry'; }
before=$(tries)
mkdir "$M/sandboxes/third" && echo '{}' >"$M/sandboxes/third/config"
echo wait >"$M/sandboxes/third/ctl" || fail "third: $(cat "$M/sandboxes/third/error")"
same "in the third" 1.0 "$(inside third python3 -c 'import tiny; print(tiny.version)')"
same "tried again" "$before" "$(tries)"
echo reload >"$W/ctl"; settled
[ "$(tries)" -gt "$before" ] || fail "reload has not tried again: $(cat "$W/installed")"
rm "$W/libraries"/{bad,hollow,lonely,zealous}-*.whl; settled
fails "lines of what is gone" grep -q 'bad\|hollow\|lonely\|zealous' "$W/installed"
