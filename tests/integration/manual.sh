#!/bin/bash
# The manual's tables are the program's own rows: docs/interpfs.5 is what `interpfs help man` prints,
# and man(1) finds nothing to complain about in either page.
. "$(dirname "$0")/../functions.sh"
"$INTERPFS" help man >"$T/interpfs.5" || fail "help man"
cmp "$T/interpfs.5" docs/interpfs.5 || fail "docs/interpfs.5 is old: interpfs help man > docs/interpfs.5"
for page in docs/interpfs.1 docs/interpfs.5; do
	same "complaints about $page" "" "$(MANROFFSEQ='' LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)"
done
# Every command has a page of its own, by both ways to ask.
for command in mount doctor ps exec mcp; do
	"$INTERPFS" help "$command" >"$T/asked" 2>&1 || fail "help $command"
	grep -q "^usage: interpfs $command" "$T/asked" || fail "help $command: $(cat "$T/asked")"
	same "$command --help" "$(cat "$T/asked")" "$("$INTERPFS" "$command" --help)"
	"$INTERPFS" help | grep -q "^  $command " || fail "help does not name $command"
done
[[ $("$INTERPFS" --version) =~ ^interpfs\ [0-9.]+$ ]] || fail "--version: $("$INTERPFS" --version)"
# Every row has a help, and every file that a mount shows is in the table.
fails "a row without help" grep -P '^    \S+\s*$' <("$INTERPFS" help tree)
