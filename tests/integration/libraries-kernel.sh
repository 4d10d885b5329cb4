#!/bin/bash
# What is copied into libraries/ while a kernel runs can be imported in its next cell; replaced, the new
# code is what the next cell sees. Pictures and outputs are files; notebook.ipynb is whole at each moment.
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
mkdir "$M/sandboxes/lab" && echo 'timeout: 900' >"$M/sandboxes/lab/config" || fail "sandbox"
mkdir "$M/notebooks/probe" && echo 'sandbox: lab' >"$M/notebooks/probe/config" || fail "notebook"
N=$M/notebooks/probe W=$M/workspace
echo 'wait 400' >"$N/ctl" || fail "the notebook did not start: $(cat "$N/error")"
cell() { exec 9<>"$N/exec"; printf '%s\n' "$1" >&9; cat <&9; exec 9>&-; }

# libraries
same "not there yet" '[error ModuleNotFoundError]' "$(cell 'import fresh' | tail -n1)"
echo 'value = 1' >"$T/fresh.py"; cp "$T/fresh.py" "$W/libraries/" || fail "cp"
same "copied in" 1 "$(cell 'import fresh; print(fresh.value)')"
for i in 2 3 4 5 6; do
	echo "value = $i" >"$W/libraries/fresh.py"
	same "replaced" "$i" "$(cell 'print(fresh.value)')"
done
mkdir "$T/steering-hook"; echo 'def hook(): return "hooked"' >"$T/steering-hook/code.py"
for i in 1 2 3; do
	cp -r "$T/steering-hook" "$W/libraries/steering-hook-$i" && cp -r "$T/steering-hook" "$W/libraries/plain$i" || fail "cp -r"
	same "a skill folder, at once" "hooked hooked" "$(cell "import steering_hook_$i as a, plain$i as b; print(a.hook(), b.hook())")"
done
echo 'def hook(): return "again"' >"$W/libraries/steering-hook-1/code.py"
same "a skill folder's new code" again "$(cell 'import steering_hook_1; print(steering_hook_1.hook())')"
echo wait >"$W/ctl" || fail "the workspace: $(cat "$W/error")"
echo 'def hook(): return "third"' >"$W/libraries/plain1/code.py"
same "newer code yet" third "$(cell 'import plain1; print(plain1.hook())')"
same "and elsewhere" hooked "$("$INTERPFS" exec "$M/sandboxes/lab" -- python -c 'import steering_hook_2; print(steering_hook_2.hook())')"
echo 'ready = "set by init"' >"$W/init.py"; echo restart >"$N/ctl" || fail "restart"
same "init.py" "set by init" "$(cell 'print(ready)')"
printf 'import os\n\n1/0\n' >"$W/init.py"
fails "restart with a broken init.py" sh -c "echo restart >$N/ctl"
same "error" "the workspace's init.py: line 3: ZeroDivisionError: division by zero" "$(cat "$N/error")"
grep -q 'Cell In\[1\], line 3' "$N/log" || fail "the log has no traceback: $(cat "$N/log")"
echo 'ready = "set by init"' >"$W/init.py"; echo restart >"$N/ctl" || fail "restart"

# outputs
cell 'import base64
from IPython.display import display, Image, HTML
display(Image(data=base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="), format="png"))
display(HTML("<b>x</b>"))' >/dev/null
n=$(ls "$N/cells" | sort -n | tail -n1)
same "a picture" PNG "$(head -c 4 "$N/images/$(ls "$N/images" | head -n1)" | tail -c 3)"
[ -n "$(ls "$N/cells/$n/outputs")" ] || fail "no outputs: $(ls "$N/cells/$n")"
same "a cell's files" "count duration output outputs source state" "$(ls "$N/cells/$n" | LC_ALL=C sort | xargs)"
same "a cell's state" ok "$(cat "$N/cells/$n/state")"

# the notebook, while it grows
(cell 'import time
for i in range(20): print("line", i, flush=True); time.sleep(.05)' >"$T/out") &
while kill -0 $! 2>/dev/null; do
	cp -f "$N/notebook.ipynb" "$T/nb.ipynb" && jq -e '.nbformat == 4 and (.cells|length) > 0' "$T/nb.ipynb" >/dev/null || fail "not whole: $(tail -c 300 "$T/nb.ipynb")"
done
wait
same "its size is true" "$(wc -c <"$N/notebook.ipynb")" "$(stat -c %s "$N/notebook.ipynb")"
same "complete" 20 "$(jq -r '.cells[-1].outputs[].text|join("")' "$N/notebook.ipynb" | grep -c line)"
same "ids are their own" "$(jq '.cells|length' "$N/notebook.ipynb")" "$(jq -r '.cells[].id' "$N/notebook.ipynb" | sort -u | wc -l)"
echo '# A title' >"$N/markdown" && echo wait >"$N/ctl" || fail "markdown"
same "markdown" '# A title' "$(jq -r '.cells[-1].source|join("")' "$N/notebook.ipynb" | head -n1)"
cells=$(jq '.cells|length' "$N/notebook.ipynb")
exec 9<>"$N/eval"; echo 'print("quiet")' >&9; same "eval" quiet "$(cat <&9)"; exec 9>&-
same "eval makes no cell" "$cells" "$(jq '.cells|length' "$N/notebook.ipynb")"
echo 'print("edited")' >"$N/cells/1/source"; echo wait >"$N/ctl"
same "a cell that was run again" edited "$(cat "$N/cells/1/output")"
unmount_it; mount_it
same "the same after a remount" "$cells" "$(jq '.cells|length' "$N/notebook.ipynb")"
same "its size after a remount" "$(wc -c <"$N/notebook.ipynb")" "$(stat -c %s "$N/notebook.ipynb")"
same "the kernel went on" "set by init" "$(cell 'print(ready)')"
