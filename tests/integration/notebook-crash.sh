#!/bin/bash
# kill -9 while a cell prints: of the notebook's runner, of the sandbox's runner, of the mount, and at
# each named step. The kernel goes on and keeps what it holds, no byte is missing, nothing runs twice.
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
nb=$M/notebooks/probe lab=$M/sandboxes/lab
mkdir "$lab" "$nb"
echo 'network: none' >"$lab/config"
echo 'sandbox: lab' >"$nb/config"
echo wait >"$nb/ctl" || fail "wait: $(cat "$nb/error")"
ask "$nb/exec" 'import time; runs = []' >/dev/null
cells() { ls "$nb/cells" | wc -l; }
pid_of() { head -n 1 "$S/$1"/[0-9]*/run/pid | cut -d' ' -f1; }

# prints: begins a cell that prints 60 lines in 3 s, returns when it has begun
prints() {
	n=$(( $(cells) + 1 ))
	( ask "$nb/exec" 'runs.append(1)
for i in range(60): print(i, flush=True); time.sleep(0.05)' >"$T/answer" 2>&1 ) & caller=$!
	eventually 20 grep -qx 5 "$nb/cells/$n/output"
}
# whole: that cell has all its lines and ended well, and ran once
whole() {
	eventually 40 grep -qx ok "$nb/cells/$n/state"
	eventually 10 grep -qx idle "$nb/state"
	same "$1: the kernel kept what it held, each cell ran once" $((++ran)) "$(ask "$nb/eval" 'len(runs)')"
	# What was on its way to a runner when it was killed is lost with it, and the cell says so there.
	case $1 in *runner | *both)
		if grep -q 'output may be missing here' "$nb/cells/$n/output"; then
			grep -v missing "$nb/cells/$n/output" | sort -nC || fail "$1: $(tr '\n' ' ' <"$nb/cells/$n/output")"
			return
		fi ;;
	esac
	seq 0 59 | cmp - "$nb/cells/$n/output" || fail "$1: lines are missing: $(tr '\n' ' ' <"$nb/cells/$n/output")"
	same "$1: the notebook's text" "$(seq 0 59)" "$(python3 -c 'import json, sys
print("".join("".join(o["text"]) for o in json.load(open(sys.argv[1]))["cells"][int(sys.argv[2]) - 1]["outputs"]), end="")' "$nb/notebook.ipynb" "$n")"
}
ran=0

echo "the notebook's runner"
prints
kill -9 "$(pid_of notebooks)"
wait "$caller"
whole "after the notebook's runner"

echo "the sandbox's runner"
prints
kill -9 "$(pid_of sandboxes)"
whole "after the sandbox's runner"
wait "$caller"

echo "the mount"
prints
read -r daemon _ <"$S/lock"
kill -9 "$daemon"
wait "$caller"
fusermount3 -uz "$M"
mount_it
whole "after the mount"

echo "the notebook's runner, while nothing of interpfs looks"
prints
read -r daemon _ <"$S/lock"
runner=$(pid_of notebooks)
kill -9 "$daemon" "$runner"
wait "$caller"
fusermount3 -uz "$M"
sleep 4 # the cell ends while nobody listens: the time it needs is what is tested
mount_it
whole "after both"

echo "the notebook's runner, before it acts on a restart"
runner=$(pid_of notebooks)
wanted=$(cut -d' ' -f1 "$S"/notebooks/[0-9]*/want)
kill -STOP "$runner"
(echo restart >"$nb/ctl") & caller=$!
eventually 10 sh -c "[ \"\$(cut -d' ' -f1 $S/notebooks/[0-9]*/want)\" -gt $wanted ]"
kill -9 "$runner"
wait $caller || fail "restart: $(cat "$nb/error")"
same "a new kernel" False "$(ask "$nb/eval" '"runs" in globals()')"
address=$(cat "$nb/url")
same "kernels" 1 "$(curl -sf "${address%%\?*}api/kernels?token=${address#*token=}" | jq length)"
ask "$nb/exec" 'import time; runs = []' >/dev/null
ran=0

echo "each step"
echo shutdown >"$nb/ctl" || fail shutdown # so that its next runner inherits the step
unmount_it
# answers CODE: what the kernel says to it, once there is a runner that can ask
answers() {
	eventually 40 sh -c "exec 9<>'$nb/eval'; printf '%s\n' '$1' >&9; cat <&9 >'$T/answered'"
	eventually 10 grep -qx idle "$nb/state"
}
for step in notebook-starting notebook-kernel notebook-add notebook-added notebook-send notebook-sent notebook-finish; do
	INTERPFS_FAILPOINT=$step:$T/$step mount_it
	echo restart >"$nb/ctl" || fail "$step: restart: $(cat "$nb/error")"
	# Its caller may be cut off; it may have run, but not twice.
	( ask "$nb/exec" 'once = globals().get("once", 0) + 1' ) >/dev/null 2>&1
	answers 'globals().get("once", 0)'
	once=$(cat "$T/answered")
	case $once in 0 | 1) ;; *) fail "$step: the cell ran '$once' times" ;; esac
	same "$step: a cell" 2 "$(ask "$nb/exec" 1+1)"
	grep -lE '^(busy|queued)$' "$nb"/cells/*/state && fail "$step: a cell did not end"
	echo shutdown >"$nb/ctl" || fail "$step: shutdown"
	unmount_it
	# Builds without failpoints end here: then the steps are tested by those that have them.
	[ -e "$T/$step" ] || { strings "$INTERPFS" | grep -q INTERPFS_FAILPOINT && fail "$step was never reached"; }
done

# The notebook's file and the cell's own say the same of its source, whichever it is.
agrees() {
	python3 -c 'import json, sys
n = json.load(open(sys.argv[1] + "/notebook.ipynb"))["cells"]
for i, c in enumerate(n, 1):
    assert "".join(c["source"]) == open(f"{sys.argv[1]}/cells/{i}/source").read().rstrip("\n"), (i, c["source"])
    assert c["cell_type"] != "code" or c["outputs"] or open(f"{sys.argv[1]}/cells/{i}/output").read() == "", i' "$nb" ||
		fail "$step: the notebook and its cells do not agree"
}
echo "each step of another source"
for step in notebook-edit notebook-edited; do
	INTERPFS_FAILPOINT=$step:$T/$step mount_it
	echo restart >"$nb/ctl" || fail "$step: restart: $(cat "$nb/error")"
	ask "$nb/exec" 'print("before")' >/dev/null
	n=$(cells)
	echo 'print("after")' >"$nb/cells/$n/source"
	eventually 20 sh -c "[ -e '$T/$step' ] || grep -qx after '$nb/cells/$n/output'"
	answers 1
	grep -lE '^(busy|queued)$' "$nb"/cells/*/state && fail "$step: a cell did not end"
	agrees
	same "$step: a cell" 2 "$(ask "$nb/exec" 1+1)"
	echo shutdown >"$nb/ctl" || fail "$step: shutdown"
	unmount_it
	[ -e "$T/$step" ] || { strings "$INTERPFS" | grep -q INTERPFS_FAILPOINT && fail "$step was never reached"; }
done
mount_it
