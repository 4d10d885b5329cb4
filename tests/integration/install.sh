#!/bin/bash
# runs: root
# `make install`, then `mount -t interpfs` by mount(8) with the options that it adds, the fstab's
# among them; a remount over a dead mount of ours; umount.
. "$(dirname "$0")/../functions.sh"
make -s install DESTDIR="$T/root" PREFIX=/usr BUILD="$(dirname "$INTERPFS")" >"$T/install.log" 2>&1 || { cat "$T/install.log"; fail "make install"; }
for f in usr/bin/interpfs usr/libexec/interpfs/interpfs-guest usr/share/interpfs/prices.json usr/share/man/man5/interpfs.5; do
	[ -e "$T/root/$f" ] || fail "$f is not installed"
done
[ -L "$T/root/sbin/mount.interpfs" ] || fail "no helper for mount(8)"

# mount(8) looks in /sbin alone: this test's helper goes there under a type of its own.
type=interpfs-test-$$
ln -s "$T/root/usr/bin/interpfs" "$T/mount.interpfs"
printf '#!/bin/sh\nexec "%s" "$@"\n' "$T/mount.interpfs" >"/sbin/mount.$type"
chmod 0755 "/sbin/mount.$type"
on_exit "rm -f /sbin/mount.$type"
mount -t "$type" interpfs "$M" -o "state=$S,nofail,_netdev,noexec,nosuid,nodev,x-test" || fail "mount(8)"
same "the type" fuse.interpfs "$(findmnt -n -o FSTYPE "$M")"
mkdir "$M/sandboxes/a" || fail "mkdir in it"
umount "$M" || fail "umount"
mount -f -t "$type" interpfs "$M" -o "state=$S" || fail "a fake mount"
mountpoint -q "$M" && fail "a fake mount mounted"

# The installed program finds its guest.
same "doctor's guest" "$T/root/usr/libexec/interpfs/interpfs-guest" "$("$T/root/usr/bin/interpfs" doctor | awk '$2 == "guest" {print $3}')"

# A dead mount of ours is cleaned up by the next.
mount -t "$type" interpfs "$M" -o "state=$S" || fail "mount(8) again"
read -r pid _ <"$S/lock"
kill -9 "$pid"
eventually 5 sh -c "! ls '$M' 2>/dev/null"
mount -t "$type" interpfs "$M" -o "state=$S" || fail "mount(8) over a dead mount"
same "what is there" a "$(ls "$M/sandboxes")"
