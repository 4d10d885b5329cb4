#!/bin/bash
# MCP's official SDK, the last of both of its generations, has a sandbox's tools by its mcp.json as it is: also where the
# paths have blanks in them, and when the mount has ended.
. "$(dirname "$0")/../functions.sh"
mkdir "$T/a state" "$T/a mount" || fail "mkdir"
S="$T/a state" M="$T/a mount"
mount_it
mkdir "$M/sandboxes/lab" || fail "mkdir"
echo 'network: none' >"$M/sandboxes/lab/config" || fail "config"
for version in 1.30.0 2.3.0; do
	python=$(tests/mcp-sdk $version) || fail "the SDK cannot be fetched"
	"$python" -B tests/mcp/sdk.py "$M/sandboxes/lab/mcp.json" || fail "the SDK $version"
done
cp "$M/sandboxes/lab/mcp.json" "$T/mcp.json" || fail "cp"
unmount_it
"$python" -B tests/mcp/sdk.py "$T/mcp.json" || fail "without the mount"
mount_it
