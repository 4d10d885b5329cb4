#!/bin/bash
# A sandbox's own files behind `fs`: live, both ways, never leading out of it, gone while it is stopped.
. "$(dirname "$0")/../functions.sh"
mount_it
L=$M/sandboxes/lab
mkdir "$L"
fails "fs of a draft" ls "$L/fs/"
echo 'network: none' >"$L/config" || fail "config"
echo wait >"$L/ctl" || fail "the sandbox did not start: $(cat "$L/error")"
inside() { local out; exec 9<>"$L/exec"; printf '%s\n' "$1" >&9; out=$(cat <&9); exec 9>&-; printf '%s' "$out"; }

# both ways
echo outside >"$L/fs/root/from-outside" || fail "write"
same "seen inside" outside "$(inside 'cat /root/from-outside')"
inside 'mkdir -p /srv/deep; echo inside > /srv/deep/file; ln -s /srv/deep/file /srv/link; chmod 700 /srv/deep/file'
same "seen outside" inside "$(cat "$L/fs/srv/deep/file")"
for i in 1 2 3; do
	inside "echo number $i of a file that changes > /srv/deep/file"
	same "change $i" "number $i of a file that changes" "$(cat "$L/fs/srv/deep/file")"
	same "its size" 32 "$(stat -c %s "$L/fs/srv/deep/file")"
done
inside 'mv /srv/deep/file /srv/other; echo new > /srv/deep/file'
same "another file of the name" new "$(cat "$L/fs/srv/deep/file")"
inside 'rm /srv/deep/file'
[ ! -e "$L/fs/srv/deep/file" ] || fail "a deleted file is shown"
exec 7<"$L/fs/srv/other"; inside 'echo more >> /srv/other'; same "an open file grows" more "$(tail -n1 <&7)"; exec 7<&-
cp -r "$L/fs/srv" "$T/copy" && same "copied out" more "$(tail -n1 "$T/copy/other")"
same "owner" "$(id -u):$(id -g)" "$(stat -c %u:%g "$L/fs/srv/other")"
cp -a "$T/copy" "$L/fs/root/back" || fail "cp -a in"
same "its owner inside" 0 "$(inside 'stat -c %u /root/back/other')"

# links stay inside
echo host >"$T/secret"
inside "ln -s $T/secret /srv/absolute; ln -s ../../../../../../../../../..$T/secret /srv/up; mkdir /srv/x; ln -s / /srv/x/root
ln -s x/root/../../../../../../../..$T/secret /srv/behind; ln -s /etc/hostname /srv/name; ln -s /proc/1/root/etc /srv/magic; ln -s .. /up"
for l in absolute up behind; do
	if [ "$(cat "$L/fs/srv/$l" 2>/dev/null)" = host ]; then fail "the link $l leads to the host: $(readlink "$L/fs/srv/$l")"; fi
	if (echo x >"$L/fs/srv/$l") 2>/dev/null; then fail "wrote through $l"; fi
done
same "the host's file is as it was" host "$(cat "$T/secret")"
same "absolute is shown relative" ../etc/hostname "$(readlink "$L/fs/srv/name")"
same "and leads to the sandbox's" "$(inside 'cat /etc/hostname')" "$(cat "$L/fs/srv/name")"
same ".. is cut at the root" "$(stat -c %i "$L/fs/")" "$(stat -Lc %i "$L/fs/up")"
[ ! -e "$L/fs/srv/magic/passwd" ] || fail "through /proc/1/root"
same "/proc is empty" "" "$(ls -A "$L/fs/proc")"
same "/sys is empty" "" "$(ls -A "$L/fs/sys")"
fails "nothing can be made in /proc" touch "$L/fs/proc/x"
fails "/proc cannot be moved" mv "$L/fs/proc" "$L/fs/srv/proc"
same "dev null is no way to the host" "" "$(cat "$L/fs/dev/null" 2>/dev/null)"
# a folder that becomes a link while it is used
inside "mkdir /srv/swap; echo a > /srv/swap/f"; cat "$L/fs/srv/swap/f" >/dev/null
inside "mv /srv/swap /srv/swapped; ln -s $T /srv/swap"
if [ "$(cat "$L/fs/srv/swap/secret" 2>/dev/null)" = host ]; then fail "a folder became a link to the host"; fi

# walkers do not run into it
same "grep -r of the tree" "" "$(grep -rl 'number 3 of a file' "$M/sandboxes")"
same "it is not listed" "" "$(ls -A "$M" | grep -F .fs)"

# the workspace is inside, read-only, at once
echo 'def f(): return 42' >"$M/workspace/libraries/lib.py"
same "a library" 42 "$(exec 9<>"$L/python"; printf 'import lib; print(lib.f())\n' >&9; cat <&9; exec 9>&-)"
same "used-by" sandboxes/lab "$(cat "$M/workspace/used-by")"
fails "a workspace in use stays" rmdir "$M/workspaces/default"
case $(cat "$M/error") in *"in use by sandboxes/lab"*) ;; *) fail "error: $(cat "$M/error")" ;; esac
same "read-only inside" "" "$(inside 'touch /workspace/libraries/x 2>/dev/null && echo made; true')"
echo 'python_packages: [numpy]' >"$T/new"; fails "a field that cannot change while it runs" cp "$T/new" "$L/config"
case $(cat "$L/error") in *python_packages*) ;; *) fail "EBUSY names no field: $(cat "$L/error")" ;; esac

# stopped, started
exec 8<"$L/fs/srv/other"
echo stop >"$L/ctl" || fail "stop"
fails "fs of what is stopped" ls "$L/fs/"
fails "a file of what is stopped" cat "$L/fs/srv/other"
case $(LC_ALL=C ls "$L/fs/" 2>&1) in *"not connected"*) ;; *) fail "not ENOTCONN" ;; esac
exec 8<&-
echo restart >"$L/ctl" || fail "restart: $(cat "$L/error")"
same "its files stayed" more "$(tail -n1 "$L/fs/srv/other")"
rmdir "$L" || fail "rmdir"
