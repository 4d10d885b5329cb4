#!/bin/bash
# Claude Code with a notebook's mcp.json, as it is, runs cells in it; and goes on when the mount has ended.
. "$(dirname "$0")/../functions.sh"
. tests/api/functions.sh
start_api
mount_it
mkdir "$M/sandboxes/lab" "$M/notebooks/probe" || fail "mkdir"
echo 'network: none' >"$M/sandboxes/lab/config" || fail "config"
echo 'sandbox: lab' >"$M/notebooks/probe/config" || fail "config"
echo wait >"$M/notebooks/probe/ctl" || fail "the notebook does not start: $(cat "$M/notebooks/probe/error" "$M/sandboxes/lab/error")"

refusals() { api_log 'select(.refusal) | .refusal'; }
returned() { api_log 'select(.event == "request") | .body.messages[-1].content[0].content' | tail -n 1; }

echo "a cell"
code='from IPython.display import Image, display\nimport base64\nprint(6 * 7)\ndisplay(Image(base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")))'
jq -n --arg code "$(printf '%b' "$code")" '{tool: "mcp__probe__execute_code", input: {code: $code}}' >"$T/step"
api_steps "$(cat "$T/step")" '{"text": "It is 42."}'
claude_code "$M/notebooks/probe/mcp.json" "Run it." || fail "Claude Code: $? $(cat "$T/claude.err")"
same "refusals" "" "$(refusals)"
same "result" "It is 42." "$(jq -r 'select(.type == "result") | .result' "$T/claude.jsonl")"
same "the cell's source" "$(printf '%b' "$code")" "$(cat "$M/notebooks/probe/cells/1/source")"
same "its output" 42 "$(head -n 1 "$M/notebooks/probe/cells/1/output")"
returned | jq -e '[.[] | select(.type == "text") | .text] | add | contains("42\n") and contains("[cell 1 ok]")' >/dev/null ||
	fail "the model was told: $(returned | cut -c1-500)"
same "pictures for the model" image/png "$(returned | jq -r '[.[] | select(.type == "image")][0].source.media_type')"

echo "a failing cell, and its repair"
api_steps '{"tool": "mcp__probe__execute_code", "input": {"code": "1 / 0"}}' \
	'{"tool": "mcp__probe__edit_cell", "input": {"cell": 2, "code": "1 / 1"}}' \
	'{"tool": "mcp__probe__add_markdown", "input": {"content": "# Better"}}' '{"text": "Repaired."}'
claude_code "$M/notebooks/probe/mcp.json" "Go on." || fail "Claude Code: $? $(cat "$T/claude.err")"
same "refusals" "" "$(refusals)"
api_log 'select(.event == "request") | .body.messages[].content[]? | objects | select(.is_error) | .content' | grep -q ZeroDivisionError ||
	fail "the model was not told of the error"
same "the cell's source" "1 / 1" "$(cat "$M/notebooks/probe/cells/2/source")"
same "its output" 1.0 "$(cat "$M/notebooks/probe/cells/2/output")"
same "the text cell" "# Better" "$(cat "$M/notebooks/probe/cells/3/source")"

echo "several cells in one answer, and one that takes longer than the client waits"
jq -n '{content: ([1, 2, 3] | map({tool: "mcp__probe__execute_code", input: {code: "print(\"cell\", \(.))"}}))}' >"$T/step"
api_steps "$(cat "$T/step")" '{"tool": "mcp__probe__execute_code", "input": {"code": "import time; time.sleep(100); print(\"late\")"}}' \
	'{"tool": "mcp__probe__interrupt"}' '{"text": "Enough."}'
CLAUDE_ENV=MCP_TOOL_TIMEOUT=12000
claude_code "$M/notebooks/probe/mcp.json" "Three at once." || fail "Claude Code: $? $(cat "$T/claude.err")"
CLAUDE_ENV=
same "refusals" "" "$(refusals)"
for i in 1 2 3; do same "cell $i" "cell $i" "$(sed -n 1p "$M/notebooks/probe/cells/$((i + 3))/output")"; done
api_log 'select(.event == "request") | .body.messages[].content[]? | objects | select(.is_error) | .content' | grep -q 'timed out after' ||
	fail "the model was not told that it timed out"
grep -q KeyboardInterrupt "$M/notebooks/probe/cells/7/output" || fail "cell 7: $(cat "$M/notebooks/probe/cells/7/output")"
# Its servers end with it.
eventually 10 sh -c "! ps -eo args | grep -v grep | grep -q 'interpfs mcp $S/'"

echo "when the mount has ended"
cp "$M/notebooks/probe/mcp.json" "$T/mcp.json" || fail "cp"
unmount_it
api_steps '{"tool": "mcp__probe__execute_code", "input": {"code": "print(base64.b64encode(b\"still here\").decode())"}}' '{"text": "Yes."}'
claude_code "$T/mcp.json" "Still there?" || fail "Claude Code: $? $(cat "$T/claude.err")"
same "refusals" "" "$(refusals)"
returned | grep -q c3RpbGwgaGVyZQ== || fail "the model was told: $(returned | cut -c1-500)"
mount_it
same "what the next mount shows" c3RpbGwgaGVyZQ== "$(cat "$M/notebooks/probe/cells/8/output")"
