#!/bin/bash
# also: threads
# The workspace: what is copied into libraries/ is ordinary files, and `installed` says what became of it.
. "$(dirname "$0")/../functions.sh"
mount_it

W=$M/workspace
same "workspace leads to the default" workspaces/default "$(readlink "$W")"
same "its listing" "config ctl docs.md error files init.py installed libraries skills used-by" "$(ls "$W/" | LC_ALL=C sort | xargs)"
same "nothing is installed yet" "" "$(cat "$W/installed")"

# a module, and its documentation
cat >"$T/steering.py" <<'PY'
"""Steering vectors."""
def steer(model, layer: int = 3) -> str:
    """Adds a vector."""
PY
cp "$T/steering.py" "$W/libraries/" || fail "cp of a module"
echo wait >"$W/ctl" || fail "wait"
same "a module is installed" "steering.py module installed /workspace/libraries/steering.py" "$(cat "$W/installed")"
grep -q '^## steering$' "$W/docs.md" && grep -qF 'steer(model, layer: int=3) -> str' "$W/docs.md" && grep -q 'Adds a vector' "$W/docs.md" ||
	fail "docs.md: $(cat "$W/docs.md")"
same "its size is true" "$(wc -c <"$W/docs.md")" "$(stat -c %s "$W/docs.md")"

# a syntax error is kept and told, with line and column
printf 'x = 1\ndef broken(:\n    pass\n' >"$W/libraries/broken.py" || fail "a broken module is kept"
echo wait >"$W/ctl"
grep -q '^broken.py module failed /workspace/libraries/broken.py line 2, column 12: ' "$W/installed" || fail "broken: $(cat "$W/installed")"
same "the others stay installed" 1 "$(grep -c '^steering.py module installed' "$W/installed")"
rm "$W/libraries/broken.py"
echo wait >"$W/ctl"
same "gone again" 1 "$(wc -l <"$W/installed")"

# what is made without being opened
python3 -c "import os; os.mknod('$W/libraries/bare.py')" && echo wait >"$W/ctl" || fail "mknod"
same "mknod is seen" 1 "$(grep -c '^bare.py module installed' "$W/installed")"
rm "$W/libraries/bare.py"
echo wait >"$W/ctl"

# a package and a skill; bytecode is dropped
mkdir -p "$T/pack/sub" "$T/steering-hook"
echo 'from . import sub' >"$T/pack/__init__.py"; echo 'a = 1' >"$T/pack/sub/__init__.py"; (cd "$T" && python3 -m compileall -q pack)
echo '"""A hook."""' >"$T/steering-hook/code.py"; echo '# Hook' >"$T/steering-hook/SKILL.md"
cp -r "$T/pack" "$T/steering-hook" "$W/libraries/" || fail "cp -r"
echo wait >"$W/ctl"
grep -qx 'pack package installed /workspace/libraries/pack' "$W/installed" || fail "package: $(cat "$W/installed")"
grep -qx 'steering-hook skill installed /workspace/libraries/steering-hook' "$W/installed" || fail "skill: $(cat "$W/installed")"
serial=$(basename "$(readlink "$S/workspaces/names/default")")
same "a skill's module" /workspace/libraries/steering-hook/code.py "$(readlink "$S/workspaces/$serial/modules/steering_hook.py")"
same "no bytecode" "" "$(find "$S/workspaces/$serial/libraries" -name '*.pyc')"
: >"$W/libraries/pack/__pycache__/late.pyc" || fail "the folder was taken away from who fills it"
rm -r "$W/libraries/steering-hook"; echo wait >"$W/ctl"
[ ! -L "$S/workspaces/$serial/modules/steering_hook.py" ] || fail "the module of a removed skill stayed"

# skills/
mkdir "$W/skills/empty"; echo reload >"$W/ctl" && echo wait >"$W/ctl"
grep -qF 'empty skill failed /workspace/skills/empty there is no empty/SKILL.md' "$W/installed" || fail "skills: $(cat "$W/installed")"

# nothing of the user's is run
echo "open('$T/ran', 'w')" >"$W/libraries/evil.py"; echo wait >"$W/ctl"
[ ! -e "$T/ran" ] || fail "the library was run"

# nor read what is no file of the workspace: it would be waited for, read for ever, or shown in a prompt
rm "$W/libraries/evil.py"
printf '"""Private words."""\n' >"$T/private.py"
mkdir "$W/libraries/odd" "$W/skills/odd" && mkfifo "$W/libraries/odd/pipe.py" && ln -s /dev/zero "$W/libraries/odd/zero.py"
ln -s /dev/zero "$W/libraries/zero.py"; ln -s "$T/private.py" "$W/libraries/private.py"; ln -s "$T" "$W/libraries/out"
ln -s steering.py "$W/libraries/same.py"; ln -s "$T/private.py" "$W/skills/odd/SKILL.md"
timeout 400 sh -c "echo wait >'$W/ctl'" || fail "odd files hold up a workspace"
same "what was found" "$(printf '%s\n' 'odd folder failed' 'odd skill failed' 'out folder failed' 'private.py module failed' 'same.py module installed' \
	'zero.py module failed')" "$(grep -E '^(odd|out|private|same|zero)' "$W/installed" | cut -d' ' -f1-3 | LC_ALL=C sort)"
grep -q 'Private words' "$W/docs.md" && fail "a file of the user's is in a prompt"
rm -r "$W/libraries/odd" "$W/skills/odd" "$W/libraries"/{zero,private,same}.py "$W/libraries/out"; echo wait >"$W/ctl"

# no python3 on the machine
unmount_it
mkdir "$T/bin"; for p in fusermount3 sh; do ln -s "$(command -v $p)" "$T/bin/$p"; done
(PATH=$T/bin; "$INTERPFS" mount -o "state=$S" "$M") || fail "mount without python3"
echo reload >"$W/ctl" && echo wait >"$W/ctl"
grep -q '^steering.py file installed /workspace/libraries/steering.py not checked: there is no python3 on this machine$' "$W/installed" ||
	fail "no python3: $(cat "$W/installed")"
unmount_it; mount_it

# other workspaces, init.py, documents
mkdir "$M/workspaces/second" || fail "mkdir"
[ -d "$M/workspaces/second/libraries" ] || fail "a new workspace has its folders"
cp "$T/steering.py" "$M/workspaces/second/libraries/" && echo wait >"$M/workspaces/second/ctl"
same "the second has its own" 1 "$(wc -l <"$M/workspaces/second/installed")"
echo 'import os' >"$W/init.py"; same "init.py" 'import os' "$(cat "$W/init.py")"
echo 'packages: [-e]' >"$W/config" 2>/dev/null && fail "a package that is an option"
fails "a field of later" sh -c "echo 'hidden_model_loading: false' > $W/config"
same "is refused by name" "line 1: hidden_model_loading is not supported by this version" "$(cat "$W/error")"
rm -r "$M/workspaces/second" || fail "rm -r of a workspace"
[ ! -e "$M/workspaces/second" ] || fail "it is still there"
