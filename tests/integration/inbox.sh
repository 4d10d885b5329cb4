#!/bin/bash
# also: threads
# Inboxes and sessions/new: what a close acknowledged is a message, whoever is killed; numbers come
# back on the descriptor that asked, and are never given twice.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
mount_it
made() { # CONFIG: the number
	local n; exec 3<>"$M/sessions/new" && printf '%s\n' "$1" >&3 && read -r n <&3 && echo "$n"; local r=$?; exec 3>&-; return $r
}
same "the first" 1 "$(made 'provider: replay
replay: /dev/null')" 
same "its config" "provider: replay" "$(head -n1 "$M/sessions/1/config")"
same "latest" 1 "$(readlink "$M/sessions/latest")"
made 'provder: x' 2>/dev/null && fail "a refused config made a session"
grep -q provder "$M/error" || fail "error: $(cat "$M/error")"
printf 'provider: replay\nreplay: /dev/null\n' >"$M/sessions/new" || fail "closed without reading"
same "made at the close" 2 "$(basename "$(readlink "$M/sessions/latest")")"
# Six at once: each reads its own.
for i in 1 2 3 4 5 6; do
	python3 - "$M" "$i" >"$T/n$i" <<'PY' & jobs[i]=$!
import os, sys
f = os.open(sys.argv[1] + "/sessions/new", os.O_RDWR)
os.write(f, ("provider: replay\nreplay: /dev/null\nlimits: {turns: %s}\n" % sys.argv[2]).encode())
n = os.read(f, 100).decode().strip()
text = open(sys.argv[1] + "/sessions/" + n + "/config").read()
assert "turns: %s}" % sys.argv[2] in text, (n, text)
print(n)
PY
done
for i in 1 2 3 4 5 6; do wait "${jobs[i]}" || fail "session $i: $(cat "$T/n$i")"; done
same "six numbers" 6 "$(cat "$T"/n? | sort -u | wc -l)"
rmdir "$M/sessions/8" && same "never given twice" 9 "$(made 'provider: replay
replay: /dev/null')"
fails "a number by mkdir" mkdir "$M/sessions/77"

F=$(readlink -f "$S/sessions/names/1")
echo 'first "words"' >"$M/sessions/1/input" || fail input
eventually 5 test -s "$F/inbox/000001.json"
same "the message" '{"kind":"message","content":"first \"words\""}' "$(cat "$F/inbox/000001.json")"
same "empty to readers" "" "$(cat "$M/sessions/1/input")"
printf '[{"type":"text","text":"blocks"}]' >"$M/sessions/1/input" || fail blocks
eventually 5 grep -q '"content":\[{"type":"text","text":"blocks"}\]' "$F/inbox/000002.json"
: >"$M/sessions/1/input" || fail "empty"
mkdir "$M/sessions/draft"
fails "without a config" sh -c "cat $T/n1 >$M/sessions/draft/input"
# What no provider takes would have every later request refused: it is no message.
refused() { # TEXT (as for printf) SENTENCE
	printf "$1" >"$T/text"
	fails "$2" cp "$T/text" "$M/sessions/1/input"
	same "its reason" "$2" "$(cat "$M/sessions/1/error")"
}
refused 'a\nb\0c' 'line 2: a NUL character; this is no text'
refused 'caf\351' 'line 1: not UTF-8 text'
refused '[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]' \
	'block 1: image: it is no picture, not image/png'
printf 'caf\351' >"$T/text"
fails "a prompt that is no text" cp "$T/text" "$M/sessions/draft/prompt"
[ ! -e "$F/inbox/000003.json" ] || fail "it became a message: $(cat "$F/inbox/000003.json")"
# One open is one message, however many echoes; each open has a buffer of its own.
exec 3>"$M/sessions/1/input"; exec 4>"$M/sessions/1/input"
echo a >&3; echo B >&4; echo b >&3
exec 4>&-; exec 3>&-
eventually 5 test -s "$F/inbox/000004.json"
same "the first to close" '{"kind":"message","content":"B"}' "$(cat "$F/inbox/000003.json")"
same "the second" '{"kind":"message","content":"a\nb"}' "$(cat "$F/inbox/000004.json")"
# By rename, too.
echo moved >"$M/sessions/1/.x" && mv "$M/sessions/1/.x" "$M/sessions/1/input" || fail "mv"
eventually 5 grep -q moved "$F/inbox/000005.json"
# A close that was acknowledged is kept, though the mount is killed before the open ends.
exec 3>"$M/sessions/1/input"; echo kept >&3 || fail "echo"
kill -9 "$(awk '{print $1}' "$S/lock")"
exec 3>&-
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
eventually 5 grep -q kept "$F/inbox/000006.json"
eventually 5 sh -c "! ls -A $F/inbox | grep -q kept-"
echo wait >"$M/sessions/1/ctl" || fail wait
# A message that no run was wanted for, because a crash came between.
echo '{"kind":"message","content":"late"}' >"$F/inbox/000007.json"
g=$(cut -d' ' -f1 "$F/want")
unmount_it
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
eventually 5 sh -c "[ \$(cut -d' ' -f1 $F/want) -gt $g ]"
exit 0
