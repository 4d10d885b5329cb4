# Sourced behind tests/functions.sh by tests that need the Messages API of tests/api/ or Claude Code.
#
#   start_api [OPTIONS]     starts the server; API is its address, its log is $T/api.log
#   api_steps JSON...       what it answers next, a step each
#   api_log FILTER          jq over the log's events, one compact result a line
#   claude_code SERVERS MESSAGE...   Claude Code against the server: SERVERS is an mcp.json, each MESSAGE a user's
#                           message of one process; its events go to $T/claude.jsonl, its exit status is returned
API=

start_api() {
	mkfifo "$T/api.alive" || fail "mkfifo"
	# The server ends with its standard input, which this shell holds.
	python3 -B tests/api/server.py --stdin --log "$T/api.log" "$@" <"$T/api.alive" >"$T/api.url" 2>"$T/api.err" 3>&- &
	exec 3>"$T/api.alive"
	eventually 10 test -s "$T/api.url"
	API=$(cat "$T/api.url")
}

api_steps() {
	local all
	all=$(printf '%s,' "$@")
	curl -sSf "$API/control" -d "{\"steps\":[${all%,}]}" >/dev/null || fail "the API's steps: $*"
}

api_log() { jq -c "$1" "$T/api.log"; }

# Each message when the turn before has ended; one that comes earlier would become part of it.
say_to_claude() {
	local n=0 message
	for message; do
		jq -cn --arg text "$message" \
			'{type: "user", message: {role: "user", content: $text}, parent_tool_use_id: null, session_id: "default"}'
		n=$((n + 1))
		eventually 60 sh -c "[ \$(grep -c '\"type\":\"result\"' '$T/claude.jsonl') -ge $n ]"
	done
}

claude_code() {
	local servers=$1 program name; shift
	program=$(tests/claude-code) || fail "Claude Code cannot be fetched"
	name=$(jq -r '.mcpServers | keys[0]' "$servers") || fail "$servers is no mcp.json"
	mkdir -p "$T/home"
	: >"$T/claude.jsonl"
	say_to_claude "$@" |
		(cd "$T/home" && env -i PATH="$PATH" HOME="$T/home" XDG_CACHE_HOME="$T/home/cache" CLAUDE_CONFIG_DIR="$T/home/claude" \
			CLAUDE_CODE_TMPDIR="$T/home" ANTHROPIC_API_KEY=anything ANTHROPIC_BASE_URL="$API" \
			CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 ${CLAUDE_ENV:+"$CLAUDE_ENV"} \
			timeout 90 "$program" -p --output-format stream-json --input-format stream-json --verbose --bare \
			--strict-mcp-config --setting-sources= --tools "" --permission-mode dontAsk "--allowedTools=mcp__$name" \
			"--mcp-config=$servers" "--system-prompt=You are under test." --model claude-opus-5-5) \
		>"$T/claude.jsonl" 2>"$T/claude.err"
}
