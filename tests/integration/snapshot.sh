#!/bin/bash
# Snapshots of a stopped sandbox: what it had written is kept as it is, both it and what begins from it go on from
# there, and neither sees the other's changes; fields that are left out are the snapshot's; refusals; removal in
# any order, after which nothing is left.
. "$(dirname "$0")/../functions.sh"

mount_it
warm_up
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }
parts() { find "$S/parts" -mindepth 1 -maxdepth 1 -type d | wc -l; }

# All that a file can be, in a folder of the host's system, in plain ones, in one of its own, and in /.
cat >"$T/fill.py" <<'END'
import os, socket, sys
for top in "/usr/local/t", "/root/t", "/workspace/t", "/tmp/t", "/data", "/etc/t":
    os.makedirs(top)
    os.chdir(top)
    open("file", "w").write("text\n")
    os.chmod("file", 0o4751)
    os.utime("file", (1e9, 1.1e9))
    os.link("file", "other-name")
    os.symlink("file", "link")
    open("locked", "w").write("locked\n")
    os.chmod("locked", 0)
    os.mkdir("closed")
    open("closed/in", "w").write("in\n")
    os.chmod("closed", 0)
    with open("sparse", "wb") as f:
        f.seek(50 << 20)
        f.write(b"end")
    os.mkfifo("pipe")
    socket.socket(socket.AF_UNIX).bind("socket")
    os.mkdir("empty")
    os.chmod("empty", 0o1777)
    open("Ünïcode name\nand line", "w").close()
    try:
        os.setxattr("file", "user.note", b"an attribute")
    except OSError:
        pass
open("/top", "w").write("top\n")
os.symlink("usr/local", "/toplink")
os.remove("/etc/issue.net") if os.path.exists("/etc/issue.net") else None
END
cat >"$T/tell.py" <<'END'
import hashlib, os
def tell(path):
    st = os.lstat(path)
    out = [path, oct(st.st_mode), st.st_nlink if not os.path.isdir(path) else "", st.st_uid, st.st_gid, st.st_mtime]
    if os.path.islink(path):
        out.append(os.readlink(path))
    elif os.path.isfile(path):
        out += [st.st_size, st.st_blocks < 100, hashlib.sha256(open(path, "rb").read()).hexdigest()[:8], sorted(os.listxattr(path))]
    print(*[repr(o) for o in out])
    if os.path.isdir(path) and not os.path.islink(path):
        for name in sorted(os.listdir(path)):
            tell(path + "/" + name)
for top in "/usr/local/t", "/root/t", "/workspace/t", "/tmp/t", "/data", "/etc/t", "/top", "/toplink":
    tell(top)
print(os.path.exists("/etc/issue.net"))
END
run_python() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- python3 -c "$(cat "$2")"; }

fails "a snapshot of a draft" sh -c "mkdir $M/sandboxes/lab; echo snapshot x >$M/sandboxes/lab/ctl"
made lab 'network: none\nenv: {GREETING: hello}\ntimeout: 7200\n' || fail "lab: $(error lab)"
run_python lab "$T/fill.py" || fail "files"
run_python lab "$T/tell.py" >"$T/before" || fail "telling"
grep -q sparse "$T/before" || fail "nothing was told: $(cat "$T/before")"
ctl lab stop || fail "stop"
ctl lab 'snapshot base' || fail "snapshot: $(error lab)"
same "snapshots" base "$(ls "$M/snapshots")"
same "from" sandboxes/lab "$(cat "$M/snapshots/base/from")"
same "its config" hello "$(jq -r .env.GREETING "$M/snapshots/base/config")"
eventually 20 test -s "$M/snapshots/base/size"
[ "$(cat "$M/snapshots/base/size")" -gt 4096 ] && [ "$(cat "$M/snapshots/base/size")" -lt 20000000 ] || fail "size: $(cat "$M/snapshots/base/size")"
echo "what it is" >"$M/snapshots/base/description" && same "description" "what it is" "$(cat "$M/snapshots/base/description")" || fail "description"

# The sandbox goes on.
ctl lab start && ctl lab wait || fail "start: $(error lab)"
run_python lab "$T/tell.py" >"$T/after" || fail "telling"
cmp "$T/before" "$T/after" || fail "the sandbox after its snapshot: $(diff "$T/before" "$T/after")"
inside lab 'echo changed >/root/t/file; rm -r /data/empty; echo new >/data/new; echo new >/new-top; rm /usr/local/t/pipe' || fail "changes"

# Another one from it, with the fields that were left out.
made two 'from_snapshot: base\ntimeout: 100\n' || fail "two: $(error two)"
run_python two "$T/tell.py" >"$T/two" || fail "telling"
cmp "$T/before" "$T/two" || fail "a sandbox from the snapshot: $(diff "$T/before" "$T/two")"
same "its own name" "1 two" "$(inside two 'echo $(grep -c two /etc/hosts) $(hostname)')"
same "fields" "none 100 hello" "$(jq -r '[.config.network, .config.timeout, .config.env.GREETING] | join(" ")' "$M/sandboxes/two/info.json")"
same "a variable" hello "$(inside two 'echo $GREETING')"
inside two 'echo two >/root/t/file; rm -r /workspace/t' || fail "changes of the second"
same "the first's" "changed yes" "$(inside lab 'echo $(cat /root/t/file) $(test -d /workspace/t && echo yes)')"

# A snapshot of what came from one, and a sandbox from that.
ctl two stop && ctl two 'snapshot second' || fail "the second snapshot: $(error two)"
same "lineage" "sandboxes/two snapshots/base sandboxes/lab" "$(tr '\n' ' ' <"$M/snapshots/second/from" | sed 's/ $//')"
ctl two start && ctl two wait || fail "two again: $(error two)"
made three 'from_snapshot: second\n' || fail "three: $(error three)"
same "what it has" "two no text" "$(inside three 'echo $(cat /root/t/file) $(test -d /workspace/t || echo no) $(cat /data/file)')"
# A second one of the first.
ctl lab stop && ctl lab 'snapshot again' && ctl lab start && ctl lab wait || fail "again: $(error lab)"
made four 'from_snapshot: again\n' || fail "four: $(error four)"
for b in lab four; do
	same "$b" "changed new new no no" "$(inside $b 'echo $(cat /root/t/file /data/new /new-top) $(test -e /data/empty || echo no) $(test -e /usr/local/t/pipe || echo no)')"
done

# One that is removed while its size is still counted.
inside four 'mkdir /root/many; for i in $(seq 60); do mkdir /root/many/$i; (cd /root/many/$i; touch $(seq 100)); done' || fail "many files"
had=$(parts)
for i in 1 2 3 4; do ctl four 'snapshot quick' && rmdir "$M/snapshots/quick" || fail "quick: $(error four)"; done
eventually 60 sh -c "[ \$(find '$S/parts' -mindepth 1 -maxdepth 1 -type d | wc -l) = $had ]"

# Refusals say why.
refused() { # ERRNO-TEXT SENTENCE NAME COMMAND
	local said
	said=$(bash -c 'echo "$1" >"$2"' sh "$4" "$M/sandboxes/$3/ctl" 2>&1) && fail "'$4' went well"
	case $said in *"$1"*) ;; *) fail "'$4': $said" ;; esac
	case $(error "$3") in *"$2"*) ;; *) fail "'$4': $(error "$3")" ;; esac
}
refused "File exists" "there is a snapshot 'base' already" lab 'snapshot base'
refused "Invalid argument" "snapshot takes a name" lab 'snapshot'
refused "Invalid argument" "must not contain '/'" lab 'snapshot a/b'
refused "Invalid argument" "must not begin with a dot" lab 'snapshot .hidden'
mkdir "$M/sandboxes/bad"
for line in 'from_snapshot: bas' 'from_snapshot: [base]' 'python_packages: [six]\nfrom_snapshot: base' 'backend: docker\nfrom_snapshot: base'; do
	fails "$line" sh -c "printf '$line\n' >$M/sandboxes/bad/config && echo wait >$M/sandboxes/bad/ctl"
done
fails "mkdir" mkdir "$M/snapshots/x"
grep -q "a snapshot is made by: echo 'snapshot NAME'" "$M/error" || fail "mkdir: $(cat "$M/error")"
made failing 'network: none\nlocal_files: [[/etc/hostname, /workspace/x/]]\n' && fail "a sandbox that cannot start"
refused "Invalid argument" "it has never been ready" failing 'snapshot nothing'
fails "rmdir of what is used" rmdir "$M/snapshots/base"
same "in use" "snapshots/base is in use by sandboxes/two" "$(cat "$M/error")"
same "snapshots" "again base second" "$(ls "$M/snapshots" | tr '\n' ' ' | sed 's/ $//')"

# A new name, and the next mount.
mv "$M/snapshots/base" "$M/snapshots/first" || fail "rename"
unmount_it
mount_it
same "after a mount" "again first second" "$(ls "$M/snapshots" | tr '\n' ' ' | sed 's/ $//')"
same "its description" "what it is" "$(cat "$M/snapshots/first/description")"
eventually 60 inside lab true

# Removal in any order; what still stands on a part keeps it.
rmdir "$M/sandboxes/lab" "$M/snapshots/again" 2>/dev/null
ctl two stop; rmdir "$M/snapshots/first" || fail "removal: $(cat "$M/error")"
eventually 60 sh -c "[ \$(ls '$S/snapshots' | wc -l) -le 3 ]"
ctl three stop && ctl three start && ctl three wait || fail "three without the snapshot below its own: $(error three)"
same "what it has" "two text" "$(inside three 'echo $(cat /root/t/file /data/file)')"
for b in two three four bad failing; do rmdir "$M/sandboxes/$b" || fail "rmdir $b"; done
for b in again second; do
	[ ! -d "$M/snapshots/$b" ] || eventually 30 rmdir "$M/snapshots/$b"
done
eventually 60 sh -c "[ -z \"\$(find '$S/parts' -mindepth 1 -maxdepth 1 -type d)\" ]"
eventually 60 sh -c "[ \"\$(ls '$S/snapshots')\" = names ]"
