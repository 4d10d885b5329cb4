#!/bin/bash
# What a sandbox's runner answers, call by call: commands and their ends, descriptors, Jupyter
# Server through the relay; and calls that come while it starts.
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
lab=$M/sandboxes/lab
mkdir "$lab"
echo 'network: none' >"$lab/config"
same "a call while it starts waits" started "$(ask "$lab/exec" 'echo started')"
echo wait >"$lab/ctl" || fail wait
folder=$(jq -r .folder "$lab/info.json")
PYTHONDONTWRITEBYTECODE=1 python3 tests/guest/calls.py "$folder" "$lab" || fail "tests/guest/calls.py"

# A client that is lost while the sandbox starts: its command runs all the same. It says nothing before the
# client has gone: what comes earlier may be in a socket that nobody reads any more.
echo stop >"$lab/ctl" && echo start >"$lab/ctl" || fail "stop and start"
python3 - "$folder" <<'END' || fail "a call on a sandbox that starts"
import sys
sys.path.insert(0, "tests/guest")
sys.dont_write_bytecode = True
import calls
calls.FOLDER = sys.argv[1]
if not calls.eventually(lambda: calls.os.path.exists(sys.argv[1] + "/run/sock")):
    sys.exit(1)
calls.Call("exec", "until [ -e /root/gone ]; do sleep 0.05; done; echo 'said to the log' | tee /root/mark").sock.close()
END
echo wait >"$lab/ctl" || fail "wait after the start"
ask "$lab/exec" 'touch /root/gone'
eventually 10 grep -q 'said to the log' "$folder/log"

echo stop >"$lab/ctl" || fail stop
eventually 10 grep -q stopped "$lab/state"
exec 8<>"$lab/exec"
{ echo 'echo ran' >&8 && cat <&8; } >"$T/stopped" 2>&1
exec 8>&-
grep -qx ran "$T/stopped" && fail "a command ran in a stopped sandbox"
true
