#!/bin/bash
# also: threads
# Documents: refusals that shells and programs see, what is kept, what starts and what does not.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
cd "$M" || exit 2
on_exit 'cd /'
mkdir sandboxes/a
D=$M/sandboxes/a
F=$D/config
generation() { cut -d' ' -f1 "$S"/sandboxes/[0-9]*/want; }
settle() { echo wait >"$D/ctl" || fail "wait"; }

# K1: a line a WRITE; the lines after a refused one start nothing, in no shell.
shells="bash dash zsh"
for sh in $shells "busybox sh"; do
	fails "$sh: printf" $sh -c "printf 'network: none\ngqu: A100\ntimeout: 7\n' >$F"
	same "$sh: kept" "network: none
gqu: A100
timeout: 7" "$(cat "$F")"
	fails "$sh: echo" $sh -c "echo 'gpuu: A100' >$F"
	same "$sh: kept" "gpuu: A100" "$(cat "$F")"
	grep -q "unknown field 'gpuu'; did you mean 'gpu'" "$D/error" || fail "$sh: error: $(cat "$D/error")"
	fails "$sh: append" $sh -c "echo 'worse: 1' >>$F"
	same "$sh: nothing started" draft "$(cat "$D/state")"
	same "$sh: nothing wanted" 0 "$(generation)"
done

# Programs that look at write and close.
printf 'timeout: nonsense\n' >"$T/bad"
fails "cp" cp "$T/bad" "$F"
fails "cat" sh -c "cat $T/bad >$F"
fails "tee" sh -c "tee $F <$T/bad"
fails "dd" dd if="$T/bad" of="$F" status=none
fails "install" install -m 644 "$T/bad" "$F"
fails "python with" python3 -c "
with open('$F','w') as f: f.write('timeout: nonsense\n')"
same "kept" "timeout: nonsense" "$(cat "$F")"
same "size" 18 "$(stat -c %s "$F")"
# What only the end can tell is told by the opener's close.
fails "an open list" cp <(printf 'python_packages: [numpy') "$F"
printf 'python_packages: [numpy' >"$T/bad"
fails "an open list" cp "$T/bad" "$F"
same "nothing started" draft "$(cat "$D/state")"

# A document holds 1 MiB.
head -c 20000000 /dev/zero | tr '\0' '#' >"$T/big"
fails "20 MB" cp "$T/big" "$F"
grep -q "1 MiB" "$D/error" || fail "error: $(cat "$D/error")"
[ "$(stat -c %s "$F")" -le 1048576 ] || fail "more than 1 MiB was kept"

# Accepted: in force when the last writer has closed; a child's close is not the end (K3).
{ /bin/echo 'timeout: 60'; /bin/echo 'env: {A: b}'; } >"$F" || fail "two children"
settle
same "in force" 60 "$(python3 -c 'import json,glob; print(json.load(open(glob.glob("'"$S"'/sandboxes/[0-9]*/spec.json")[0]))["fields"]["timeout"])')"
same "one start" 1 "$(generation)"
same "no error" "" "$(cat "$D/error")"
# K22: FLUSH is not close.
echo stop >"$D/ctl" || fail stop
g=$(generation)
exec 3>"$F"; echo 'timeout: 61' >&3; echo 'network: none' >&3
same "nothing yet" "$g" "$(generation)"
exec 3>&-
settle
same "once" $((g + 1)) "$(generation)"
# The same bytes do nothing; touch, chmod and an empty text neither.
printf 'timeout: 61\nnetwork: none\n' >"$F" || fail "the same bytes"
touch "$F" && chmod 600 "$F" && chown "$(id -u)" "$F" || fail "touch, chmod, chown"
cp --preserve=all "$F" "$T/copy" && cp -a "$T/copy" "$F" || fail "cp -a"
: >"$F" || fail "empty"
same "unchanged" $((g + 1)) "$(generation)"
# A field that cannot change alive is EBUSY, one that can does not restart it.
fails "network while it runs" cp <(printf 'timeout: 61\nnetwork: full\n') "$F"
printf 'timeout: 61\nnetwork: full\n' >"$T/full"
fails "network while it runs" cp "$T/full" "$F"
grep -q network "$D/error" || fail "error: $(cat "$D/error")"
fails "a line that a shell writes" sh -c "printf 'timeout: 61\nnetwork: full\n' >$F"
grep -q network "$D/error" || fail "error: $(cat "$D/error")"
printf 'timeout: 99\nnetwork: none\n' >"$F" || fail "timeout while it runs"
eventually 5 grep -q '"timeout":99' "$S"/sandboxes/[0-9]*/spec.json
same "no restart" $((g + 1)) "$(generation)"

# O_TRUNC and O_APPEND are honoured; each open has a text of its own.
printf 'timeout: 99\nnetwork: none\n# a long line that must not stay\n' >"$F" && printf 'timeout: 98\nnetwork: none\n' >"$F"
same "truncated" "timeout: 98
network: none" "$(cat "$F")"
echo '# more' >>"$F" || fail "append"
same "appended" "timeout: 98
network: none
# more" "$(cat "$F")"
exec 3>"$F"; printf 'timeout: 97\nnetwork: none\n' >&3; exec 4>"$F"; printf 'timeout: 96\nnetwork: none\n' >&4; exec 3>&-; exec 4>&-
same "the last close wins" "timeout: 96
network: none" "$(cat "$F")"

# K5: unlink hides until it is created again.
printf 'timeout: 95\nnetwork: none\n' >"$T/new"
cp --remove-destination "$T/new" "$F" || fail "cp --remove-destination"
same "copied" "$(cat "$T/new")" "$(cat "$F")"
mv "$T/new" "$F" || fail "mv across file systems"
rm "$F" || fail rm
[ ! -e "$F" ] || fail "rm did not hide it"
echo 'timeout: 94' >"$F" 2>/dev/null
[ -e "$F" ] || fail "it was not created again"
(mkdir "$T/t" && cd "$T/t" && printf 'timeout: 93\nnetwork: none\n' >config && tar cf ../t.tar config && cd "$D" && timeout 60 tar xf "$T/t.tar") || fail "tar x"
same "untarred" "timeout: 93
network: none" "$(cat "$F")"

# K11: saving by rename.
sed -i 's/timeout: 93/timeout: 92/' "$F" || fail "sed -i"
same "sed" "timeout: 92" "$(head -n1 "$F")"
fails "sed -i that is refused" sed -i 's/timeout: 92/timeoot: 92/' "$F"
same "kept" "timeoot: 92" "$(head -n1 "$F")"
grep -q timeoot "$D/error" || fail "error: $(cat "$D/error")"
printf 'timeout: 91\nnetwork: none\n' >"$T/config"
rsync -I "$T/config" "$D/" || fail "rsync"
same "rsync" "timeout: 91" "$(head -n1 "$F")"
python3 - "$F" <<'PY' || fail "os.replace"
import os, sys
p = sys.argv[1]
with open(p + ".tmp", "w") as f:
    f.write("timeout: 90\nnetwork: none\n"); f.flush(); os.fsync(f.fileno())
os.replace(p + ".tmp", p)
assert open(p).read().startswith("timeout: 90"), open(p).read()
PY
for how in '' 'set backupcopy=no' 'set backup'; do
	timeout 60 vim -N -u NONE -es -c "$how" -c '%s/timeout: \d*/timeout: 8'${#how}'/' -c 'wq' "$F" </dev/null >/dev/null 2>&1 || fail "vim $how"
	same "vim $how" "timeout: 8${#how}" "$(head -n1 "$F")"
	rm -f "$F~"
done
# fsync is a verdict, and starts nothing.
python3 - "$F" <<'PY' || fail "fsync"
import os, sys
f = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
os.write(f, b"timeout: [")
try: os.fsync(f); raise SystemExit("fsync accepted it")
except OSError: pass
os.ftruncate(f, 0); os.lseek(f, 0, 0)
os.write(f, b"timeout: 89\nnetwork: none\n"); os.fsync(f); os.close(f)
PY
same "after fsync" "timeout: 89" "$(head -n1 "$F")"
# A writer that is killed has not said everything.
( sh -c "exec 3>$F; printf 'timeout: 5\n' >&3; printf 'netw' >&3; kill -9 \$\$"; true ) 2>/dev/null
eventually 5 grep -q "killed" "$D/error"
grep -q '"timeout":89' "$S"/sandboxes/[0-9]*/spec.json || fail "half a text was put into force"

# An empty text is read back as one, at once: by a shell's `: >`, which writes nothing, and by truncate(1).
I=$M/workspace/init.py
for i in $(seq 20); do
	echo "# $i" >"$I" && : >"$I" || fail ": >"
	same ": > is read back" "0" "$(stat -c %s "$I")$(cat "$I")"
	echo "# $i" >"$I" && truncate -s 0 "$I" || fail "truncate"
	same "truncate is read back" "0" "$(stat -c %s "$I")$(cat "$I")"
done
# rm takes it out of force, too; a config that is hidden stays in force.
echo 'x = 1' >"$I" && rm "$I" || fail "rm init.py"
same "init.py is no more" 0 "$(stat -c %s "$S"/workspaces/1/init.py)"
grep -q '"timeout":89' "$S"/sandboxes/[0-9]*/spec.json || fail "the config"

# Scratch files are private to the folder and go with it; elsewhere nothing is made.
echo x >"$D/.config.swp" && same "scratch" x "$(cat "$D/.config.swp")"
fails "a file in the root" sh -c "echo x >$M/x"
fails "a value" sh -c "echo x >$D/state"
fails "a log" sh -c "echo x >>$D/log"

# K9: no trash.
fails "trash" mkdir "$M/.Trash-0"
fails "trash" mkdir "$M/sandboxes/.Trash"
fails "moving into trash" mv "$D" "$M/sandboxes/.Trash-1000"
# Names.
fails "a leading dot" mkdir "$M/sandboxes/.x"
fails "256 bytes" mkdir "$M/sandboxes/$(printf '%256s' | tr ' ' x)"
fails "twice" mkdir "$D"
fails "elsewhere" mv "$D" "$M/x"
mv "$D" "$M/sandboxes/b" || fail "rename"
same "renamed" b "$(ls "$M/sandboxes")"

# K8: rm -r ends an object.
rm -r "$M/sandboxes/b" </dev/null || fail "rm -r"
same "gone" "" "$(ls "$M/sandboxes")"
eventually 5 sh -c "! ls $S/sandboxes | grep -q '^[0-9]'"
exit 0
