#!/bin/bash
# also: threads
# Files below libraries/, skills/ and files/ behave as on any disk: what cp, mv, tar, rsync, sed, git
# and editors do, gives the bytes, times, modes, links and errors that it gives elsewhere.
. "$(dirname "$0")/../functions.sh"
mount_it
F=$M/workspace/files

# a source with what trees have
mkdir -p "$T/src/deep/er" "$T/src/empty"
seq 1 20000 >"$T/src/numbers"; head -c 3000000 /dev/urandom >"$T/src/deep/random"; : >"$T/src/deep/er/nothing"
printf 'a' >"$T/src/with space"; printf 'b' >"$T/src/ümläut"; chmod 755 "$T/src/numbers"; chmod 600 "$T/src/with space"
ln -s deep/random "$T/src/link"; ln -s /nowhere/at/all "$T/src/dangling"; ln "$T/src/numbers" "$T/src/hard"
touch -d '2001-02-03 04:05:06.789' "$T/src/deep/random"

agree() { # WHAT FOLDER: the same names, types, modes, sizes, times, targets, link counts and bytes
	local a b
	a=$(cd "$T/src" && find . -printf '%P %y %m %l %n\n' | LC_ALL=C sort | grep -v ' d ')
	b=$(cd "$2" && find . -printf '%P %y %m %l %n\n' | LC_ALL=C sort | grep -v ' d ')
	same "$1: the tree" "$a" "$b"
	diff -r --no-dereference "$T/src" "$2" || fail "$1: bytes differ"
	same "$1: the time" "$(stat -c %Y "$T/src/deep/random")" "$(stat -c %Y "$2/deep/random")"
}

cp -a "$T/src" "$F/copied" || fail "cp -a"
agree "cp -a" "$F/copied"
same "one file by two names" "$(stat -c %i "$F/copied/numbers")" "$(stat -c %i "$F/copied/hard")"
same "nanoseconds" "$(stat -c %y "$T/src/deep/random")" "$(stat -c %y "$F/copied/deep/random")"

mkdir "$F/tarred"; tar -C "$T/src" -cf - . | tar -C "$F/tarred" -xpf - || fail "tar x"
agree "tar" "$F/tarred"
tar -C "$F/tarred" -cf "$T/back.tar" . || fail "tar c"
mkdir "$T/back"; tar -C "$T/back" -xpf "$T/back.tar"; diff -r --no-dereference "$T/src" "$T/back" || fail "tar and back"
tar -C "$T/src" -cf - . | tar -C "$F/tarred" --overwrite -xpf - || fail "tar over what is there"

if command -v rsync >/dev/null; then
	rsync -aH "$T/src/" "$F/synced/" || fail "rsync"
	agree "rsync" "$F/synced"
	same "a second rsync has nothing to do" "" "$(rsync -aH --itemize-changes "$T/src/" "$F/synced/" | grep '^>f')"
fi

# mv in, within, out; rename's flags
cp -r "$T/src/deep" "$T/moving"
mv "$T/moving" "$F/moved" || fail "mv in"
mv "$F/moved" "$F/renamed" || fail "mv within"
cmp "$T/src/deep/random" "$F/renamed/random" || fail "a renamed folder's files"
exec 5<"$F/renamed/random"; mv "$F/renamed/random" "$F/renamed/er/x"; mv "$F/renamed/er" "$F/er"
cmp "$T/src/deep/random" - <&5 || fail "an open file that was moved"; exec 5<&-
cmp "$T/src/deep/random" "$F/er/x" || fail "a moved file"
mv "$F/er" "$T/out" || fail "mv out"
cmp "$T/src/deep/random" "$T/out/x" || fail "moved out"; [ ! -e "$F/er" ] || fail "it stayed"
echo one >"$F/one"; echo two >"$F/two"
python3 - "$F/one" "$F/two" <<'PY' || fail "renameat2"
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
a, b = (p.encode() for p in sys.argv[1:])
assert libc.renameat2(-100, a, -100, b, 1) == -1 and ctypes.get_errno() == errno.EEXIST, "NOREPLACE"
assert libc.renameat2(-100, a, -100, b, 2) == 0, "EXCHANGE %d" % ctypes.get_errno()
assert open(a).read() == "two\n" and open(b).read() == "one\n"
PY
mv -f "$F/one" "$F/two"; same "mv over" two "$(cat "$F/two")"
mv "$F/two" "$M/workspace/skills/two" || fail "mv from files/ to skills/"
same "in skills/" two "$(cat "$M/workspace/skills/two")"; rm "$M/workspace/skills/two"

# editors and in-place tools
printf 'x = 1\ny = 2\n' >"$F/code.py"
sed -i 's/1/3/' "$F/code.py" || fail "sed -i"; same "sed -i" "x = 3" "$(head -n1 "$F/code.py")"
if command -v vim.tiny >/dev/null; then
	printf ':%%s/3/4/\n:wq\n' | timeout 60 vim.tiny -u NONE -es "$F/code.py" || fail "vim"
	same "vim" "x = 4" "$(head -n1 "$F/code.py")"
fi
same "nothing of the editors stays" "code.py copied renamed synced tarred" "$(cd "$F" && ls -A | LC_ALL=C sort | xargs)"
install -m 640 "$T/src/numbers" "$F/installed"; same "install" 640 "$(stat -c %a "$F/installed")"
truncate -s 100000000 "$F/sparse"; same "sparse" 100000000 "$(stat -c %s "$F/sparse")"; truncate -s 3 "$F/sparse"
echo more >>"$F/code.py"; same "append" more "$(tail -n1 "$F/code.py")"
dd if=/dev/zero of="$F/dd" bs=64k count=10 conv=fsync status=none || fail "dd with fsync"
fallocate -l 1000000 "$F/dd2" && same "fallocate" 1000000 "$(stat -c %s "$F/dd2")"
mkfifo "$F/pipe" || fail "mkfifo"; (echo through >"$F/pipe" &); same "a pipe" through "$(timeout 60 cat "$F/pipe")"

# errors are the disk's own
fails "rmdir of a full folder" rmdir "$F/copied"
fails "mkdir of what is there" mkdir "$F/copied"
fails "a file is no folder" ls "$F/code.py/x"
fails "cp of a name that is too long" touch "$F/$(printf 'n%.0s' $(seq 256))"
touch "$F/$(printf 'n%.0s' $(seq 255))" || fail "255 bytes are a name"
fails "ln across" ln "$T/src/numbers" "$F/across"
fails "rename across" python3 -c "import os; os.rename('$T/src/hard', '$F/hard')"

# an open file that is deleted; many at once; a large folder
exec 5<>"$F/gone"; rm "$F/gone"; echo still >&5; same "deleted but open" still "$(cat </dev/fd/5)"
exec 5>&-
mkdir "$F/many"; (cd "$F/many" && seq 1 3000 | xargs touch) || fail "3,000 files"
same "3,000 names" 3000 "$(ls -U "$F/many" | wc -l)"
same "and find agrees" 3000 "$(find "$F/many" -type f | wc -l)"
for i in 1 2 3 4; do (for j in $(seq 30); do mkdir "$F/p$i-$j" && echo "$i" >"$F/p$i-$j/f" && mv "$F/p$i-$j" "$F/q$i-$j" && cat "$F/q$i-$j/f"; done >"$T/p$i") & done; wait
same "four at once" 120 "$(cat "$T"/p? | wc -l)"
rm -r "$F/many" "$F"/q* || fail "rm -r of many"

# git, which maps, locks, renames and links
if command -v git >/dev/null; then
	git -C "$F" init -q repo && cd "$F/repo" && git config user.email t@example.org && git config user.name t &&
		cp "$T/src/numbers" . && git add . && git commit -qm one && echo x >>numbers && git commit -qam two && git gc -q &&
		git fsck --no-progress && same "git" 2 "$(git log --oneline | wc -l)" && same "clean" "" "$(git status --porcelain)"
	[ "$PWD" = "$F/repo" ] || fail "git"
	cd "$TOP" || exit 1
fi
python3 - "$F/mapped" <<'PY' || fail "mmap"
import mmap, sys
with open(sys.argv[1], "w+b") as f:
    f.truncate(8192)
    with mmap.mmap(f.fileno(), 8192) as m:
        m[4096:4100] = b"here"
        m.flush()
assert open(sys.argv[1], "rb").read()[4096:4100] == b"here"
PY

# A folder of any size costs the mount nothing to begin with; who goes back finds what was there.
mkdir "$F/huge"
python3 - "$F/huge" "$(find "$S"/workspaces/[0-9]*/files -name huge)" "$(cut -d' ' -f1 "$S/lock")" <<'PY' || fail "a huge folder"
import ctypes, os, sys
for i in range(100000): os.mknod(f"{sys.argv[2]}/{'n' * 150}{i}")
def rss(): return int(next(l for l in open(f"/proc/{sys.argv[3]}/status") if l.startswith("VmRSS")).split()[1])
before = rss()
with os.scandir(sys.argv[1]) as names: next(names)
assert rss() - before < 6000, (before, rss())
c = ctypes.CDLL(None); c.opendir.restype = c.readdir.restype = ctypes.c_void_p; c.telldir.restype = ctypes.c_long
d = ctypes.c_void_p(c.opendir(sys.argv[1].encode()))
def name(): return ctypes.string_at(c.readdir(d) + 19)
first = [name() for i in range(700)]
place = c.telldir(d)
after = [name() for i in range(900)]
c.seekdir(d, ctypes.c_long(place))
assert [name() for i in range(900)] == after
c.rewinddir(d)
assert [name() for i in range(700)] == first
PY
find "$S"/workspaces/[0-9]*/files/huge -delete

# Somebody's lease on a file holds up nobody who wants another, and who wants it is told.
: >"$F/leased"
timeout 60 python3 - "$F/leased" "$(find "$S"/workspaces/[0-9]*/files -name leased)" <<'PY' || fail "a lease holds up"
import errno, fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[2], os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
began = time.monotonic()
for change in lambda: os.truncate(sys.argv[1], 0), lambda: open(sys.argv[1], "w"), lambda: open(sys.argv[1], "a"):
    try: change()
    except OSError as e: assert e.errno == errno.EAGAIN, e
    else: assert False, "it was changed"
assert time.monotonic() - began < 40
PY
rm "$F/leased"

# after another mount all is as it was
sum=$(cd "$F" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
unmount_it; mount_it
same "after a remount" "$sum" "$(cd "$F" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)"
rm -rf "${F:?}"/* "$F"/.[!.]* 2>/dev/null
same "rm -rf" "" "$(ls -A "$F")"
