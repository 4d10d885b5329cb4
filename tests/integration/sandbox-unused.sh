#!/bin/bash
# What an `image` was unpacked to and what `setup` made of it goes when nothing stands on it: a week after it was
# used, or by doctor --reap, also by one that follows one that was killed; and never before.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/root.sh

mount_it
mkdir "$T/small" && tar -C "$T/small" --exclude='*python3*' -xf "$(root_tar)" && tar -C "$T/small" -cf "$T/root.tar" . || fail "a root"
recipe="{image: $T/root.tar, network: none, setup: ['mkdir /made; chmod 700 /made; echo x >/made/x; chown 0:0 /made']}"
kept() { ls -d "$S"/{roots,images}/[0-9a-f]*[0-9a-f] 2>/dev/null | wc -l; }
reap() { "$INTERPFS" doctor -o "state=$S" --reap >"$T/said" || fail "doctor: $(cat "$T/said")"; }

made one "$recipe" || fail "one: $(error one)"
same "what was made" 2 "$(kept)"
reap; same "one runs" 2 "$(kept)"
ctl one stop; reap; same "one is stopped" 2 "$(kept)"
ctl one 'snapshot kept' && rmdir "$M/sandboxes/one" || fail "snapshot: $(error one)"
eventually 10 test ! -e "$S/sandboxes/2"
reap; same "a snapshot" 2 "$(kept)"
same "what is said" "" "$(cat "$T/said")"
made two '{from_snapshot: kept, network: none}' || fail "two: $(error two)"
same "from it" x "$(inside two cat /made/x)"
rmdir "$M/sandboxes/two" && rmdir "$M/snapshots/kept" || fail "rmdir"
gone() { [ -z "$(ls -d "$S"/{sandboxes,snapshots}/[0-9]* 2>/dev/null)" ]; }
eventually 10 gone
same "for the next one" 2 "$(kept)"

# In test builds the first is killed when nobody can find them any more.
INTERPFS_FAILPOINT=unused-aside:$T/flag "$INTERPFS" doctor -o "state=$S" --reap >"$T/said" 2>&1
same "nobody uses them" 0 "$(kept)"
[ ! -e "$T/flag" ] || reap
same "what is said" 2 "$(grep -cE '^removed +local +unused +(roots|images)/[0-9a-f]{32}$' "$T/said")"
same "what is left" "" "$(ls -A "$S/roots" "$S/images" | grep gone)"

made three "$recipe" || fail "three: $(error three)"
for d in "$S"/{roots,images}/[0-9a-f]*[0-9a-f]; do touch -d '8 days ago' "$d"; done
made other "{image: $T/root.tar, network: none}" || fail "other: $(error other)"
rmdir "$M/sandboxes/other" || fail "rmdir"
other_gone() { [ "$(ls -d "$S"/sandboxes/[0-9]* | wc -l)" = 1 ]; }
eventually 10 other_gone
same "used by one that was begun long ago" 2 "$(kept)"
touch -d '8 days ago' "$S"/roots/[0-9a-f]*[0-9a-f]
rmdir "$M/sandboxes/three" || fail "rmdir three"
eventually 10 gone
same "after a week" 0 "$(kept)"
