#!/bin/bash
# system_packages and setup above an image of this machine: by what package manager is in it, made once for all
# that name the same, also of an ordinary user, who is its root; a snapshot of it goes on above the same image.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/root.sh

mount_it
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }
why() { cat "$M/sandboxes/$1/error"; tail -n 8 "$M/sandboxes/$1/log"; }

# With this machine's apt, and what its dpkg knows.
mkdir "$T/folder" && tar -C "$T/folder" --exclude='*python3*' -xf "$(root_tar)" || fail "a root"
for p in apt dpkg libc-bin perl-base gpgv coreutils diffutils findutils mawk sed grep debian-archive-keyring ubuntu-keyring libapt-pkg6.0 tar debconf; do dpkg -L $p 2>/dev/null; done |
	sed 's,^/\(lib\|bin\|sbin\)/,/usr/\1/,' | sort -u | while read -r f; do [ -f "$f" ] && echo "${f#/}"; done >"$T/list"
while read -r f; do ldd "/$f" 2>/dev/null; done < <(grep -E '/(s?bin|lib|methods)/' "$T/list") | grep -o '/[^ ]*' | sort -u |
	while read -r l; do echo "${l#/}"; readlink -f "$l" | cut -c2-; done | sed 's,^\(lib\|lib64\)/,usr/\1/,' | sort -u >>"$T/list"
echo etc/apt >>"$T/list"
find /etc/ca-certificates* /etc/ssl/certs /usr/share/ca-certificates -type f -o -type l 2>/dev/null | cut -c2- >>"$T/list"
tar -C / --exclude='etc/apt/auth*' -chf - -T "$T/list" 2>/dev/null | tar -C "$T/folder" -xf - 2>/dev/null
mkdir -p "$T/folder"/var/lib/{apt/lists/partial,dpkg/updates} "$T/folder"/var/cache/{apt/archives/partial,debconf} "$T/folder/var/log/apt"
cp -r /var/lib/dpkg/{status,info} "$T/folder/var/lib/dpkg/" 2>/dev/null; touch "$T/folder/var/lib/dpkg/lock"
# Its programs are few: what other packages of this machine would do is not done.
rm -f "$T/folder"/var/lib/dpkg/info/*.triggers
echo 'DPkg::NoTriggers "true"; DPkg::ConfigurePending "false"; DPkg::TriggersPending "false";' >"$T/folder/etc/apt/apt.conf.d/50few"

recipe="image: $T/folder\nnetwork: none\nsystem_packages: [tree]\nsetup:\n  - echo of setup >/root/made; mkdir -p /data/deep; echo x >/data/deep/x; rm /usr/bin/tac\n  - tree /etc/apt >/etc/made\n"
made one "$recipe" || fail "one: $(why one)"
same "what was made" "of setup x yes" "$(inside one 'echo $(cat /root/made /data/deep/x) $(test -s /etc/made && echo yes)')"
same "a program of apt's" 0 "$(inside one 'tree /data >/dev/null; echo $?')"
fails "what setup removed" inside one 'test -e /usr/bin/tac'
same "the image itself" "" "$(find "$S/roots" -name tree -o -name made)"
made two "$recipe" || fail "two: $(why two)"
fails "apt for the second" grep -q 'Unpacking' "$M/sandboxes/two/log"
inside one 'echo changed >/data/deep/x; echo mine >/usr/mine' || fail "changes"
same "the second is its own" x "$(inside two 'cat /data/deep/x')"

# A snapshot, and one that begins with it.
echo stop >"$M/sandboxes/one/ctl" && echo 'snapshot kept' >"$M/sandboxes/one/ctl" || fail "snapshot: $(cat "$M/sandboxes/one/error")"
made three "from_snapshot: kept\nnetwork: none\n" || fail "three: $(why three)"
same "from a snapshot" "changed mine of setup" "$(inside three 'echo $(cat /data/deep/x /usr/mine /root/made)')"
fails "what was removed before" inside three 'test -e /usr/bin/tac'

# What fails is said in its own words.
made four "image: $T/folder\nsetup: [echo about to >&2; exit 3]\n" 2>/dev/null && fail "a setup that fails"
case $(cat "$M/sandboxes/four/error") in *"setup: about to"*) ;; *) fail "four: $(why four)" ;; esac
