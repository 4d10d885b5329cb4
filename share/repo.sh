# A repository of a sandbox: cloned to /workspace/NAME, or its install run there. The runner gives this text to
# the sandbox's own sh (backend/sandbox/repos.c):
#
#	clone NAME KEY URL [REVISION]        install NAME KEY COMMAND
#
# The commit goes to standard output, all else to standard error, whose last line is why it failed.
#
# What was done stands in the repository's .git/interpfs as "cloned KEY COMMIT" and "installed KEY", so that it
# is not done again in a sandbox that begins from a snapshot. The command of a runner that was killed runs on:
# a lock makes the next one's wait for it.
exec 3>&1 1>&2
action=$1 name=$2 key=$3 what=$4 revision=${5:-}
path=/workspace/$name note=/workspace/$name/.git/interpfs work=/workspace/.$name.cloning

give_up() { echo "$*"; exit 1; }

noted() { # cloned|installed: whether it was done with this key; $commit is the rest of the line
	[ -f "$note" ] || return 1
	while read -r did of commit; do
		if [ "$did $of" = "$1 $key" ]; then return 0; fi
	done <"$note"
	return 1
}

lock() { # FOLDER
	exec 9<"$1" || exit 1
	if command -v flock >/dev/null 2>&1; then flock 9; fi
}

tell() {
	echo "$commit" >&3
	exit 0
}

clone() {
	if noted cloned; then echo "$path has been cloned already"; tell; fi
	command -v git >/dev/null 2>&1 ||
		give_up "there is no git in the sandbox: put git into system_packages, or take an image that has it"
	mkdir -p "$work" || exit 1
	lock "$work"
	if noted cloned; then tell; fi
	if [ -e "$path" ] || [ -L "$path" ]; then
		rmdir "$work"
		give_up "$path is there already, and is not this repository at this revision: move it away and restart the sandbox"
	fi
	trap 'rm -rf "$work"' EXIT
	rm -rf "$work/clone"
	mkdir -p "$work" || exit 1 # whoever had the lock may have removed it
	# No question at a terminal that is not there, no program in place of a transport, also not by what it contains.
	export GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:http:ssh:git GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
	git -c http.lowSpeedLimit=1 -c http.lowSpeedTime=300 clone --progress ${revision:+--no-checkout} -- "$what" "$work/clone" 9<&- || exit 1
	cd "$work/clone" || exit 1
	if [ -n "$revision" ] && ! git -c advice.detachedHead=false checkout "$revision" -- 9<&-; then
		# No branch, no tag, and on no branch: the commit of a pull request.
		{ git fetch --progress origin "$revision" && git -c advice.detachedHead=false checkout FETCH_HEAD --; } 9<&- ||
			give_up "$what has no revision $revision"
	fi
	commit=$(git rev-parse --verify --quiet HEAD) # an empty one has none
	echo "cloned $key $commit" >.git/interpfs && cd / && mv "$work/clone" "$path" || exit 1
	tell
}

install() {
	cd "$path" || exit 1
	lock .
	if noted installed; then echo "$path has been installed already"; exit 0; fi
	sh -c "$what" 3>&- 9<&- || exit $?
	echo "installed $key" >>"$note"
}

"$action"
