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
puts() { closed=$(date +%s%N); echo "$1" >"$2" || fail "close"; }
# at_once WHAT CMD...: what was put is seen by CMD. The mount waits five seconds for a runner that takes nothing; on
# a machine that is that slow it is seen later.
at_once() {
	local what=$1; shift
	"$@" && return
	[ $(($(date +%s%N) - closed)) -gt 4500000000 ] || fail "$what"
	eventually 20 "$@"
}
is() { [ "$("${@:2}")" = "$1" ]; }

for i in $(seq 40); do
	puts "text $i" "$N/markdown"
	case $((i % 4)) in
	0) at_once "listed at once" is "$i" cells ;;
	1) at_once "read at once" is "text $i" cat "$N/cells/$i/source" ;;
	2) at_once "cell $i is not there at once" test -d "$N/cells/$i" ;;
	3) at_once "notebook.ipynb lacks text $i" grep -q "text $i" "$N/notebook.ipynb" ;;
	esac
done
# One open is one text, however many of its writers flush it in between.
closed=$(date +%s%N)
exec 3>"$N/markdown"; echo a >&3; echo b >&3; ( : ) >&3; exec 3>&-
at_once "one text" is "a
b" cat "$N/cells/41/source"
same "one cell" 41 "$(cells)"

# Another source, of a cell that has run before.
same "a cell" one "$(ask "$N/exec" 'print("one")')"
another() { case $(cat "$N/cells/42/output") in $((i - 1)) | one) return 1 ;; esac; }
for i in $(seq 20); do
	puts "print($i)" "$N/cells/42/source"
	at_once "the output is still that of the source before" another
	at_once "the new source" is "print($i)" cat "$N/cells/42/source"
	echo wait >"$N/ctl" || fail "$(cat "$N/error")"
	same "its output" "$i" "$(cat "$N/cells/42/output")"
done
# It ends when a file is there, which only we can make.
puts 'import os, time
while not os.path.exists("/workspace/libraries/enough"): time.sleep(0.05)
print("late")' "$N/cells/42/source"
at_once "it does not wait for the end" is "" cat "$N/cells/42/output"
puts x "$N/cells/42/source" # what is refused then, only `error` can say
at_once "it is refused while it runs" is "cell 42 runs; interrupt it first" sed 's/^.*: cell/cell/' "$N/error"
: >"$M/workspaces/default/libraries/enough"
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
