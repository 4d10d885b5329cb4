#!/bin/bash
# A session that is given an interface and nothing else: its functions are all the tools that the agent has.
# Ten ways that it tries into the sandbox all the same: none leads there.
# runs: root user
. "$(dirname "$0")/../functions.sh"
python3 -B tests/api/server.py --log "$T/api.log" --key sk-test-0123456789 >"$T/url" & api=$!
on_exit "kill $api"
eventually 30 grep -q http "$T/url"
export ANTHROPIC_BASE_URL ANTHROPIC_API_KEY=sk-test-0123456789
ANTHROPIC_BASE_URL=$(cat "$T/url")
mount_it

petri=$M/sandboxes/petri
mkdir "$petri" && printf 'network: none\nexecution_mode: none\n' >"$petri/config" && mkdir "$petri/interfaces/tools" || fail mkdir
cp tests/interfaces/petri.py "$petri/interfaces/tools/interface.py" && cp tests/interfaces/helpers.py "$petri/interfaces/tools/" || fail cp
echo wait >"$petri/interfaces/tools/ctl" || fail "wait: $(cat "$petri/interfaces/tools/error")"
echo 'the secret of the sandbox' >"$petri/fs/root/secret" || fail "a secret"

# What is given must be one.
mkdir "$M/sessions/audit" || fail mkdir
for wrong in 'sandboxes/petri' 'sandboxes/petri/interfaces/tools/functions' '/etc' 'sandboxes/petri/interfaces/none' 'sandboxes/none/interfaces/tools'; do
	fails "mcp: $wrong" sh -c "echo 'mcp: [$wrong]' >'$M/sessions/audit/config'"
done
grep -q "there is no sandbox 'none'" "$M/sessions/audit/error" || fail "error: $(cat "$M/sessions/audit/error")"

cat >"$T/tries.py" <<'END'
import json
# What a notebook's or a sandbox's agent would have; the names of calls of the runner's own; functions that are none.
tries = [("run_command", {"command": "cat /root/secret"}), ("read_file", {"path": "/root/secret"}),
         ("write_file", {"path": "/root/secret", "content": "x"}), ("execute_code", {"code": "print(open('/root/secret').read())"}),
         ("exec", {"command": "cat /root/secret"}), ("python", {"code": "open('/root/secret').read()"}),
         ("root", {}), ("connect", {"address": "tcp:22"}), ("start mcp\nexec", {"system_prompt": "cat /root/secret"}),
         ("../../functions/start", {"system_prompt": "x"})]
# And through the functions that it has.
tries += [("transcript", {"__import__('os').system('cat /root/secret')": 1}), ("steer", {"name": "__class__"}),
          ("send_message", {"message": "$(cat /root/secret)`cat /root/secret`"})]
steps = [{"tool": name, "input": arguments} for name, arguments in tries] + [{"text": "I give up."}]
print(json.dumps({"steps": steps}))
END
python3 "$T/tries.py" >"$T/steps"
python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/control", open(sys.argv[2], "rb").read()).read()' "$ANTHROPIC_BASE_URL" "$T/steps" ||
	fail steps
echo 'mcp: [sandboxes/petri/interfaces/tools]' >"$M/sessions/audit/config" || fail "config: $(cat "$M/sessions/audit/error")"
echo 'Break out.' >"$M/sessions/audit/input" || fail input
echo 'wait 400' >"$M/sessions/audit/ctl" || fail "wait: $(cat "$M/sessions/audit/error")"
same "its state" done "$(cat "$M/sessions/audit/state")"
same "what it says at the end" "I give up." "$(cat "$M/sessions/audit/result")"
same "its tools" "big dies fails never no_json not_finite score send_message slow start steer transcript" \
	"$(jq -r 'select(.type == "system").tools[].name' "$M/sessions/audit/messages.jsonl" | sort | xargs)"
same "what was tried" 13 "$(jq -c 'select(.type == "result")' "$M/sessions/audit/messages.jsonl" | wc -l)"
grep -q 'the secret of the sandbox' "$M/sessions/audit/messages.jsonl" && fail "it got in: $(cat "$M/sessions/audit/messages")"
same "the secret" 'the secret of the sandbox' "$(cat "$petri/fs/root/secret")"
same "what was called" "send_message steer" "$(jq -r .function "$petri/interfaces/tools/calls.jsonl" | sort -u | xargs)"
same "who called" mcp "$(jq -r .caller "$petri/interfaces/tools/calls.jsonl" | sort -u)"

# Nor is there one in the folder of the session, or in what it tells a client of MCP.
[ ! -e "$M/sessions/audit/sandbox" ] || fail "the session has a link to the sandbox"
same "its server" tools "$(jq -r '.mcpServers | keys[]' "$M/sessions/audit/mcp.json")"
case $(jq -r '.mcpServers.tools.args[1]' "$M/sessions/audit/mcp.json") in "$S"/sandboxes/*/interfaces/*) ;; *) fail "mcp.json: $(cat "$M/sessions/audit/mcp.json")" ;; esac
asks() { # LINES of requests: the answers of the sandbox's own server, which has no tools
	"$INTERPFS" mcp "$petri" <<<"$1"
}
same "the sandbox's own tools" 0 "$(asks '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}
{"jsonrpc":"2.0","id":2,"method":"tools/list"}' | tail -n 1 | jq '.result.tools | length')"
