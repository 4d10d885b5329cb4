#!/bin/bash
# The tests' API server is as the vendor's own client expects it: Claude Code completes turns with tool calls against it,
# with and without its experimental betas, and recovers from each fault as from the vendor's.
. "$(dirname "$0")/../functions.sh"
. tests/api/functions.sh
start_api

cat >"$T/mcp.json" <<J
{"mcpServers": {"small": {"command": "python3", "args": ["-B", "$TOP/tests/unit/mcp_server.py"]}}}
J

result() { jq -r "select(.type == \"result\") | $1" "$T/claude.jsonl" | tail -n 1; }
refusals() { api_log 'select(.refusal) | .refusal'; }
posts() { api_log 'select(.event == "request" and .path == "/v1/messages") | .n' | wc -l; }

echo "a turn with a tool call"
CLAUDE_ENV=CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS=1
api_steps '{"thinking": "Why not.", "text": "I will ask it.", "tool": "mcp__small__echo", "input": {"a": [1, "ü"]}}'
claude_code "$T/mcp.json" "Ask it." || fail "Claude Code: $? $(cat "$T/claude.err")"
same "refusals" "" "$(refusals)"
same "requests" 2 "$(posts)"
same "result" "success false 2 Done." "$(result '"\(.subtype) \(.is_error) \(.num_turns) \(.result)"')"
same "what the tool returned" '{"a": [1, "\u00fc"]}' \
	"$(api_log 'select(.event == "request") | .body.messages[-1].content[0].content[0].text?' | tail -n 1 | jq -r .)"

echo "two turns, with its betas"
CLAUDE_ENV=
: >"$T/api.log"
claude_code "$T/mcp.json" "Once." "And again." || fail "Claude Code: $? $(cat "$T/claude.err")"
same "refusals" "" "$(refusals)"
same "result" "success Done." "$(result '"\(.subtype) \(.result)"')"
same "assistant messages that came back" 3 "$(api_log 'select(.event == "request") | .body.messages | map(select(.role == "assistant")) | length' | tail -n 1)"

echo "faults"
: >"$T/api.log"
api_steps '{"status": 529, "retry_after_ms": 10}' '{"status": 429, "retry_after_ms": 10}' '{"status": 500, "retry_after_ms": 10}' \
	'{"tool": "mcp__small__echo"}' '{"text": "This is cut off in the middle.", "cut": 500}' \
	'{"error": "overloaded_error", "after": 4}' '{"text": "At last."}'
claude_code "$T/mcp.json" "Try." || fail "Claude Code: $? $(cat "$T/claude.err")"
same "refusals" "" "$(refusals)"
same "statuses" "529 429 500 200 200 200 200" "$(api_log 'select(.event == "answer") | .status' | paste -sd ' ')"
same "result" "success At last." "$(result '"\(.subtype) \(.result)"')"

echo "a refusal that is no fault: a wrong key"
exec 3>&-
rm "$T/api.alive" "$T/api.url"
start_api --key right
CLAUDE_ENV=CLAUDE_CODE_MAX_RETRIES=1
if claude_code "$T/mcp.json" "Try."; then fail "a wrong key was taken"; fi
same "status" 401 "$(result .api_error_status)"
