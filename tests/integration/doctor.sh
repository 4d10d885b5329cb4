#!/bin/bash
# interpfs doctor tries what it speaks of: a runtime that is there and cannot start anything, a place
# for the state where nothing can be made. It leaves nothing behind.
. "$(dirname "$0")/../functions.sh"
mkdir "$T/home" "$T/bin"
doctor() { XDG_STATE_HOME=$T/home "$@" "$INTERPFS" doctor; }
line() { grep -A1 "^[a-z]* *$1 " "$T/said"; }

doctor env >"$T/said" || fail "a machine that runs these tests: $(cat "$T/said")"
for what in fuse fusermount3 namespaces guest state runtime python venv installer libcurl; do
	line "$what" | grep -q "^ok " || fail "$what: $(cat "$T/said")"
done
same "left behind" "" "$(ls -A "$T/home")"

# Nothing on PATH but fusermount3: what is missing is said with what mends it, and is the exit status.
ln -s "$(command -v fusermount3)" "$T/bin/"
doctor env PATH="$T/bin" >"$T/said" && fail "no runtime, and it exits with 0"
line runtime | grep -q "^missing .*neither crun nor runc" || fail "no runtime: $(cat "$T/said")"
line runtime | grep -q "^ *sudo apt-get install -y runc" || fail "what mends it: $(cat "$T/said")"
line network | grep -q "^advice " || fail "no network helper: $(cat "$T/said")"

# One that is there and does not work.
printf '#!/bin/sh\necho "the moon is in the wrong phase" >&2\nexit 1\n' >"$T/bin/crun"
chmod +x "$T/bin/crun"
doctor env PATH="$T/bin" >"$T/said" && fail "a broken runtime, and it exits with 0"
line runtime | grep -q "^missing .*the moon is in the wrong phase" || fail "a broken runtime: $(cat "$T/said")"
# Where another one works, that one is passed over, and why is said.
if runc=$(command -v runc); then
	ln -s "$runc" "$T/bin/"
	doctor env PATH="$T/bin:$PATH" >"$T/said" || fail "a broken runtime beside one that works: $(cat "$T/said")"
	line runtime | grep -q "^ok .*/runc (.*the moon is in the wrong phase" || fail "a broken runtime beside one that works: $(cat "$T/said")"
fi
same "left behind" "" "$(ls -A "$T/home")"

# Somebody of whom the machine knows a number alone.
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$T" && cp "$INTERPFS" "$(dirname "$INTERPFS")/interpfs-guest" "$T/home/" && chmod 777 "$T/home"
	setpriv --reuid=64999 --regid=64999 --clear-groups env XDG_STATE_HOME="$T/home" ASAN_OPTIONS= "$T/home/interpfs" doctor >"$T/said" &&
		fail "a user without a name, and it exits with 0"
	line fusermount3 | grep -q "^missing .*64999 has no name" || fail "a user without a name: $(cat "$T/said")"
	rm "$T/home/interpfs" "$T/home/interpfs-guest"
fi

# A place where nothing can be made.
XDG_STATE_HOME=/proc/1/nowhere "$INTERPFS" doctor >"$T/said" && fail "no place for the state, and it exits with 0"
line state | grep -q "^missing .*/proc/1/nowhere/interpfs" || fail "no place for the state: $(cat "$T/said")"
grep -q "GB free" "$T/said" && fail "it has a size: $(cat "$T/said")"
line runtime | grep -q "^advice .*not tried" || fail "the runtime without a place: $(cat "$T/said")"
exit 0
