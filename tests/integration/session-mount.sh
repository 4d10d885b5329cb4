#!/bin/bash
# Sessions as people use them, through the mount and against the strict Messages API: a config, a message, the answer as
# it comes; waits, interrupts, limits; the mount killed while it streams; files out of the sandbox; replay is real.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_STALL_SECONDS=5
python3 -B tests/api/server.py --log "$T/api.log" --key sk-test-0123456789 >"$T/url" & api=$!
on_exit "kill $api"
eventually 10 grep -q http "$T/url"
export ANTHROPIC_BASE_URL ANTHROPIC_API_KEY=sk-test-0123456789
ANTHROPIC_BASE_URL=$(cat "$T/url")
steps() { # JSON
	python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/control", sys.argv[2].encode()).read()' \
		"$ANTHROPIC_BASE_URL" "{\"steps\": $1}" || fail "steps $1"
}
new() { # CONFIG: sets N, the new session's folder
	local n
	exec 3<>"$M/sessions/new"
	printf '%s\n' "$1" >&3 || fail "new: $(cat "$M/error")"
	read -r n <&3 || fail "new: no number: $(cat "$M/error")"
	exec 3>&-
	N=$M/sessions/$n
}
ctl() { # LINE: prints the name of the error that the write met
	python3 -c 'import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
try: os.write(fd, sys.argv[2].encode()); print("ok")
except OSError as e: print(errno.errorcode[e.errno])' "$N/ctl" "$1"
}
mount_it

# A turn: what follows ends with it.
steps '[{"thinking": "hm", "text": "It is two.", "delay": 0.05}]'
new 'provider: claude'
same "a new session" draft "$(cat "$N/state")"
echo 'Be brief.' >"$N/prompt" || fail prompt
echo 'What is it?' >"$N/input" || fail input
timeout 400 cat "$N/messages.follow" >"$T/followed" || fail "follow: $?"
grep -q 'It is two.' "$T/followed" || fail "followed: $(cat "$T/followed")"
same state done "$(cat "$N/state")"
same result "It is two." "$(cat "$N/result")"
same system "Be brief." "$(cat "$N/system")"
same "wait on a session at rest" ok "$(ctl wait)"
fails "the prompt is frozen" sh -c "echo other >'$N/prompt'"
same latest "$(basename "$N")" "$(readlink "$M/sessions/latest")"
grep -rl sk-test-0123456789 "$M" "$S" 2>/dev/null | grep . && fail "the key is readable"
python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["cost"] > 0' "$N/usage" || fail usage
python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["system"][0]["text"] == "Be brief."' "$N/requests/1.json" || fail requests
python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["turns"] == 1' "$N/info.json" || fail info.json

# Refusals and limits: what wait says, and error.
steps '[{"status": 401}]'
echo again >"$N/input"
same "wait: the key is refused" EIO "$(ctl 'wait 400')"
grep -q '401 authentication_error' "$N/error" || fail "error: $(cat "$N/error")"
same state failed "$(cat "$N/state")"
steps '[{"text": "x", "stop": "max_tokens"}]'
echo start >"$N/ctl" || fail start
same "wait: it needs a person" EAGAIN "$(ctl 'wait 400')"
same state limited "$(cat "$N/state")"
steps '[{"status": 529, "retry_after": 600}]'
echo more >"$N/input"
eventually 10 grep -q retrying "$N/state"
grep -q '529 overloaded_error: overloaded error; trying again at 20' "$N/error" || fail "error: $(cat "$N/error")"
same "interrupt" ok "$(ctl interrupt)"
same state interrupted "$(cat "$N/state")"
same error "" "$(cat "$N/error")"
steps '[{"text": "a", "stall": 100}, {"text": "It came back."}]'
echo 'still there?' >"$N/input"
same "a stall passes" ok "$(ctl 'wait 400')"
grep -q '── stalled' "$N/messages" || fail "no word of the stall"

# The mount is killed while the answer streams: nothing is missing at the next one.
words=$(seq -s' ' 1 60)
steps "[{\"text\": \"$words\", \"chunk\": 4, \"delay\": 0.04}]"
echo count >"$N/input"
eventually 10 grep -q '1 2 3 4 5' "$N/messages"
pid=$(awk 'NR == 1 {print $1}' "$S/lock")
kill -9 "$pid" || fail "kill of the mount"
fusermount3 -uz "$M"
eventually 10 sh -c "! kill -0 $pid"
mount_it
same "wait at the next mount" ok "$(ctl 'wait 400')"
same result "$words" "$(cat "$N/result")"
grep -qF "$words" "$N/messages" || fail "messages lost something"

# A sandbox's tools, and what is left in /workspace/outputs.
mkdir "$M/sandboxes/lab" && echo 'network: none' >"$M/sandboxes/lab/config" || fail sandbox
steps '[{"tool": "run_command", "input": {"command": "mkdir -p /workspace/outputs/deep; echo kept >/workspace/outputs/deep/a; ln -s /etc/shadow /workspace/outputs/link; seq 1 40000"}}, {"text": "Left."}]'
new 'sandbox: lab'
echo go >"$N/input"
same "a turn in a sandbox" ok "$(ctl 'wait 400')"
same "an output" kept "$(cat "$N/outputs/deep/a")"
[ ! -e "$N/outputs/link" ] || fail "a link was followed"
same "the whole of a long result is inside" "$(seq 1 40000 | sha256sum)" "$(sha256sum <"$M/sandboxes/lab/fs/workspace/outputs/call-1.txt")"
grep -q 'bytes are left out here; the whole is in /workspace/outputs/call-1.txt' "$N/messages" || fail "no word of the whole"
same "the model gets as much as it may" 1 "$(python3 -c 'import json, sys
t = json.load(open(sys.argv[1]))["messages"][-1]["content"][0]["content"][0]["text"]
print(int(32000 < len(t) < 34000 and t.endswith("40000\n") and t.startswith("1\n2\n")))' "$N/requests/2.json")"
same "a call" run_command "$(cat "$N/calls/1/name")"
same "its state" done "$(cat "$N/calls/1/state")"
same "its sandbox" ../../sandboxes/lab "$(readlink "$N/sandbox")"

# Replay is real: the library changes, and so does what the recorded call returns.
cat >"$T/recording.jsonl" <<'JSON'
{"role":"assistant","content":[{"type":"text","text":"I ask the library."},{"type":"tool_use","id":"toolu_1","name":"run_python","input":{"code":"import answer\nprint('it says', answer.ask())"}}]}
{"role":"assistant","content":[{"type":"text","text":"So it is."}]}
JSON
for said in one two; do
	echo "def ask(): return '$said'" >"$M/workspace/libraries/answer.py" || fail library
	new "{sandbox: lab, provider: replay, replay: $T/recording.jsonl}"
	echo go >"$N/input"
	same "a replay" ok "$(ctl 'wait 400')"
	grep -q "it says $said" "$N/calls/1/result" || fail "the replayed call returned $(cat "$N/calls/1/result")"
	same "its result" "So it is." "$(cat "$N/result")"
done
first=$(basename "$N")
new "{sandbox: lab, provider: replay, replay: $first}"
echo go >"$N/input"
same "a session is a recording" ok "$(ctl 'wait 400')"

# It ends while a turn runs; the sandbox that is used cannot go before.
steps "[{\"text\": \"$words\", \"chunk\": 4, \"delay\": 1}]" # it does not come to its end
new 'sandbox: lab'
echo go >"$N/input"
eventually 20 grep -q '1 2 3' "$N/messages"
fails "a sandbox in use" rmdir "$M/sandboxes/lab"
rmdir "$N" || fail "rmdir"
[ ! -e "$N" ] || fail "it is still there"
eventually 5 sh -c "[ \$(ls -d '$S'/sessions/[0-9]* | wc -l) = 5 ]"
grep -o '"refusal": "[^"]*"' "$T/api.log" | grep . && fail "the server refused something"
true

# Without a key nobody waits for one: the mount has said what it has.
unmount_it
env -u ANTHROPIC_API_KEY -u ANTHROPIC_BASE_URL "$INTERPFS" mount -o "state=$S" "$M" || fail "mount without a key"
new 'provider: claude'
echo hello >"$N/input"
same "wait: no key" EIO "$(ctl 'wait 400')"
grep -q 'ANTHROPIC_API_KEY is not set' "$N/error" || fail "error: $(cat "$N/error")"
python3 -c 'import json, sys; assert json.loads(open(sys.argv[1]).readlines()[-1])["seconds"] < 9' "$N/messages.jsonl" ||
	fail "it waited for a key: $(tail -n 1 "$N/messages.jsonl")"
