# Repositories, and a server of git. Sourced after functions.sh.
#
#   G                     the folder that is served: $G/tool.git has the branches main and side, the tag v1, and a
#                         commit on no branch, $PULLED; it is a Python package whose tool.VALUE is "main"
#   serve_git [ADDRESS]   sets GIT_PORT; on loopback without an address
#   sent PATH             how often somebody came for it
#   repo SANDBOX NAME FILE, repo_is SANDBOX NAME STATE, repo_ctl SANDBOX NAME LINE
G=$T/git
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
mkdir -p "$G/slow"
git init -q -b main "$T/made" || fail "git init"
change() { # WORD: a commit on what is checked out
	printf "VALUE = '%s'\n" "$1" >"$T/made/tool.py"
	git -C "$T/made" add . && git -C "$T/made" commit -qm "$1" || fail "git commit"
}
printf "from setuptools import setup\nsetup(name='tool', version='1', py_modules=['tool'])\n" >"$T/made/setup.py"
change v1; git -C "$T/made" tag v1
change main
git -C "$T/made" checkout -qb side; change side
git -C "$T/made" checkout -q --detach; change pulled; PULLED=$(git -C "$T/made" rev-parse HEAD)
git -C "$T/made" checkout -q main
git clone -q --bare "$T/made" "$G/tool.git" && git -C "$G/tool.git" fetch -q "$T/made" "$PULLED:refs/pull/1/head" || fail "git clone"

serve_git() {
	rm -f "$T/git-port"
	python3 tests/git/server.py "$G" "$@" >"$T/git-port" </dev/null &
	on_exit "kill $! 2>/dev/null"; disown
	eventually 20 test -s "$T/git-port"
	read -r GIT_PORT <"$T/git-port"
}

sent() { grep -c "^GET /$1/info/refs?" "$G/requests"; }
repo() { cat "$M/sandboxes/$1/repos/$2/$3"; }
repo_ctl() { echo "$3" 2>/dev/null >"$M/sandboxes/$1/repos/$2/ctl"; }
repo_is() { [ "$(repo "$1" "$2" state)" = "$3" ]; }
