#!/bin/bash
# An interface's log and calls.jsonl: a full one gets another name, whoever follows it misses nothing, and no more
# than the two of each are kept.
# runs: root user
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
lab=$M/sandboxes/lab
mkdir "$lab" && echo 'network: none' >"$lab/config" || fail config
loud=$lab/interfaces/loud
mkdir "$loud" || fail mkdir
cat >"$loud/interface.py" <<'END'
COUNT = [0]

@expose
def flood(lines: int):
    for _ in range(lines):
        COUNT[0] += 1
        print("%010d" % COUNT[0], "x" * 1012)

@expose
def echo(number: int, text: str):
    return text
END
echo wait >"$loud/ctl" || fail "wait: $(cat "$loud/error")"
same "nothing is full" "calls.jsonl log" "$(ls "$loud" | grep -E 'log|calls' | xargs)"

# 20 MiB in a file of 16.
numbers() { grep -aoE '^[0-9]{10} x' | cut -c1-10; }
cat "$loud/log.follow" >"$T/followed" & follower=$!
same "a flood" null "$(ask "$loud/functions/flood" '{"lines": 20480}')"
eventually 60 test -e "$loud/log.1"
eventually 60 sh -c "tail -n 1 '$loud/log' | grep -q ^0000020480"
for f in log log.1; do
	[ "$(stat -c %s "$loud/$f")" -le $((16 << 20)) ] || fail "$f has $(stat -c %s "$loud/$f") bytes"
	same "the size of $f" "$(stat -c %s "$loud/$f")" "$(wc -c <"$loud/$f")"
done
cat "$loud/log.1" "$loud/log" | numbers >"$T/numbers"
seq -f %010.0f 20480 | cmp - "$T/numbers" || fail "lines are missing, or twice"
same "listed" "calls.jsonl log log.1" "$(ls "$loud" | grep -E 'log|calls' | xargs)"
fails "another's name" sh -c "echo x >'$loud/log.1'"

# Once more: what was full before is gone, and no more than the two are there. tail -f sees that its file is shorter.
eventually 60 grep -aq ^0000020480 "$T/followed"
tail -f "$loud/log" >"$T/tailed" 2>/dev/null & tailer=$!
on_exit 'kill $tailer 2>/dev/null'
eventually 60 test -s "$T/tailed"
same "another" null "$(ask "$loud/functions/flood" '{"lines": 13000}')"
eventually 60 sh -c "tail -n 1 '$loud/log' | grep -q ^0000033480"
cat "$loud/log.1" "$loud/log" | numbers >"$T/numbers"
seq -f %010.0f "$((10#$(head -n 1 "$T/numbers")))" 33480 | cmp - "$T/numbers" || fail "lines are missing, or twice"
[ "$(wc -l <"$T/numbers")" -lt 33000 ] || fail "nothing went"
eventually 60 grep -aq ^0000033480 "$T/tailed"

# The calls, each line whole.
python3 - "$loud/functions/echo" <<'END' || fail "the calls"
import os, sys
for n in range(160):
    call = os.open(sys.argv[1], os.O_RDWR)
    request = b'{"number": %d, "text": "%s"}' % (n, b"y" * 60000)
    assert os.write(call, request) == len(request)
    got = b""
    while piece := os.read(call, 1 << 20):
        got += piece
    assert len(got) == 60003, got[:200]
    os.close(call)
END
cat "$loud/calls.1.jsonl" "$loud/calls.jsonl" | jq -c 'select(.function == "echo") | .arguments.number' >"$T/calls" || fail "a torn line"
seq 0 159 | cmp - "$T/calls" || fail "calls are missing"
[ "$(stat -c %s "$loud/calls.1.jsonl")" -le $((16 << 20)) ] || fail "calls.1.jsonl is too long"

echo stop >"$lab/ctl" || fail stop
wait "$follower" || fail "the follower"
numbers <"$T/followed" >"$T/numbers"
seq -f %010.0f 33480 | cmp - "$T/numbers" || fail "what was followed"
