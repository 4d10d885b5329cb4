#!/bin/bash
# also: threads
# Folders: what a reader sees while others make, remove and rename, at places that it returns to, and that
# the kernel remembers nothing which has gone meanwhile.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
on_exit 'fusermount3 -uq "$M"' # not 2,000 by rmdir

# 2,000 sandboxes as a mount leaves them: nothing was ever wanted of them.
mount_it; unmount_it
python3 - "$S" <<'PY' || fail "2,000 sandboxes"
import os, sys
s = sys.argv[1]
for n in range(1000, 3000):
    os.makedirs("%s/sandboxes/%d/run" % (s, n))
    for name, text in ("want", "0 nothing\n"), ("status", "0 draft 0.000\n"):
        with open("%s/sandboxes/%d/%s" % (s, n, name), "w") as f: f.write(text)
    os.symlink("../%d" % n, "%s/sandboxes/names/box%d" % (s, n))
with open(s + "/serial", "w") as f: f.write("20000\n")
PY
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
same "all are there" 2000 "$(ls "$M/sandboxes" | wc -l)"
same "a folder itself and the one above" ". .." "$(ls -a "$M/sandboxes" | head -n 2 | xargs)"
same "in an object too" ". .." "$(ls -a "$M/sandboxes/box1000" | head -n 2 | xargs)"
same "and in what has no folder yet" ". .." "$(cd "$M/sessions" && find . .. -maxdepth 0 | xargs)"

python3 - "$M/sandboxes" <<'PY' || fail "a listing while others make, remove and rename"
import errno, os, sys
top = sys.argv[1]
there = set("box%d" % n for n in range(1000, 3000))
removed = ["box%d" % n for n in range(1600, 2900, 50)]
renamed = ["box%d" % n for n in range(1601, 2900, 50)]
made = ["new%d" % n for n in range(20)]
kept = [os.open("%s/%s/log" % (top, name), os.O_RDONLY) for name in removed]
seen = []
with os.scandir(top) as entries:
    for entry in entries:
        seen.append(entry.name)
        try: os.stat(top + "/" + entry.name) # as ls -l does; it has the kernel take attributes with names
        except FileNotFoundError: pass
        if len(seen) == 300:
            for name in removed: os.rmdir(top + "/" + name)
            for name in renamed: os.rename(top + "/" + name, top + "/x" + name)
            for name in made: os.mkdir(top + "/" + name)
assert len(seen) == len(set(seen)), "one was seen twice"
missed = there - set(removed) - set(renamed) - set(seen)
assert not missed, missed
def gone(name):
    try: os.stat(top + "/" + name)
    except FileNotFoundError: return True
ghosts = [name for name in removed + renamed if not gone(name)]
assert not ghosts, ghosts
for name in removed + renamed: os.mkdir(top + "/" + name)
for name in renamed: os.stat(top + "/x" + name)
for f in kept: os.close(f)
assert len(os.listdir(top)) == 2000 + len(renamed) + len(made)
PY

python3 - "$M/sandboxes" <<'PY' || fail "telldir and seekdir"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_ushort), ("type", ctypes.c_ubyte),
                ("name", ctypes.c_char * 256)]
libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.telldir.argtypes = libc.closedir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.readdir.restype = ctypes.POINTER(dirent)
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
top = sys.argv[1]
d = libc.opendir(top.encode())
def read():
    e = libc.readdir(d)
    return e.contents.name if e else None
places, names = [], []
while True:
    places.append(libc.telldir(d))
    name = read()
    if name is None: break
    names.append(name)
os.rmdir(top + "/new0"); os.mkdir(top + "/newer")
for n in (1, 2, 3, 100, 1500, len(names) - 1):
    libc.seekdir(d, places[n])
    assert read() == names[n], (n, names[n])
libc.seekdir(d, places[-1]); assert read() is None
libc.rewinddir(d) # now it is looked at again
again = set()
while True:
    name = read()
    if name is None: break
    again.add(name)
assert again == set(names) - {b"new0"} | {b"newer"}
libc.closedir(d)
for name in b".", b"..": assert name in names
PY

# What a name may be.
python3 - "$M/sandboxes" <<'PY' || fail "names"
import errno, os, sys
top = os.fsencode(sys.argv[1]) + b"/"
def code(f, *a):
    try: f(*a)
    except OSError as e: return errno.errorcode[e.errno]
    return 0
for name, expected in ((b"x" * 256, "ENAMETOOLONG"), (b".hidden", "EINVAL"), (b"a\nb", "EINVAL"), (b"a\x7f", "EINVAL"),
                       (b"a\xc2\x9b31m", "EINVAL"), (b"\xff", "EINVAL"), (b"a\xc3", "EINVAL"), (b"..", "EEXIST")):
    got = code(os.mkdir, top + name)
    assert got == expected, (name, got, expected)
    assert name in (b"x" * 256, b"..") or os.path.getsize(top + b"../error"), name
    os.mkdir(top + b"good") if not os.path.exists(top + b"good") else None
    if name != b"..":
        got = code(os.rename, top + b"good", top + name)
        assert got == expected.replace("EINVAL", "EPERM"), (name, got) # mv takes EINVAL for a move into itself
for name in (b"y" * 255, b"-x", b"a b", b"*", b"a~", "ü \u2028".encode()):
    os.mkdir(top + name); assert name in os.listdir(top); os.rmdir(top + name)
PY

# Numbers stay the same at the next mount.
numbers() { (cd "$M" && find . -path ./sandboxes/'*' -prune -o -printf '%p %i\n'; find sandboxes/box1000 sandboxes/newer -printf '%p %i\n') | sort; }
cd "$TOP" && before=$(cd "$M" && numbers)
began=$(stat -c %Y "$M/sandboxes")
unmount_it; eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
same "inodes after a remount" "$before" "$(cd "$M" && numbers)"
# That of the disk, which is up to a moment older than when the mount heard that a removal had ended.
after=$(stat -c %Y "$M/sandboxes")
[ "$after" -le "$began" ] && [ "$after" -ge $((began - 60)) ] ||
	fail "a folder's time is that of its last change, not of the mount: $after, and it was $began"
exit 0
