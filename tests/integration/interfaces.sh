#!/bin/bash
# interfaces/IF: functions written as experiments write them, called through the mount: state that is
# kept between calls, dicts and lists, exceptions, results that are no JSON, calls that never return,
# processes that die, a text that is replaced.
# runs: root user
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
lab=$M/sandboxes/lab
mkdir "$lab"
echo 'network: none' >"$lab/config" || fail config
mkdir "$lab/interfaces/petri" || fail mkdir
petri=$lab/interfaces/petri
same "a new one" draft "$(cat "$petri/state")"
fails "the same name again" mkdir "$lab/interfaces/petri"
fails "wait on a draft" sh -c "echo wait >'$petri/ctl'"

call() { ask "$petri/functions/$1" "${2-}"; }

cat >"$petri/interface.py" <<'END'
COUNT = [0]

@expose
def count(by: int = 1) -> dict:
    """Counts."""
    COUNT[0] += by
    print("counted")
    return {"count": COUNT[0]}
END
echo wait >"$petri/ctl" || fail "wait: $(cat "$petri/error")"
same "its state" ready "$(cat "$petri/state")"
same "its functions" count "$(ls "$petri/functions")"
same "a call" '{"count": 1}' "$(call count)"
same "its state is kept" '{"count": 6}' "$(call count '{"by": 5}')"
same "no arguments" '{"count": 7}' "$(call count '{}')"
call count '{"by": "five"}' | jq -e '.error.type == "TypeError" and .error.message == "by must be int, not \"five\""' >/dev/null ||
	fail "a wrong argument"
call count '{"buy": 5}' | jq -e '.error.message == "count has no argument '"'buy'"'; it takes by"' >/dev/null || fail "an unknown argument"
grep -qx counted "$petri/log" || fail "what it prints: $(cat "$petri/log")"
same "who called what" 'file count {"by":5} true {"count":6}' \
	"$(sed -n 2p "$petri/calls.jsonl" | jq -r '"\(.caller) \(.function) \(.arguments) \(.ok) \(.result)"')"
call count >/dev/null
same "an empty line" '{}' "$(tail -n 1 "$petri/calls.jsonl" | jq -c .arguments)"

# As sed -i and mv change it: what takes its place was a file beside it, what it was goes on as one. Nothing is lost by an unmount.
sed -i 's/{"count"/{"counted"/' "$petri/interface.py" || fail "sed -i"
echo wait >"$petri/ctl" || fail "after sed -i: $(cat "$petri/error")"
same "after sed -i" '{"counted": 1}' "$(call count)"
same "what sed left" interface.py "$(ls -A "$petri" | grep -E 'sed|\.py')"
echo '# another' >"$petri/other.py" || fail other.py
cp "$petri/interface.py" "$T/text.py"
mv "$petri/interface.py" "$petri/kept.py" || fail "mv interface.py"
eventually 20 grep -qx draft "$petri/state"
mv -n "$petri/other.py" "$petri/kept.py" # it does not say so in its status
cmp "$petri/kept.py" "$T/text.py" || fail "mv -n put another in its place"
unmount_it
mount_it
same "at the next mount" "interface.py kept.py other.py" "$(ls "$petri" | grep '\.py' | xargs)"
same "what interface.py is without a text" "" "$(cat "$petri/interface.py")"
cmp "$petri/kept.py" "$T/text.py" || fail "interface.py under another name, at the next mount"
mv "$petri/kept.py" "$petri/interface.py" || fail "mv back"
echo wait >"$petri/ctl" || fail "after mv: $(cat "$petri/error")"
same "after mv" '{"counted": 1}' "$(call count)"
cmp "$petri/interface.py" "$T/text.py" || fail "interface.py after mv"
rm "$petri/other.py" || fail rm

rmdir "$petri" || fail rmdir
same "removed" "" "$(ls "$lab/interfaces")"

# As experiments write them: what takes long is loaded at the top, modules lie beside it.
mkdir "$lab/interfaces/petri" || fail mkdir
cp tests/interfaces/petri.py "$petri/interface.py" || fail "cp interface.py"
eventually 60 grep -q failed "$petri/state"
same "without its module" "ModuleNotFoundError: No module named 'helpers' (interface.py, line 7)" "$(cat "$petri/error")"
fails "wait on a failure" sh -c "echo wait >'$petri/ctl'"
cp tests/interfaces/helpers.py "$petri/" || fail "cp helpers.py"
cmp "$petri/helpers.py" tests/interfaces/helpers.py || fail "helpers.py is not what was copied"
# As editors save: the old one becomes a backup, the new one gets its name, the backup goes.
mv "$petri/helpers.py" "$petri/helpers.py~" || fail "a backup"
cp "$petri/helpers.py~" "$petri/.helpers.py.new" && mv "$petri/.helpers.py.new" "$petri/helpers.py" || fail "saved by renaming"
rm "$petri/helpers.py~" || fail "the backup"
same "what is left" helpers.py "$(ls -A "$petri" | grep helpers)"
cmp "$petri/helpers.py" tests/interfaces/helpers.py || fail "helpers.py after it was saved by renaming"
echo wait >"$petri/ctl" || fail "wait: $(cat "$petri/error")"
same "its functions" "big dies fails never no_json not_finite score send_message slow start steer transcript" "$(ls "$petri/functions" | xargs)"

says() { # FUNCTION ARGUMENTS JQ: what comes makes the expression true
	local got
	got=$(call "$1" "$2")
	jq -e "$3" <<<"$got" >/dev/null || fail "$1 $2: $(head -c 2000 <<<"$got")"
}
says start '{"system_prompt": "be brief", "temperature": 1}' '. == {"started": true, "temperature": 1}'
says send_message '{"message": "hi"}' '.answer == "be brief: HI" and .turns == 1'
says send_message '["and"]' '.turns == 2'
says transcript '' 'length == 4 and .[3].role == "assistant"'
says steer '{"name": "anger", "strength": 2}' '. == [2, 4]'
says score '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 2}]}' '. == 3'
says score '{"messages": [{"role": "system", "content": "a"}]}' \
	'.error.message == "messages[0].role must be one of \"user\", \"assistant\", not \"system\""'
says fails '' '.error.type == "ZeroDivisionError" and (.error.traceback | contains("helpers.py\", line 9, in divide"))'
says no_json '' '.error.message == "result['"'vectors'"'][0] is of the type object, which JSON cannot hold"'
says not_finite '' '.error.message == "result['"'loss'"'] is nan, which is no number of JSON"'
says start '{"system_prompt"' '.error.type == "JSONDecodeError"'
same "a result of 60 MB" $((60 * 1048576 + 3)) "$(call big '{"megabytes": 60}' | wc -c)"
says big '{"megabytes": 65}' '.error.message | contains("at most 67108864")'
same "all of it is written down" 13 "$(wc -l <"$petri/calls.jsonl")"
jq -e . "$petri/calls.jsonl" >/dev/null || fail "calls.jsonl"

# What is told of them.
jq -e '.start.properties.system_prompt == {"type":"string","description":"what the target is told first"} and
	.start.properties.temperature.default == 0.7 and .start.required == ["system_prompt"] and
	.score.properties.messages.items.properties.role == {"type":"string","enum":["user","assistant"]} and
	(.score.properties.names.anyOf | length) == 2 and .score.properties.limit.description == "how many count" and
	.send_message.description == "Sends the target a message and returns its answer."' "$petri/schema.json" >/dev/null ||
	fail "schema.json: $(cat "$petri/schema.json")"
same "the library's signatures" "(system_prompt: 'str', *, temperature: 'float' = 0.7) -> 'dict' Begins a conversation anew." \
	"$(PYTHONPATH="$petri/library" python3 -B -c 'import inspect, petri
print(inspect.signature(petri.start), inspect.getdoc(petri.start).split("\n")[0])')"
grep -q "async score(messages: List\[Message\], names: Optional\[List\[str\]\] = None, limit: int = 3) -> float" "$petri/prompt.md" || fail prompt.md
grep -qx "name: petri" "$petri/skill/SKILL.md" || fail SKILL.md

# A call that never returns is given up, and the function can be called again; so can one whose process dies.
echo "timeout 1" >"$petri/ctl" || fail "timeout"
says never '' '.error.type == "TimeoutError"'
says never '' '.error.type == "TimeoutError"'
echo "timeout 0" >"$petri/ctl" || fail "timeout"
says send_message '{"message": "still there"}' '.turns == 3'
says dies '' '.error.type == "ConnectionError"'
echo wait >"$petri/ctl" || fail "after a death: $(cat "$petri/error")"
says send_message '{"message": "anew"}' '.turns == 1'
rm "$lab/fs/tmp/begun" || fail "what never leaves"
( exec 5<>"$petri/functions/never" && echo '{}' >&5 && exec cat <&5 ) >/dev/null & reader=$!
eventually 60 test -e "$lab/fs/tmp/begun"
kill "$reader" # closing in the middle ends it
says send_message '{"message": "again"}' '.turns == 2'

# One at a time, unless parallel says more.
begun=$(date +%s%N)
for i in 1 2 3; do call slow '{"seconds": 0.5}' >/dev/null & pids[i]=$!; done
wait "${pids[@]}"
[ $(($(date +%s%N) - begun)) -ge 1500000000 ] || fail "three calls of half a second each ran at once"
fails "parallel 0" sh -c "echo parallel 0 >'$petri/ctl'"
same "why" "parallel takes a number from 1 to 1024" "$(cat "$petri/error")"
fails "an unknown command" sh -c "echo perish >'$petri/ctl'"
same "why" "unknown command 'perish'; known: wait [SECONDS], restart, parallel COUNT, timeout SECONDS" "$(cat "$petri/error")"
same "its size" "$(($(wc -c <"$petri/error")))" "$(stat -c %s "$petri/error")"
same "the sandbox's own error" "" "$(cat "$lab/error")"
echo "parallel 3" >"$petri/ctl" || fail "parallel"
# Each ends only when all have begun.
cat >"$petri/interface.py" <<'END'
import threading
ALL = threading.Barrier(3, timeout=60)

@expose
def meet():
    ALL.wait()
    return "met"

@expose
def version():
    return 1

@expose
def hold(path: str):
    import os, time
    open(path, "w").close()
    while os.path.exists(path):
        time.sleep(0.01)
    return "the first"
END
echo wait >"$petri/ctl" || fail "$(cat "$petri/error")"
for i in 1 2 3; do call meet >"$T/met.$i" & pids[i]=$!; done
wait "${pids[@]}"
same "three calls at once" 3 "$(cat "$T"/met.* | grep -c '"met"')"

# A call that is under way ends on the old text, what comes later runs on the new.
call hold '{"path": "/tmp/held"}' >"$T/held" & held=$!
eventually 60 test -e "$lab/fs/tmp/held"
printf '@expose\ndef version():\n    return 2\n' >"$petri/interface.py" || fail "another text"
echo wait >"$petri/ctl" || fail "$(cat "$petri/error")"
same "the new text" 2 "$(call version)"
same "its functions" version "$(ls "$petri/functions")"
rm "$lab/fs/tmp/held"
wait "$held"
same "on the old one" '"the first"' "$(cat "$T/held")"

# A new runner finds the process again, with what it holds.
cat >"$petri/interface.py" <<'END'
COUNT = []

@expose
def count():
    COUNT.append(1)
    return len(COUNT)
END
echo wait >"$petri/ctl" || fail "$(cat "$petri/error")"
call count >/dev/null
kill -9 "$(runner_pids | head -n 1)"
eventually 60 sh -c "echo wait >'$petri/ctl'"
same "its state after the runner's death" 2 "$(call count)"

# Another name: what is told of it has that, too.
mv "$petri" "$lab/interfaces/other-name" || fail mv
fails "mv over another" sh -c "mkdir '$petri' && mv -T '$petri' '$lab/interfaces/other-name'"
same "interfaces" "other-name petri" "$(ls "$lab/interfaces" | xargs)"
echo wait >"$lab/interfaces/other-name/ctl" || fail "wait after mv: $(cat "$lab/interfaces/other-name/error")"
same "its library" other_name.py "$(ls "$lab/interfaces/other-name/library")"
same "its state after mv" ready "$(cat "$lab/interfaces/other-name/state")"
rmdir "$petri" && mv "$lab/interfaces/other-name" "$petri" || fail "mv back"
echo wait >"$petri/ctl" || fail "wait after mv: $(cat "$petri/error")"

echo stop >"$lab/ctl" || fail stop
same "of a sandbox that is stopped" stopped "$(cat "$petri/state")"
exec 5<>"$petri/functions/count" && echo '{}' >&5
fails "a call of what is stopped" cat <&5
exec 5>&-
echo start >"$lab/ctl" || fail start
echo wait >"$lab/ctl" || fail "wait: $(cat "$lab/error")"
echo wait >"$petri/ctl" || fail "after a start: $(cat "$petri/error")"
same "it is served again" 1 "$(call count)"

# What it is told to serve is nothing.
: >"$petri/interface.py"
fails "wait on an empty text" sh -c "echo wait >'$petri/ctl'"
same "emptied" draft "$(cat "$petri/state")"
same "no functions" "" "$(ls "$petri/functions")"
