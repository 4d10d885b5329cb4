#!/bin/bash
# interfaces/IF: functions written as experiments write them, called through the mount: state that is
# kept between calls, dicts and lists, exceptions, results that are no JSON, calls that never return,
# processes that die, a text that is replaced.
# runs: root user
. "$(dirname "$0")/../functions.sh"
mount_it
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

rmdir "$petri" || fail rmdir
same "removed" "" "$(ls "$lab/interfaces")"
