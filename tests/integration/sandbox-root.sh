#!/bin/bash
# `image` on this machine: a folder, a tar, what docker save writes and an OCI layout become a sandbox's /,
# unpacked once however many ask, in which nothing of the host's system is seen; root and an ordinary user
# write everywhere in it.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/root.sh

mount_it

tar=$(root_tar)
mkdir "$T/folder" && tar -C "$T/folder" -xf "$tar" && mkdir "$T/folder/data" && echo of the image >"$T/folder/data/mark" &&
	echo 'NAME=tested' >"$T/folder/etc/os-release" || fail "a folder"

# A folder. Another one at the same time waits for it.
for n in one two; do mkdir "$M/sandboxes/$n"; echo "{image: $T/folder, network: none}" >"$M/sandboxes/$n/config" || fail "config: $(error $n)"; done
for n in one two; do echo wait >"$M/sandboxes/$n/ctl" || fail "$n: $(error $n): $(tail -n 5 "$M/sandboxes/$n/log")"; done
same "roots" 1 "$(ls -d "$S"/roots/[0-9a-f]* | wc -l)"
same "unpacked so often" 1 "$(cat "$M"/sandboxes/*/log | grep -c '^unpacking the image')"
same "its system" "NAME=tested of the image" "$(inside one sh -c 'echo $(cat /etc/os-release /data/mark)')"
same "root inside" 0 "$(inside one id -u)"
for p in / /usr /usr/bin /etc /opt /var /root /home /data /srv /workspace; do
	inside one sh -c "echo x >$p/probe && rm $p/probe" || fail "$p cannot be written"
done
inside one sh -c 'echo changed >/data/mark; rm /usr/bin/tac; ln -s x /etc/link' 2>/dev/null
same "the second's is its own" "of the image" "$(inside two cat /data/mark)"
same "and the folder" "of the image" "$(cat "$T/folder/data/mark")"
same "nothing of this machine's" "" "$(inside one sh -c 'ls /usr/share/doc /var/lib/dpkg /usr/sbin/apt 2>/dev/null')"
same "through fs" changed "$(cat "$M/sandboxes/one/fs/data/mark")"

# It stays on it, whatever becomes of the folder.
echo changed >"$T/folder/data/mark"; echo later >"$T/folder/data/later"
echo restart >"$M/sandboxes/two/ctl" || fail "restart: $(error two)"
same "after a restart" "of the image" "$(inside two cat /data/mark)"
fails "what came later" inside two cat /data/later
made three "{image: $T/folder, network: none}" || fail "three: $(error three)"
same "a new one has the folder as it is" later "$(inside three cat /data/later)"
