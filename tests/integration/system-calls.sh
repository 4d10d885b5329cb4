#!/bin/bash
# also: threads
# What each kind of file answers to the system calls that programs try: modes of open, truncation, times,
# links, maps, locks, copies between descriptors, odd offsets, large reads and writes.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
cd "$M" || exit 2
on_exit 'cd /'
mkdir sandboxes/a
echo 'timeout: 600' >sandboxes/a/config
echo wait >sandboxes/a/ctl || fail wait

python3 - <<'PY' || fail "what a kind of file answers"
import errno, fcntl, mmap, os, tempfile

D = "sandboxes/a/"
def code(f, *a, **k):
    try: f(*a, **k)
    except OSError as e: return errno.errorcode[e.errno]
    return 0
def is_(expected, what, f, *a, **k):
    got = code(f, *a, **k)
    assert got == expected, "%s: expected %s, got %s" % (what, expected, got)
def open_(path, flags):
    os.close(os.open(path, flags | os.O_NONBLOCK))

values = ["state", "info.json", "id", "mcp.json", "log", "log.follow"]
writable = ["config", "ctl", "exec", "hold", "../../sessions/new"]
for name in values + writable:
    path, may = D + name, name in writable
    no = 0 if may else "EACCES"
    for flags, expected in ((os.O_RDONLY, 0), (os.O_RDWR, no), (os.O_WRONLY | os.O_APPEND, no), (os.O_WRONLY | os.O_SYNC, no),
                            (os.O_RDONLY | os.O_TRUNC, no), (os.O_WRONLY | os.O_CREAT, no), (os.O_WRONLY | os.O_CREAT | os.O_EXCL, "EEXIST"),
                            (os.O_RDONLY | os.O_DIRECT, 0), (os.O_PATH, 0), (os.O_RDONLY | os.O_NOATIME, 0), (os.O_RDONLY | os.O_DIRECTORY, "ENOTDIR")):
        if name != "config" or not flags & (os.O_TRUNC | os.O_WRONLY | os.O_RDWR): # its own tests: document.sh
            is_(expected, "open %s %o" % (name, flags), open_, path, flags)
    # What cp -p, rsync -a, tar x and touch do besides is accepted.
    for what, f, args in ("chmod", os.chmod, (0o640,)), ("chown", os.chown, (os.getuid(), -1)), ("utime", os.utime, ()):
        is_(0, what + " " + name, f, path, *args)
    is_("EPERM", "link " + name, os.link, path, D + "linked")
    is_("EPERM", "rename " + name, os.rename, path, os.path.dirname(path) + "/../x")
    assert os.access(path, os.R_OK) and os.access(path, os.W_OK) == may and not os.access(path, os.X_OK), name
    is_("ENOTSUP", "xattr " + name, os.listxattr, path)
    size = os.stat(path).st_size
    f = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert os.lseek(f, 0, os.SEEK_END) == size, name
    if size:
        assert os.lseek(f, 0, os.SEEK_DATA) == 0 and os.lseek(f, 0, os.SEEK_HOLE) == size, name
        whole = os.pread(f, 1 << 22, 0)
        assert len(whole) == size and os.pread(f, 5, 3) == whole[3:8] and os.pread(f, 5, 1 << 40) == b"", name
        assert mmap.mmap(f, size, mmap.MAP_PRIVATE, mmap.PROT_READ)[:] == whole, name
        with tempfile.TemporaryFile() as copy:
            assert os.sendfile(copy.fileno(), f, 0, size) == size and os.pread(copy.fileno(), size, 0) == whole, name
        a, b = os.pipe()
        assert os.splice(f, b, size, offset_src=0) == size and os.read(a, size) == whole, name
        os.close(a); os.close(b)
    is_(0, "flock " + name, fcntl.flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    is_(0, "fcntl lock " + name, fcntl.lockf, f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    is_(0, "fsync " + name, os.fsync, f)
    is_("EINVAL", "ftruncate " + name, os.ftruncate, f, 0)
    is_("ENOTTY", "ioctl " + name, fcntl.ioctl, f, 0x80086601, b"\0" * 8)
    os.close(f)
    if not may:
        is_("EACCES", "truncate " + name, os.truncate, path, size + 1)

# Folders.
for folder in ".", "sandboxes", D, "sessions":
    for what, f, args in (("mknod", os.mknod, ()), ("mkfifo", os.mkfifo, ())):
        is_("EPERM", what + " " + folder, f, folder + "/made", *args)
    is_("EPERM", "symlink " + folder, os.symlink, "x", folder + "/made")
    is_("EISDIR", "unlink " + folder, os.unlink, folder)
    is_("ENOTSUP", "O_TMPFILE " + folder, open_, folder, os.O_TMPFILE | os.O_WRONLY)
    is_("EISDIR", "open for writing " + folder, open_, folder, os.O_WRONLY)
    s = os.statvfs(folder)
    assert s.f_blocks and s.f_bsize and s.f_namemax == 255, folder
is_("EPERM", "a file in the root", open_, "made", os.O_WRONLY | os.O_CREAT)
is_("EPERM", "mkdir in an object", os.mkdir, D + "made")

# truncate(2) by name, without an open.
def config():
    return open(D + "config").read()
for size, expected, text in ((13, 0, "timeout: 600\n"), (12, 0, "timeout: 600"), (11, 0, "timeout: 60"), (20, "EINVAL", "timeout: 60" + 9 * "\0"),
                             (1 << 30, "EFBIG", "timeout: 60" + 9 * "\0"), (11, 0, "timeout: 60"), (3, "EINVAL", "tim"), (0, 0, "")):
    is_(expected, "truncate to %d" % size, os.truncate, D + "config", size)
    assert config() == text and os.stat(D + "config").st_size == len(text), (size, config())
# Beyond the end, and far beyond.
f = os.open(D + "config", os.O_WRONLY | os.O_TRUNC)
os.write(f, b"timeout: 61\n")
is_("EINVAL", "pwrite beyond the end", os.pwrite, f, b"# x\n", 20)
is_("EINVAL", "poisoned", os.write, f, b"# more\n")
is_("EINVAL", "its close", os.close, f)
assert config() == "timeout: 61\n" + 8 * "\0" + "# x\n# more\n", config()
f = os.open(D + "config", os.O_WRONLY | os.O_TRUNC)
is_("EFBIG", "pwrite far beyond the end", os.pwrite, f, b"x", 1 << 40)
is_("EFBIG", "its close", os.close, f)
f = os.open(D + "config", os.O_RDWR | os.O_TRUNC)
os.write(f, b"timeout: 600\n# abc\n")
os.pwrite(f, b"xyz", 15)
assert os.pread(f, 100, 0) == b"timeout: 600\n# xyz\n"
os.close(f)
assert config() == "timeout: 600\n# xyz\n"
f = os.open(D + "config", os.O_RDWR)
is_("ENODEV", "a shared map", mmap.mmap, f, 19, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
os.close(f)

# Large requests and answers of a call, in one write each.
def call(request):
    f = os.open(D + "exec", os.O_RDWR)
    try:
        sent = 0
        while sent < len(request): sent += os.write(f, request[sent:])
        got = []
        while True:
            got.append(os.read(f, 1 << 20))
            if not got[-1]: return b"".join(got)
    finally: os.close(f)
lines = b"cat\n" + b"0123456789abcde\n" * (5 << 16)
assert call(lines) == lines
is_("EFBIG", "a request of more than 8 MiB", call, b"cat\n" + bytes(9 << 20))
assert len(call(b"big 20000\n")) == 20000 << 10
PY
exit 0
