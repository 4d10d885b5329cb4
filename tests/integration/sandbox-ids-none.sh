#!/bin/bash
# `image` of an ordinary user who has no subordinate ids: all files are root's inside, and info.json says how there
# would be more. It runs as nobody, whom no distribution gives any.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/root.sh

if [ "$(id -u)" = 0 ]; then
	grep -qE '^(nobody|65534):' /etc/subuid && fail "nobody has subordinate ids here"
	cache=$T/own/.cache/interpfs-tests
	mkdir -p "$cache" "$T/copy/build" && cp "$(root_tar)" "$cache/" && cp -a tests share "$T/copy/" &&
		cp "$INTERPFS" "$(dirname "$INTERPFS")/interpfs-guest" "$T/copy/build/" && chown -R nobody "$T/own" && chmod 755 "$T" &&
		chmod -R a+rX "$T/copy" || fail "a copy"
	setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups env HOME="$T/own" XDG_CACHE_HOME= TMPDIR="$T/own" \
		INTERPFS="$T/copy/build/interpfs" "$T/copy/tests/integration/$NAME.sh" || fail "as nobody"
	exit 0
fi

mount_it
mkdir "$T/small" "$T/small/data" && tar -C "$T/small" --exclude='*python3*' -xf "$(root_tar)" && echo x >"$T/small/data/x" &&
	tar -C "$T/small" --owner=33 --group=33 -cf "$T/root.tar" . || fail "a root"
made one "{image: $T/root.tar, network: none}" || fail "one: $(error one)"
told=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["ids"])' <"$M/sandboxes/one/info.json")
case $told in
"1, root's: no range of ids is nobody's in /etc/subuid: sudo usermod --add-subuids "[0-9]*-[0-9]*" --add-subgids "[0-9]*-[0-9]*" nobody") ;;
*) fail "what is told: $told" ;;
esac
same "whose files are" "0 0:0" "$(inside one sh -c 'echo $(id -u) $(stat -c %u:%g /data/x)')"
fails "chown" inside one chown 33 /data/x
"$INTERPFS" doctor -o "state=$S" | grep -A1 '^advice *ids ' | grep -q '^ *sudo usermod --add-subuids ' || fail "doctor: $("$INTERPFS" doctor -o "state=$S")"
rmdir "$M/sandboxes/one" && [ ! -e "$S/ids" ] || fail "what is left"
