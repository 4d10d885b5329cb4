#!/bin/bash
# What is taken away from a workspace or replaced: gone or new for whatever starts now, and said of a kernel that
# still has the old one, of what pip installed and of the workspace's own modules.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/workspaces.sh

mount_it
warm_up
mkdir "$M/sandboxes/lab" && echo 'timeout: 900' >"$M/sandboxes/lab/config"
mkdir "$M/notebooks/nb" && echo 'sandbox: lab' >"$M/notebooks/nb/config"
for n in tiny-1.0 late-2.0 built-3.0; do wheel "$W/libraries" "${n%-*}" "${n#*-}"; done
settled
echo wait >"$M/notebooks/nb/ctl" || fail "notebook: $(cat "$M/notebooks/nb/error")"
settled
same "all three" "1.0 2.0 3.0" "$(cell 'import tiny, late, built; print(tiny.version, late.version, built.version)')"

# Taken away: gone for whoever starts now, and said of the kernel that has it. Replaced: the same.
rm "$W/libraries/late-2.0-py3-none-any.whl" "$W/libraries/tiny-1.0-py3-none-any.whl"
wheel "$W/libraries" tiny 1.1
settled
fails "removed" inside lab python3 -c 'import late'
same "replaced" 1.1 "$(inside lab python3 -c 'import tiny; print(tiny.version)')"
cell 'print("has", tiny.version)' | grep -qx 'has 1.0' || fail "a kernel keeps what it has loaded"
eventually 60 grep -q '^tiny module held notebooks/nb its kernel has loaded the old one' "$W/installed"
grep -q '^late module held notebooks/nb ' "$W/installed" || fail "late: $(cat "$W/installed")"
fails "built is as it was" grep -q '^built module held' "$W/installed"

# A module of the workspace's own that changes while a kernel has objects of the old one.
printf 'class Hook:\n    def run(self): return "old"\n' >"$W/libraries/steer.py"
cell 'from steer import Hook; kept = [Hook()]' >/dev/null
printf 'class Hook:\n    def run(self): return "new"\n' >"$W/libraries/steer.py"
said=$(cell 'print(kept[0].run(), Hook().run())' | LC_ALL=C sort) # two streams may come in any order
same "what the cell says" "interpfs: steer has changed; this kernel still holds objects of the old one: Hook
old new" "$said"
eventually 60 grep -qx 'steer module held notebooks/nb its kernel still holds objects of the old one: Hook' "$W/installed"
cell 'del kept' >/dev/null
let_go() { cell pass >/dev/null; ! grep -q '^steer module held' "$W/installed"; }
eventually 60 let_go
echo restart >"$M/notebooks/nb/ctl" || fail "restart"
same "a new kernel has the new one" 1.1 "$(cell 'import tiny; print(tiny.version)')"
eventually 60 sh -c "! grep -q ' held ' '$W/installed'"
