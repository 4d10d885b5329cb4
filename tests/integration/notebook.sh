#!/bin/bash
# A notebook through the mount, on a real sandbox and Jupyter Server: cells, outputs, files, a valid
# notebook.ipynb at every moment, libraries that come and change while the kernel runs, interrupt,
# restart, shutdown.
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
nb=$M/notebooks/probe
mkdir "$M/sandboxes/lab" "$nb"
echo 'sandbox: lob' >"$nb/config"
grep -q "no sandbox 'lob'" "$nb/error" || fail "the refusal does not name the sandbox: $(cat "$nb/error")"
fails "wait for a notebook whose config was refused" sh -c "echo wait >'$nb/ctl'"
echo 'init = 40' >"$M/workspace/init.py"
echo 'network: none' >"$M/sandboxes/lab/config"
echo 'sandbox: lab' >"$nb/config"
# A call on something that starts waits for it.
same "the first cell" 42 "$(ask "$nb/exec" 'init + 2')"
same state idle "$(cat "$nb/state")"
echo wait >"$nb/ctl" || fail wait

same "text as it was printed" $'a\nb\n1' "$(ask "$nb/exec" 'print("a"); print("b")
1')"
before=$(date +%s)
ask "$nb/exec" '1/0' >"$T/error"
same "a failed cell's last line" '[error ZeroDivisionError]' "$(tail -n 1 "$T/error")"
grep -q 'ZeroDivisionError: division by zero' "$T/error" || fail "no traceback: $(cat "$T/error")"
grep -q $'\033' "$T/error" && fail "colours in the text"
same "cell 3's output is what its caller saw" "$(cat "$T/error")" "$(cat "$nb/cells/3/output")"
same "cell 3's state" error "$(cat "$nb/cells/3/state")"
same "cell 3's count" 3 "$(cat "$nb/cells/3/count")"
same "their sizes" "6 2" "$(stat -c %s "$nb/cells/3/state" "$nb/cells/3/count" | xargs)"
grep -qE '^[0-9]+[.][0-9]{3}$' "$nb/cells/3/duration" || fail "cell 3's duration: $(cat "$nb/cells/3/duration")"
[ "$(stat -c %Y "$nb/cells/3/state")" -ge "$before" ] || fail "cell 3's state changed when? $(stat "$nb/cells/3/state")"
same "a cell has no files without outputs" "" "$(ls "$nb/cells/3/outputs")"
same eval "'/workspace'" "$(ask "$nb/eval" WORKSPACE)"
same "eval makes no cell" "1 2 3" "$(ls "$nb/cells" | tr '\n' ' ' | sed 's/ $//')"
printf '# Title\ntext\n' >"$nb/markdown"
eventually 5 test -e "$nb/cells/4/source"
same "a Markdown cell" $'# Title\ntext' "$(cat "$nb/cells/4/source")"

ask "$nb/exec" 'from IPython.display import display, HTML, JSON, SVG, Image, clear_output, update_display
import base64
display("0%", display_id="bar")
print("x")
display(HTML("<b>x</b>")); display(JSON({"k": 12345678901234567890}))
display(SVG("<svg xmlns=\"http://www.w3.org/2000/svg\"/>"))
display(Image(base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")))
update_display("100%", display_id="bar")' >"$T/shown"
same "outputs are files" "2.html 3.json 4.svg 5.png" "$(ls "$nb/cells/5/outputs" | tr '\n' ' ' | sed 's/ $//')"
same "pictures" "cell-5-4.svg cell-5-5.png" "$(ls "$nb/images" | tr '\n' ' ' | sed 's/ $//')"
file "$nb/images/cell-5-5.png" | grep -q 'PNG image data, 1 x 1' || fail "$(file "$nb/images/cell-5-5.png")"
same "html" '<b>x</b>' "$(cat "$nb/cells/5/outputs/2.html")"
same "a wide number" '{"k":12345678901234567890}' "$(tr -d '\n' <"$nb/cells/5/outputs/3.json")"
grep -q 'images/cell-5-5.png' "$T/shown" || fail "the text does not name the picture"
ask "$nb/exec" 'for i in range(5):
    clear_output(wait=True); print(i)' >/dev/null
same "cleared output" 4 "$(cat "$nb/cells/6/output")"

# Valid with the real schema, at every moment while it prints.
tests/notebook/python -c 'import nbformat' || fail "nbformat cannot be installed"
cat >"$T/validate.py" <<'PY'
import nbformat, os, sys
n = 0
while True:
    last = os.path.exists(sys.argv[2])
    size = os.stat(sys.argv[1]).st_size
    nb = nbformat.read(sys.argv[1], 4)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    n += 1
    open(sys.argv[3], 'w').close()
    if last:
        break
assert [c.id for c in nb.cells] == [f'{nb.cells[0].id[:-1]}{i}' for i in range(1, len(nb.cells) + 1)]
assert nb.cells[4].outputs[0].data['text/plain'] == "'100%'"
assert nb.cells[3].cell_type == 'markdown' and nb.cells[3].source == '# Title\ntext'
assert nb.cells[6].outputs[0].text == ''.join(f'{i}\n' for i in range(3000)), 'lost'
assert len(nb.cells[6].outputs) == 2 and nb.metadata.language_info.name == 'python'
print(n)
PY
tests/notebook/python "$T/validate.py" "$nb/notebook.ipynb" "$T/printed" "$T/looking" >"$T/looks" 2>&1 & looker=$!
eventually 30 test -e "$T/looking"
ask "$nb/exec" 'import sys
for i in range(3000): print(i, flush=i % 4 == 0)
print("e", file=sys.stderr)' >"$T/lines"
touch "$T/printed"
wait "$looker" || fail "$(tail -n 5 "$T/looks")"
[ "$(cat "$T/looks")" -gt 3 ] || fail "it was looked at only $(cat "$T/looks") times"
{ seq 0 2999; echo e; } | cmp - "$T/lines" || fail "printed lines"

# More than Jupyter Server's own limits would let through.
ask "$nb/exec" 'for i in range(100): print("x" * 79999)' >"$T/megabytes"
same "8 MB of prints" 8000000 "$(wc -c <"$T/megabytes")"
same "in the cell's file" 8000000 "$(stat -c %s "$nb/cells/8/output")"

# A source that is written runs its cell again, in its place.
same "before" $'a\nb\n1' "$(cat "$nb/cells/2/output")"
echo 'print("again")' >"$nb/cells/2/source"
eventually 5 grep -qx again "$nb/cells/2/output"
eventually 5 grep -qx ok "$nb/cells/2/state"
same "no cell came with it" 8 "$(ls "$nb/cells" | wc -l)"

# Libraries.
echo 'def f(): return "one"' >"$M/workspace/libraries/steering.py"
same "a library that came" "'one'" "$(ask "$nb/exec" 'import steering; from steering import f; f()')"
echo 'def f(): return "two"' >"$M/workspace/libraries/steering.py"
same "a library that changed" "('two', 'two')" "$(ask "$nb/exec" 'steering.f(), f()')"
echo 'def f( return' >"$M/workspace/libraries/steering.py"
ask "$nb/exec" 'steering.f()' >"$T/broken"
grep -q "^'two'$" "$T/broken" && grep -q SyntaxError "$T/broken" || fail "a library that broke: $(cat "$T/broken")"
mkdir "$M/workspace/libraries/pack"
echo 'from .inner import g' >"$M/workspace/libraries/pack/__init__.py"
echo 'def g(): return 1' >"$M/workspace/libraries/pack/inner.py"
same "a package" 1 "$(ask "$nb/exec" 'import pack; pack.g()')"
echo 'def g(): return 2' >"$M/workspace/libraries/pack/inner.py"
same "a package's module that changed" 2 "$(ask "$nb/exec" 'pack.g()')"

# Interrupt: the command returns when the cell has ended; the kernel keeps what it had.
ask "$nb/exec" 'import time; kept = 7
print("go", flush=True); time.sleep(600)' >"$T/sleeper" & sleeper=$!
eventually 10 sh -c "tail -qn 1 $nb/cells/*/output | grep -qx go"
same "while it runs" busy "$(cat "$nb/state")"
# What Jupyter's own page says of the kernel, and since when it has been so.
kernels() { curl -s "$(sed 's,?,api/kernels?,' "$nb/url")" | python3 -c 'import json,sys; print(json.load(sys.stdin)[0][sys.argv[1]])' "$1"; }
same "in the server's eyes" busy "$(kernels execution_state)"
active=$(kernels last_activity)
echo interrupt >"$nb/ctl" || fail interrupt
same "after the interrupt" idle "$(cat "$nb/state")"
eventually 5 eval '[ "$(kernels execution_state)" = idle ]'
[[ $(kernels last_activity) > $active ]] || fail "the server has not seen that the kernel did anything"
wait "$sleeper"
same "an interrupted cell" '[error KeyboardInterrupt]' "$(tail -n 1 "$T/sleeper")"
same "its state" interrupted "$(cat "$nb/cells/$(ls "$nb/cells" | wc -l)/state")"
same "what the kernel kept" 7 "$(ask "$nb/eval" kept)"

# Whoever closes in the middle ends what runs.
( exec 9<>"$nb/exec"; echo 'time.sleep(600)' >&9; exec head -c 1 <&9 ) & reader=$!
eventually 10 grep -qx busy "$nb/state"
kill "$reader"
eventually 10 grep -qx idle "$nb/state"

# Jupyter's own page.
url=$(cat "$nb/url")
same "url's mode" 400 "$(stat -c %a "$nb/url")"
[ "$(curl -s -o "$T/page" -w '%{http_code}' -L "$url")" = 200 ] || fail "$url: $(head -c 300 "$T/page")"
[ "$(curl -s -o /dev/null -w '%{http_code}' "${url%%\?*}api/kernels")" = 403 ] || fail "the server answers without a token"
kernel=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["kernel"]["id"])' "$nb/info.json")
curl -s "${url/\?/api/kernels?}" | grep -q "$kernel" || fail "info.json's kernel is not the server's"
grep -q 'No models' "$nb/model_info.md" || fail "model_info.md: $(cat "$nb/model_info.md")"

# Restart and shutdown.
echo restart >"$nb/ctl" || fail "restart: $(cat "$nb/error")"
same "after restart" idle "$(cat "$nb/state")"
ask "$nb/exec" kept >"$T/gone"
same "a new kernel" '[error NameError]' "$(tail -n 1 "$T/gone")"
cells=$(ls "$nb/cells" | wc -l)
echo shutdown >"$nb/ctl" || fail shutdown
same "after shutdown" stopped "$(cat "$nb/state")"
same "its cells stay" "$cells" "$(ls "$nb/cells" | wc -l)"
curl -s "${url/\?/api/kernels?}" | grep -q "$kernel" && fail "the kernel goes on"
rmdir "$nb" || fail "rmdir: $(cat "$M/error")"
