#!/bin/bash
# A snapshot of a sandbox that runs: whatever its programs are writing in step (two files, a mapped one, a
# database), a copy that is taken in the middle of it is of one moment; what runs goes on and has not ended, and
# files of every kind that come and go meanwhile are in it or not, but whole.
. "$(dirname "$0")/../functions.sh"

mount_it
warm_up
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }

cat >"$T/write.py" <<'END'
import mmap, os, sqlite3, sys, threading, time
def begun(): # what the check looks at is there
    open("/root/begun-" + sys.argv[1], "w").close()
def two_files():
    a = os.open("/root/a", os.O_CREAT | os.O_RDWR)
    b = os.open("/workspace/b", os.O_CREAT | os.O_RDWR)
    n = 0
    while True:
        n += 1
        os.pwrite(a, b"%020d" % n, 0)
        os.pwrite(b, b"%020d" % n, 0)
        if n == 1: begun()
def mapped():
    # The first page is written before the last, again and again: last <= first <= last + 1.
    f = open("/data/mapped", "w+b")
    f.truncate(1 << 20)
    m = mmap.mmap(f.fileno(), 1 << 20)
    n = 0
    while True:
        n += 1
        m[0:20] = b"%020d" % n
        m[-20:] = b"%020d" % n
        if n == 1: begun()
def database():
    db = sqlite3.connect("/var/lib/accounts.db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("create table if not exists account (id integer primary key, money integer)")
    db.execute("insert into account values (1, 1000), (2, 1000)")
    begun()
    while True:
        db.execute("begin")
        db.execute("update account set money = money - 1 where id = 1")
        db.execute("update account set money = money + 1 where id = 2")
        db.execute("commit")
        time.sleep(0.001)
def renames():
    # A tree that is always there by one of two names, and a file that is always whole.
    os.makedirs("/usr/local/one/below")
    for i in range(50):
        open("/usr/local/one/below/%d" % i, "w").write("%d\n" % i * 100)
    while True:
        os.rename("/usr/local/one", "/usr/local/two")
        open("/root/new", "w").write("x" * 100000)
        os.rename("/root/new", "/root/whole")
        os.rename("/usr/local/two", "/usr/local/one")
        if not os.path.exists("/root/begun-renames"): begun()
def vforks():
    # Waits, where no signal reaches it, for a child that waits for somebody else before it runs its program.
    os.mkfifo("/run/pipe")
    os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/run/pipe", os.O_RDONLY, 0)])
os.makedirs("/data", exist_ok=True)
{"vforks": vforks, "two_files": two_files, "mapped": mapped, "database": database, "renames": renames}[sys.argv[1]]()
END
cat >"$T/check.py" <<'END'
import os, sqlite3
a, b = int(open("/root/a").read()), int(open("/workspace/b").read())
assert b <= a <= b + 1, ("two files", a, b)
m = open("/data/mapped", "rb").read()
first, last = int(m[:20]), int(m[-20:])
assert last <= first <= last + 1, ("mapped", first, last)
db = sqlite3.connect("/var/lib/accounts.db")
assert db.execute("pragma integrity_check").fetchone() == ("ok",), "database"
assert db.execute("select sum(money) from account").fetchone() == (2000,), "transactions"
one, two = os.path.isdir("/usr/local/one"), os.path.isdir("/usr/local/two")
assert one != two, ("renames", one, two)
below = "/usr/local/one/below" if one else "/usr/local/two/below"
assert sorted(os.listdir(below), key=int) == [str(i) for i in range(50)], below
for i in range(50):
    assert open("%s/%d" % (below, i)).read() == "%d\n" % i * 100
assert os.path.getsize("/root/whole") == 100000
assert os.stat("/root/locked").st_mode & 0o777 == 0 and open("/root/locked").read() == "locked\n"
print("of one moment")
END

made lab 'network: none\n' || fail "lab: $(error lab)"
cp "$T/write.py" "$M/sandboxes/lab/fs/root/write.py" || fail "a file"
inside lab 'echo locked >/root/locked; chmod 0 /root/locked; mkdir -p /data; for i in $(seq 500); do echo $i >/data/$i; done
	for w in two_files mapped database renames vforks; do python3 /root/write.py $w >/root/out-$w 2>&1 & echo $!; done >/root/pids' || fail "writers"
eventually 60 inside lab 'cd /root && test -e begun-two_files && test -e begun-mapped && test -e begun-database && test -e begun-renames &&
	grep -q "^State:.D" /proc/$(tail -n 1 pids)/status'
for i in 1 2 3; do
	ctl lab "snapshot live-$i" || fail "snapshot $i: $(error lab)"
	inside lab 'for p in $(cat /root/pids); do kill -0 $p || exit 1; grep -q "^State:.[RSD]" /proc/$p/status || exit 1; done' || fail "a writer has ended or stands still: $(inside lab 'cat /root/out-*')"
	made "copy-$i" "from_snapshot: live-$i\n" || fail "copy $i: $(error "copy-$i")"
	same "snapshot $i" "of one moment" "$(timeout 400 "$INTERPFS" exec "$M/sandboxes/copy-$i" -- python3 -c "$(cat "$T/check.py")" 2>&1)"
	inside "copy-$i" 'echo $(cat /data/500) && echo mine >/data/500' | grep -q 500 || fail "a file of the copy"
	[ "$(jq '.pause > 0' "$M/snapshots/live-$i/info.json")" = true ] || fail "how long it stood still: $(cat "$M/snapshots/live-$i/info.json")"
	rmdir "$M/sandboxes/copy-$i"
done
same "the sandbox's own" 500 "$(inside lab 'cat /data/500')"

# In the middle of one that stops, and one that is removed.
inside lab 'kill $(cat /root/pids); head -c 60000000 /dev/urandom >/data/big' || fail "ending the writers"
ctl lab 'snapshot stopping' & taking=$!
ctl lab stop || fail "stop: $(error lab)"
wait $taking || fail "a snapshot of one that stops: $(error lab)"
made from-stopping 'from_snapshot: stopping\n' || fail "$(error from-stopping)"
same "a file" 60000000 "$(inside from-stopping 'stat -c %s /data/big')"
for s in lab from-stopping; do rmdir "$M/sandboxes/$s" || fail "rmdir $s: $(cat "$M/error")"; done
for s in live-1 live-2 live-3 stopping; do eventually 30 rmdir "$M/snapshots/$s"; done
eventually 60 sh -c "[ -z \"\$(find '$S/parts' -mindepth 1 -maxdepth 1 -type d)\" ] && [ \"\$(ls '$S/snapshots')\" = names ]"
