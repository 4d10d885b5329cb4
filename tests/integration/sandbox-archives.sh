#!/bin/bash
# `image` from archives: a tar, a packed one, what docker save writes, an OCI layout and a tar of one; and bad
# ones, which are refused with a sentence or are harmless: nothing outside of the sandbox is written or read.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/root.sh

mount_it
archive() { python3 tests/archives.py "$@" || fail "archives.py $*"; }

# Without Python, for which an environment would be made each time.
tar=$T/root.tar
mkdir "$T/small" && tar -C "$T/small" --exclude='*python3*' -xf "$(root_tar)" && tar -C "$T/small" -cf "$tar" . || fail "a root"
gzip -1 -c "$tar" >"$T/packed.tar.gz"
archive layout "$tar" "$T/layout"; archive saved "$tar" "$T/saved.tar"; archive lay-tar "$tar" "$T/lay.tar"

for i in "$tar" "$T/packed.tar.gz"; do
	made plain "{image: $i, network: none}" || fail "$i: $(error plain)"
	same "$i" "0 yes" "$(inside plain sh -c 'echo $(id -u) $(test -e /var/lib/dpkg || echo yes)')"
	rmdir "$M/sandboxes/plain"
done
said='of the second of the first 3 yes NAME=tested'
for i in layout saved.tar lay.tar; do
	made "of-${i%.tar}" "{image: $T/$i, network: none}" || fail "$i: $(error "of-${i%.tar}")"
	same "$i" "$said" "$(inside "of-${i%.tar}" sh -c 'echo $(cat /data/second /data/kept) $(ls /data | grep -vc full) $OF_IMAGE $(cat /etc/os-release)')"
	same "$i: what was emptied" c "$(inside "of-${i%.tar}" ls /data/full)"
	inside "of-${i%.tar}" sh -c 'case $PATH in */tools:*) ;; *) exit 1; esac' || fail "$i: PATH"
done
archive spread "$tar" "$T/spread"
made spread "{image: $T/spread, network: none}" || fail "a small layer below a large one: $(error spread)"
same "a small layer below a large one" $((70 << 20)) "$(inside spread stat -c %s /data/zeros)"
rmdir "$M/sandboxes/spread"
# Whose bytes are not what the manifest says.
cp -r "$T/layout" "$T/damaged"
big=$(ls -S "$T/damaged/blobs/sha256" | head -n 1)
printf x | dd of="$T/damaged/blobs/sha256/$big" bs=1 seek=5000 conv=notrunc status=none
rm -r "$S"/roots/[0-9a-f]* 2>/dev/null
made damaged "{image: $T/damaged}" 2>/dev/null && fail "a damaged layout"
case $(error damaged) in *"is damaged: its bytes are others"*) ;; *) fail "damaged: $(error damaged)" ;; esac

# Bad ones.
echo untouched >"$T/target"
refused() { # KIND SENTENCE
	archive "$1" "$T/target" "$T/$1.tar"
	mkdir "$M/sandboxes/$1"
	echo "image: $T/$1.tar" >"$M/sandboxes/$1/config"
	timeout 400 sh -c "echo wait >'$M/sandboxes/$1/ctl'" 2>/dev/null && fail "$1 was taken"
	case $(error "$1") in *"$2"*) ;; *) fail "$1: $(error "$1")" ;; esac
	same "$1: the target" untouched "$(cat "$T/target")"
	rmdir "$M/sandboxes/$1"
}
refused dots 'it has a name with `..`'
refused hardlink 'a link to what it does not hold'
refused cut 'is damaged, or cut'
refused checksum 'is damaged, or cut'
refused empty 'is damaged, or cut'
refused bomb 'more than there is room for'
refused sparse 'is not supported'
harmless() {
	archive "$1" "$T/target" "$T/$1.tar"
	mkdir "$M/sandboxes/$1"
	echo "{image: $T/$1.tar, network: none}" >"$M/sandboxes/$1/config"
	timeout 400 sh -c "echo wait >'$M/sandboxes/$1/ctl'" 2>/dev/null
	same "$1: the target" untouched "$(cat "$T/target")"
	same "$1: devices" "" "$(find "$S/roots" \( -type b -o -type c -o -type p \) -print)"
	! inside "$1" cat "$T/target" 2>/dev/null | grep -q untouched || fail "$1: it can be read"
	rmdir "$M/sandboxes/$1"
}
for k in absolute through device; do harmless $k; done
same "nothing is left" "" "$(ls -d "$S"/roots/.making-* 2>/dev/null)"

# What is none, and names.
mkdir "$T/none" "$M/sandboxes/none"
made none "image: $T/none" 2>/dev/null && fail "an empty folder"
case $(error none) in *"holds no system"*) ;; *) fail "none: $(error none)" ;; esac
made none "image: $T/nowhere" 2>/dev/null && fail "nothing"
case $(error none) in *"No such file"*) ;; *) fail "none: $(error none)" ;; esac
echo 'image: python:3.12' >"$M/sandboxes/none/config" 2>/dev/null
same "a name" "line 1: image: on the backend local it is the path of a folder, a .tar or an OCI layout; names such as python:3.12 need backend: docker" "$(error none)"
