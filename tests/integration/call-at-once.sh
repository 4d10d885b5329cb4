#!/bin/bash
# also: threads
# A call sees every write that was closed before it: a command given right after a sandbox's
# config waits for the sandbox, however quickly it follows.
. "$(dirname "$0")/../functions.sh"
mount_it
for i in 1 2 3 4 5 6; do
	mkdir "$M/sandboxes/s$i"
	echo 'network: none' >"$M/sandboxes/s$i/config"
	exec 3<>"$M/sandboxes/s$i/exec"
	echo "echo from $i" >&3
	same "the answer of s$i" "from $i" "$(timeout 400 cat <&3)"
	exec 3>&-
	rmdir "$M/sandboxes/s$i"
done
