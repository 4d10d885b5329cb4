#!/bin/bash
# also: threads
# A notebook of any size can be read: in pieces, by many at once, without memory of the mount's, while others go on;
# each reader has a whole one.
. "$(dirname "$0")/../functions.sh"
export INTERPFS_SELFTEST=1
export ASAN_OPTIONS="$ASAN_OPTIONS:quarantine_size_mb=1:thread_local_quarantine_size_kb=64" # memory is counted below
mount_it
mkdir "$M/notebooks/big" "$M/notebooks/small"
N=$(readlink -f "$S/notebooks/names/big")
unmount_it
# Cells as a notebook's runner leaves them: 20 of 5 MB, small ones, one that was deleted, one that is being written.
python3 - "$N" <<'PY' || fail "cells"
import json, os, sys
def cell(n, records, end=""):
    os.makedirs("%s/cells/%d" % (sys.argv[1], n))
    with open("%s/cells/%d/fragment" % (sys.argv[1], n), "w") as f:
        f.write('{"cell_type":"code","id":"n1-c%d","metadata":{},"execution_count":%d,"source":["x"],"outputs":[\n' % (n, n))
        f.write("".join(records) + end)
line = "0123456789" * 10
for n in range(1, 200):
    if n == 50: continue
    lines = 50000 if n % 10 == 0 else 3
    text = ['{"output_type":"stream","name":"stdout","text":["%s\\n"\n' % line] + [',"%s\\n"\n' % line] * (lines - 1)
    if n % 7 == 0: text.append(']},{"output_type":"execute_result","data":{},"metadata":{},"execution_count":1}\n')
    cell(n, text)
cell(200, ['{"output_type":"stream","name":"stdout","text":["%s\\n"\n' % line] * 1 + [',"%s\\n"\n' % line] * 49999, ',"half a rec')
PY
eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
pid=$(awk '{print $1}' "$S/lock")
private() { awk '/^Private/ {s += $2} END {print s}' "/proc/$pid/smaps_rollup"; }

same "an empty one" 0 "$(jq '.cells|length' "$M/notebooks/small/notebook.ipynb")"
python3 - "$M/notebooks/big/notebook.ipynb" <<'PY' || fail "a notebook of 95 MB"
import json, os, sys
with open(sys.argv[1], "rb") as f:
    raw = f.read()
    again = os.pread(f.fileno(), 1000, len(raw) - 500)
assert again == raw[-500:]
whole = json.loads(raw)
assert len(raw) > 90 << 20 and whole["nbformat"] == 4
assert [c["id"] for c in whole["cells"]] == ["n1-c%d" % n for n in range(1, 201) if n != 50]
for c, n in zip(whole["cells"], (n for n in range(1, 201) if n != 50)):
    assert len(c["outputs"][0]["text"]) == (50000 if n % 10 == 0 else 3), n
    assert len(c["outputs"]) == (1 if n % 7 else 2), n
PY
size=$(stat -c %s "$M/notebooks/big/notebook.ipynb")
rm "$N/cells/200/fragment" # its last record was torn
unmount_it; eventually 5 "$INTERPFS" mount -o "state=$S" "$M"
pid=$(awk '{print $1}' "$S/lock")
same "its size is true" "$(wc -c <"$M/notebooks/big/notebook.ipynb")" "$(stat -c %s "$M/notebooks/big/notebook.ipynb")"
[ "$size" -gt "$(stat -c %s "$M/notebooks/big/notebook.ipynb")" ] || fail "the size of a cell that is gone"
jq . "$M/notebooks/big/notebook.ipynb" >/dev/null || fail "without its last cell"

# Eight at once, one of them killed; a cell that is written anew meanwhile changes none of them.
before=$(private)
sum=$(sha256sum <"$M/notebooks/big/notebook.ipynb")
readers=
for i in 1 2 3 4 5 6 7; do { head -c 1000000 && cat; } <"$M/notebooks/big/notebook.ipynb" >"$T/read$i" & readers="$readers $!"; done
cat "$M/notebooks/big/notebook.ipynb" >/dev/null & killed=$!
for _ in 1 2 3 4 5; do timeout 60 cat "$M/README" >/dev/null || fail "others wait"; done
kill -9 $killed; wait $killed 2>/dev/null
for p in $readers; do wait "$p" || fail "a reader"; done
for i in 1 2 3 4 5 6 7; do same "reader $i" "$sum" "$(sha256sum <"$T/read$i")"; done
[ $(($(private) - before)) -lt 30000 ] || fail "private memory grew from $before to $(private) kB"; echo "$before $(private) kB" >&2
exec 5<"$M/notebooks/big/notebook.ipynb"; head -c 1000 <&5 >/dev/null
sed 's/c10"/c10x"/' "$N/cells/10/fragment" >"$T/new" && mv "$T/new" "$N/cells/10/fragment"
python3 -c "
import hashlib, os, sys
h = hashlib.sha256()
at = 0
while True:
    piece = os.pread(5, 1 << 20, at)
    if not piece: break
    h.update(piece); at += len(piece)
assert h.hexdigest() == '${sum%% *}'" || fail "an open one changed"
exec 5<&-
eventually 5 sh -c "! ls -l /proc/$pid/fd | grep -q 'deleted'"
exit 0
