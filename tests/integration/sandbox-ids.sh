#!/bin/bash
# `image` of an ordinary user who has subordinate ids: its files belong to its users, who are others inside, chown
# works, snapshots keep owners and stand still whoever's process writes, and nothing stays.
# runs: user
. "$(dirname "$0")/../functions.sh"
. tests/root.sh

mount_it
in_it() { timeout 60 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }
as_www='setpriv --reuid 33 --regid 33 --clear-groups'

# Without Python, for which an environment would be made. `su` asks PAM.
tar=$T/root.tar add=$T/add
mkdir -p "$add"/{srv,home/dev,data/deep,etc/pam.d,usr/lib} "$T/small"
for p in auth account session; do echo "$p sufficient pam_permit.so"; done >"$add/etc/pam.d/su"
for f in /usr/lib/*/security/pam_permit.so; do mkdir -p "$add${f%/*}"; cp "$f" "$add$f"; done
tar -C "$T/small" --exclude='*python3*' -xf "$(root_tar)" && cp -a "$add/." "$T/small/" && rmdir "$T"/small/{srv,data/deep,data} || fail "a root"
grep -q '^www-data:x:33:33:' "$T/small/etc/passwd" || fail "www-data is not 33 here"
tar -C "$T/small" --owner=0 --group=0 --exclude=./home/dev -cf "$tar" . || fail "a tar"
echo web >"$add/srv/page"; echo x >"$add/data/deep/x"; echo note >"$add/home/dev/note"
tar -C "$add" --owner=33 --group=33 --mode=u=rwX,go= -rf "$tar" srv data &&
	tar -C "$add" --owner=1000 --group=1000 -rf "$tar" home/dev || fail "owners"

made one "{image: $tar, network: none}" || fail "one: $(error one) $(tail -n 5 "$M/sandboxes/one/log")"
one=$S/sandboxes/names/one
same "how many ids" 65537 "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["ids"])' <"$M/sandboxes/one/info.json")"
same "whose folders are" "33:33 700 33:33 700 1000:1000 0:0 0:0" \
	"$(in_it one 'echo $(stat -c "%u:%g %a" /srv /data) $(stat -c %u:%g /home/dev /usr/bin /)')"
same "whose files are" "33:33 600 33:33 1000:1000" "$(in_it one 'echo $(stat -c "%u:%g %a" /srv/page) $(stat -c %u:%g /data/deep/x /home/dev/note)')"
same "another user" "33 www-data web" "$(in_it one 'echo $(id -u www-data) $(su -s /bin/sh www-data -c "id -un; cat /srv/page")')"
fails "another's file" in_it one 'su -s /bin/sh www-data -c "echo x >/home/dev/note"'
same "chown" "7:8 2755" "$(in_it one 'cp /bin/true /usr/true && chown 7:8 /usr/true && chmod 2755 /usr/true && stat -c "%u:%g %a" /usr/true')"
same "on this machine" "$(($(sed -n "s/^$(id -un):\([0-9]*\):.*/\1/p" /etc/subuid | head -n 1) + 6))" "$(stat -c %u "$one/box/up/usr/true")"
fails "ids beyond" in_it one 'chown 70000 /usr/true'
in_it one "$as_www sh -c 'umask 77; mkdir /data/own; echo own >/data/own/f'" || fail "a folder of www-data's"

# It goes on after its runner was killed, and after a restart, also when / itself is another's.
in_it one 'chown 33:33 /' || fail "chown /"
kill -9 "$(live_pid "$one/run/pid")"
its_own() { [ "$(in_it one "$as_www cat /data/own/f")" = own ]; }
eventually 5 its_own
ctl one restart || fail "restart: $(error one)"
same "after a restart" "own 7:8 33:33 33:33" "$(in_it one "echo \$($as_www cat /data/own/f) \$(stat -c %u:%g /usr/true /data /)")"
in_it one 'chown 0:0 /' || fail "chown / back"

# A snapshot while www-data writes: the one file is ahead of the other by the line that is being written, at most.
in_it one "$as_www sh -c 'while :; do n=\$((n + 1)); echo \$n >>/srv/a; echo \$n >>/srv/b; sleep 0.01; done' >/dev/null 2>&1 &" || fail "a writer"
eventually 5 in_it one 'test -s /srv/b'
timeout 100 sh -c "echo 'snapshot running' >'$M/sandboxes/one/ctl'" || fail "snapshot: $(error one)"
grep -q pause "$S"/snapshots/names/running/info.json || fail "it did not stand still"
in_it one 'a=$(cat /srv/a); for i in $(seq 400); do [ "$(cat /srv/a)" = "$a" ] || exit 0; sleep 0.1; done; exit 1' || fail "it does not go on"
ctl one stop && timeout 100 sh -c "echo 'snapshot stopped' >'$M/sandboxes/one/ctl'" || fail "snapshot: $(error one)"
for n in running stopped; do
	made "of-$n" "{from_snapshot: $n, network: none}" || fail "of-$n: $(error "of-$n")"
	same "from $n" "33:33 700 7:8 2755 33:33 700 own" \
		"$(in_it "of-$n" "echo \$(stat -c '%u:%g %a' /data /usr/true /data/own) \$($as_www cat /data/own/f)")"
done
same "one moment" yes "$(in_it of-running 'a=$(tail -n 1 /srv/a) b=$(tail -n 1 /srv/b); [ "$a" -gt 0 ] && { [ "$a" = "$b" ] || [ "$a" = $((b + 1)) ]; } && echo yes')"

# Above it setup changes what is another's; with a network, and in that of this machine.
made two "{image: $tar, setup: ['chown -R 1000:1000 /data; mkdir /new; chown 33 /new'], network: full}" || fail "two: $(error two)"
same "above setup" "1000:1000 33:0" "$(in_it two 'echo $(stat -c %u:%g /data /new)')"

# One that began without them, where newuidmap is missing, stays so.
unmount_it
mkdir "$T/bin" && for f in runc crun slirp4netns tar fusermount3 sh python3; do ln -s "$(command -v $f)" "$T/bin/" 2>/dev/null; done
PATH=$T/bin mount_it
made old "{image: $tar, network: none}" || fail "old: $(error old)"
same "without newuidmap" "0:0" "$(in_it old 'echo x >/data/old; stat -c %u:%g /data/deep/x')"
grep -q '"1, root.s: newuidmap is missing: sudo apt-get install -y uidmap"' "$M/sandboxes/old/info.json" || fail "what is told: $(grep ids "$M/sandboxes/old/info.json")"
ctl old stop && unmount_it && mount_it && ctl old start && ctl old wait || fail "old again: $(error old)"
same "with it" "0:0 x" "$(in_it old 'echo $(stat -c %u:%g /data/deep/x) $(cat /data/old)')"
grep -q '"1, root.s: it began when there was no range' "$M/sandboxes/old/info.json" || fail "what is told: $(grep ids "$M/sandboxes/old/info.json")"

# Nothing stays but what sandboxes share.
for n in old one two of-running of-stopped; do rmdir "$M/sandboxes/$n" || fail "rmdir $n"; done
for n in running stopped; do rmdir "$M/snapshots/$n" || fail "rmdir snapshot $n"; done
nothing() { [ -z "$(ls -d "$S"/{sandboxes,snapshots,parts}/*[0-9]* 2>/dev/null)" ]; }
eventually 5 nothing
