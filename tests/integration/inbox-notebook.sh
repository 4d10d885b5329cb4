#!/bin/bash
# also: threads
# A shell's close of a notebook's inbox returns before its runner has the text. Whatever the shell looks at next
# shows what became of it all the same, unless the runner is stuck.
. "$(dirname "$0")/../functions.sh"
mount_it; warm_up
N=$M/notebooks/probe
mkdir "$M/sandboxes/lab" "$N"; echo 'network: none' >"$M/sandboxes/lab/config"; echo 'sandbox: lab' >"$N/config"
echo wait >"$N/ctl" || fail "$(cat "$N/error")"
cells() { ls "$N/cells" | wc -l; }

for i in $(seq 40); do
	echo "text $i" >"$N/markdown" || fail "close"
	case $((i % 4)) in
	0) same "listed at once" "$i" "$(cells)" ;;
	1) same "read at once" "text $i" "$(cat "$N/cells/$i/source")" ;;
	2) [ -d "$N/cells/$i" ] || fail "cell $i is not there at once" ;;
	3) grep -q "text $i" "$N/notebook.ipynb" || fail "notebook.ipynb lacks text $i" ;;
	esac
done
# One open is one text, however many of its writers flush it in between.
exec 3>"$N/markdown"; echo a >&3; echo b >&3; ( : ) >&3; exec 3>&-
same "one text" "a
b" "$(cat "$N/cells/41/source")"
same "one cell" 41 "$(cells)"

# Another source, of a cell that has run before.
same "a cell" one "$(ask "$N/exec" 'print("one")')"
for i in $(seq 20); do
	echo "print($i)" >"$N/cells/42/source" || fail "close"
	case $(cat "$N/cells/42/output") in $((i - 1)) | one) fail "the output is still that of the source before" ;; esac
	same "the new source" "print($i)" "$(cat "$N/cells/42/source")"
	echo wait >"$N/ctl" || fail "$(cat "$N/error")"
	same "its output" "$i" "$(cat "$N/cells/42/output")"
done
echo 'import time; time.sleep(2); print("late")' >"$N/cells/42/source"
same "it does not wait for the end" "" "$(cat "$N/cells/42/output")"
echo x >"$N/cells/42/source" # what is refused then, only `error` can say
same "it is refused while it runs" "cell 42 runs; interrupt it first" "$(sed 's/^.*: cell/cell/' "$N/error")"
echo wait >"$N/ctl" || fail "$(cat "$N/error")"
same "a wait waits for the end" late "$(cat "$N/cells/42/output")"

# A runner that takes nothing is not waited for long, however often it is sent more.
pid=$(live_pid "$S"/notebooks/*/run/pid)
kill -STOP "$pid"
on_exit "kill -CONT $pid 2>/dev/null"
echo stuck >"$N/markdown" || fail "close"
same "not yet" 42 "$(timeout 60 ls "$N/cells" | wc -l)"
( for _ in $(seq 200); do echo more >"$N/markdown"; sleep 0.3; done ) & writer=$!
on_exit "kill $writer 2>/dev/null"
same "not yet, with more on the way" 42 "$(timeout 60 ls "$N/cells" | wc -l)"
kill -0 $writer 2>/dev/null || fail "it was waited for as long as more was sent"
kill $writer
( echo interrupt >"$N/ctl" ) & caller=$!
kill -CONT "$pid"
wait $caller || fail "a command after it"
eventually 20 test -d "$N/cells/43"
