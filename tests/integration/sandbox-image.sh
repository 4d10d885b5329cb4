#!/bin/bash
# system_packages and setup: made once, shared, below each sandbox's own files; apt's own sentence when
# there is no such package; what a sandbox had before stays when its config gains them, or loses them.
# runs: root
. "$(dirname "$0")/../functions.sh"

mount_it
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }
recipe='network: none\nsystem_packages: [figlet]\nsetup:\n  - echo of the image >/root/made; echo a >/workspace/a; mkdir -p /var/lib/made\n  - figlet -f mini x >/etc/made\n'

made one "$recipe" || fail "one: $(cat "$M/sandboxes/one/error")"
same "a program of apt's" 0 "$(inside one 'figlet x >/dev/null; echo $?')"
same "apt knows it" ii "$(inside one 'dpkg -l figlet | tail -n 1 | cut -c1-2')"
same "what setup made" "of the image a yes" "$(inside one 'echo $(cat /root/made /workspace/a) $(test -d /var/lib/made -a -s /etc/made && echo yes)')"
grep -q 'Setting up figlet' "$M/sandboxes/one/log" || fail "apt's progress is not in the log"
[ ! -e /usr/bin/figlet-figlet ] || grep -q figlet /var/lib/dpkg/status || fail "it is on this machine"
same "its own hosts" 1 "$(inside one 'grep -c one /etc/hosts')"

# Shared: the second starts without apt, and sees nothing of the first one's changes.
inside one 'echo changed >/root/made; rm /workspace/a; echo b >/workspace/b' || fail "changes"
echo "x" >"$T/file"
made two "${recipe}local_files: [[\"$T/file\", /workspace/file], [\"$T/file\", /var/lib/file]]\n" || fail "two: $(cat "$M/sandboxes/two/error")"
same "images" 1 "$(ls -d "$S"/images/[0-9a-f]* | wc -l)"
fails "apt for the second" grep -q 'Setting up' "$M/sandboxes/two/log"
same "the second's files" "of the image a x x" "$(inside two 'echo $(cat /root/made /workspace/a /workspace/file /var/lib/file)')"
same "through fs" "of the image" "$(cat "$M/sandboxes/two/fs/root/made")"

# Stopped and started again it is as it was.
echo restart >"$M/sandboxes/one/ctl" || fail "restart: $(cat "$M/sandboxes/one/error")"
same "after a restart" "changed b" "$(inside one 'echo $(cat /root/made) $(cd /workspace; ls -d [ab])')"

# A sandbox with files gains an image, and loses it: they stay.
made three 'network: none\n' || fail three
inside three 'echo mine >/workspace/mine; echo mine >/var/lib/mine' || fail "files"
echo stop >"$M/sandboxes/three/ctl" && made three "$recipe" || fail "three: $(cat "$M/sandboxes/three/error")"
same "what was there, and the image" "mine mine a" "$(inside three 'echo $(cat /workspace/mine /var/lib/mine /workspace/a)')"
echo stop >"$M/sandboxes/three/ctl" && made three 'network: none\n' || fail "three: $(cat "$M/sandboxes/three/error")"
same "without the image" "mine mine" "$(inside three 'echo $(cat /workspace/mine /var/lib/mine /workspace/a 2>/dev/null)')"

# A link that setup puts in a folder's place leads nowhere on this machine.
mkdir "$T/outside" && echo secret >"$T/outside/secret"
made linked "network: none\nsetup: [\"rmdir /srv && ln -s $T/outside /srv\"]\n" || fail "linked: $(cat "$M/sandboxes/linked/error")"
same "below a link of setup's" "" "$(inside linked 'ls -A /srv/')"

# Refusals and failures.
made none 'network: none\nsystem_packages: [interpfs-no-such-package]\n' 2>/dev/null && fail "a package that is none"
same "apt's sentence" "system_packages: E: Unable to locate package interpfs-no-such-package" "$(cat "$M/sandboxes/none/error")"
made bad 'network: none\nsetup: [echo so it goes >&2; exit 3]\n' 2>/dev/null && fail "a command that fails"
same "the command's last words" "setup: so it goes" "$(cat "$M/sandboxes/bad/error")"
for wrong in '--help' 'a b' '$(x)'; do
	mkdir -p "$M/sandboxes/wrong"
	fails "system_packages: $wrong" sh -c 'printf "system_packages: [\"%s\"]\n" "$1" >"$2"' sh "$wrong" "$M/sandboxes/wrong/config"
	grep -q 'is no package of apt' "$M/sandboxes/wrong/error" || fail "$wrong: $(cat "$M/sandboxes/wrong/error")"
done
same "what a failed build leaves" "" "$(ls -d "$S"/layers/.build-* 2>/dev/null)"
same "images of failures" 2 "$(ls -d "$S"/images/[0-9a-f]* | wc -l)"
