#!/bin/bash
# Repositories: cloned at their revisions once the sandbox is ready, by a list of hosts and by a network of its
# own, installed one after another; what fails or takes for ever is the repository's own state; a restart, a
# snapshot's sandbox and a new runner clone nothing twice; what is no repository is refused.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/git/git.sh

for n in tagged side pulled broken after wrong; do cp -r "$G/tool.git" "$G/$n.git"; done
for n in held late; do cp -r "$G/tool.git" "$G/slow/$n.git"; done
git init -q --bare -b main "$G/empty.git"
serve_git
mount_it
warm_up

# What is none is refused by name, with its line.
mkdir "$M/sandboxes/x"
refused() { # SENTENCE CONFIG
	printf '%b' "$2" 2>/dev/null >"$M/sandboxes/x/config"
	same "the refusal of $2" "$1" "$(error x)"
}
refused "line 3: repos: two would be /workspace/tool" 'repos:\n- a/tool\n- https://host/b/tool.git'
refused "line 2: repos: tool is cloned from inside, and network is none; let network be full, or [github.com]" 'network: none\nrepos: [a/tool]'
refused "line 2: repos: tool is cloned from inside, from github.com:443, which is not in network" 'network: [pypi.org]\nrepos: [a/tool]'
refused "line 2: repos: tool: only https: and http: go through the proxy of a network that is a list" 'network: [host]\nrepos: [git@host:a/tool]'
refused "line 1: repos: '../x' goes through .." 'repos: [../x]'
refused "line 1: repos: '--upload-pack=x' is no repository; write it as org/repo, https://host/path or git@host:path" 'repos: [--upload-pack=x]'
refused "line 1: repos: 'ext::sh -c id' is no repository; write it as org/repo, https://host/path or git@host:path" 'repos: ["ext::sh -c id"]'
refused "line 1: repos.dockerfile is not supported by this version" 'repos: [{url: a/b, dockerfile: Dockerfile}]'

# Ready before they are: one is never answered, one's server is dead, one's install ends badly.
url=http://localhost:$GIT_PORT
settings="network: ['localhost:$GIT_PORT', 'localhost:1']\nenv: {no_proxy: '', NO_PROXY: ''}\n"
made box "${settings}repos:
- {url: $url/tool.git, install: pip install --no-index --no-build-isolation --no-use-pep517 -e .}
- {url: $url/broken.git, install: 'echo all is lost; exit 3'}
- {url: $url/after.git, install: 'cat ../tool/tool.py; touch done'}
- {url: $url/tagged, revision: v1}
- {url: $url/side.git, revision: side}
- {url: $url/pulled.git, revision: $PULLED}
- {url: $url/wrong.git, revision: later}
- $url/empty.git
- http://localhost:1/dead.git
- $url/slow/held.git
" || fail "box: $(error box)"
same "its repositories" "after broken dead empty held pulled side tagged tool wrong" "$(ls "$M/sandboxes/box/repos" | xargs)"
for n in tool after tagged side pulled empty; do
	repo_ctl box $n wait || fail "$n: $(repo box $n error): $(tail -n 5 "$M/sandboxes/box/repos/$n/log")"
	repo_is box $n ready || fail "$n: $(repo box $n state)"
done
for n in broken wrong dead; do fails "a wait for $n" repo_ctl box $n wait; done
fails "a wait for one that is held" repo_ctl box held 'wait 0.1'
same "why" "cloning it is not ready yet" "$(repo box held state) $(repo box held error)"
same "the sandbox" ready "$(cat "$M/sandboxes/box/state")"
same "where it comes from" "$url/tool.git /workspace/tool" "$(repo box tool url) $(repo box tool path)"
same "the commit" "$(git -C "$G/tool.git" rev-parse main)" "$(repo box tool revision)"
same "a commit on no branch" "$PULLED" "$(repo box pulled revision)"
same "an empty one" "" "$(repo box empty revision)"
same "what is inside" "v1 side pulled" "$(inside box sh -c "cd /workspace; sed -n \"s/VALUE = '\(.*\)'/\1/p\" tagged/tool.py side/tool.py pulled/tool.py" | xargs)"
same "the branch that it is on" side "$(inside box git -C /workspace/side branch --show-current)"
same "the package that was installed" main "$(inside box python3 -c 'import tool; print(tool.VALUE)')"
grep -q "VALUE = 'main'" "$M/sandboxes/box/repos/after/log" || fail "the log of an install: $(repo box after log)"
inside box test -e /workspace/after/done || fail "an install did not run in its repository"
same "an install that failed" "failed install ended with status 3: all is lost" "$(repo box broken state) $(repo box broken error)"
same "no such revision" "failed $url/wrong.git has no revision later" "$(repo box wrong state) $(repo box wrong error)"
case $(repo box dead state)$(repo box dead error) in failedfatal:*"localhost:1"*) ;; *) fail "a dead server: $(repo box dead error)" ;; esac
same "what it leaves" ".held.cloning" "$(inside box ls -A /workspace | grep '^\..*cloning$')"

# What failed is tried again when asked; nothing else is.
fails "an unknown command" repo_ctl box tool again
same "why" "unknown command 'again'; known: wait [SECONDS], retry" "$(repo box tool error)"
fails "the same again" repo_ctl box broken retry
same "it was not cloned again" "1 failed" "$(sent broken.git) $(repo box broken state)"
git -C "$G/wrong.git" branch later side
repo_ctl box wrong retry || fail "retry: $(repo box wrong error)"
same "mended" "ready $(git -C "$G/wrong.git" rev-parse later) " "$(repo box wrong state) $(repo box wrong revision) $(repo box wrong error)"
same "what was ready" "1 ready" "$(repo_ctl box tool retry; sent tool.git) $(repo box tool state)"

# Its runner killed while it clones: the command runs on, and the next runner's finds what that one did.
kill -9 "$(runner_pids | head -n 1)"
eventually 30 repo_is box held cloning
: >"$G/go-held"
eventually 30 repo_ctl box held wait # the one that was killed may not be missed yet
same "sent so often" "1 ready" "$(sent slow/held.git) $(repo box held state)"

# A restart does not clone again, nor install; what failed is tried again, and mended.
inside box rm /workspace/after/done
ctl box restart || fail "restart: $(error box)"
fails "a wait for what fails again" repo_ctl box broken wait
same "after a restart" "1 ready" "$(sent tool.git) $(repo box tool state)"
! inside box test -e /workspace/after/done || fail "it was installed again"
same "the one that was cloned before its install failed" 1 "$(sent broken.git)"

# From a snapshot it is all there, also where nothing could be reached.
ctl box 'snapshot kept' || fail "snapshot: $(error box)"
made again "from_snapshot: kept\nnetwork: none\n" || fail "again: $(error again)"
for n in tool side pulled after; do repo_ctl again $n wait || fail "$n: $(repo again $n error)"; done
same "from a snapshot" "1 $(repo box side revision)" "$(sent side.git) $(repo again side revision)"
same "the package" main "$(inside again python3 -c 'import tool; print(tool.VALUE)')"
rmdir "$M/sandboxes/box" "$M/sandboxes/again"

# Over what is there already, nothing is cloned. A stop in the middle of a clone; the next start does it anew.
# What is tried again is not installed beside another.
printf 'mine\n' >"$T/mine"
made bare "${settings}local_files: [['$T/mine', /workspace/side/mine]]\nrepos:
- {url: $url/broken.git, install: '[ ! -e ../late/begun ] || touch ../late/beside; exit 3'}
- $url/side.git
- {url: $url/slow/late.git, install: 'touch begun; until [ -e go ]; do sleep 0.1; done; rm begun'}
" || fail "bare: $(error bare)"
fails "what is there already" repo_ctl bare side wait
same "what is there already" "/workspace/side is there already, and is not this repository at this revision: move it away and restart the sandbox" "$(repo bare side error)"
same "its file" mine "$(inside bare cat /workspace/side/mine)"
eventually 30 repo_is bare late cloning
ctl bare stop || fail "stop: $(error bare)"
same "what waits for the next start" waiting "$(repo bare late state)"
fails "a wait while it is stopped" repo_ctl bare late wait
: >"$G/go-late"
ctl bare start && ctl bare wait || fail "bare: $(error bare)"
eventually 30 repo_is bare late installing
repo_ctl bare broken retry & retry=$!
eventually 30 repo_is bare broken waiting
repo_is bare late installing || fail "late: $(repo bare late state)"
inside bare touch /workspace/late/go
repo_ctl bare late wait || fail "late: $(repo bare late error)"
fails "what is tried again" wait "$retry"
fails "two installs at once" inside bare test -e /workspace/late/beside
same "what is left of the first clone" "" "$(inside bare ls -A /workspace | grep cloning)"
grep -q '^\[interrupted\]$' "$M/sandboxes/bare/repos/late/log" || fail "its log: $(repo bare late log)"
rmdir "$M/sandboxes/bare"

# Without git inside, the repository says so.
made gitless "network: ['localhost:$GIT_PORT']\nenv: {PATH: /nowhere}\nrepos: [$url/tool.git]\n" || fail "gitless: $(error gitless)"
fails "a clone without git" repo_ctl gitless tool wait
same "no git" "there is no git in the sandbox: put git into system_packages, or take an image that has it" "$(repo gitless tool error)"
# Another list: what a name led to is not remembered.
ctl gitless stop
printf "${settings}repos: [$url/side.git, $url/tool.git]\n" >"$M/sandboxes/gitless/config"
ctl gitless wait && repo_ctl gitless tool wait || fail "gitless: $(error gitless) $(repo gitless tool error)"
same "the same name" "$url/tool.git $(git -C "$G/tool.git" rev-parse main)" "$(repo gitless tool url) $(repo gitless tool revision)"
ctl gitless stop
printf "${settings}repos: [$url/side.git]\n" >"$M/sandboxes/gitless/config"
ctl gitless wait || fail "gitless: $(error gitless)"
fails "one that is not in the list any more" cat "$M/sandboxes/gitless/repos/tool/url"
rmdir "$M/sandboxes/gitless"

# By a network of its own, from an address of this machine that is not its loopback, where there is one; the short
# form goes to GitHub, which is that server here.
address=$(ip -4 -o addr show scope global 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}')
if [ -n "$address" ]; then
	serve_git "$address"
	mkdir "$G/a"; cp -r "$G/tool.git" "$G/a/tool"
	made full "env: {GIT_CONFIG_COUNT: 1, GIT_CONFIG_KEY_0: url.http://$address:$GIT_PORT/.insteadOf, GIT_CONFIG_VALUE_0: https://github.com/}\nrepos: [a/tool]\n" ||
		fail "full: $(error full)"
	repo_ctl full tool wait || fail "full: $(repo full tool error)"
	same "the short form" "https://github.com/a/tool $(repo full tool revision)" "$(repo full tool url) $(git -C "$G/tool.git" rev-parse main)"
	rmdir "$M/sandboxes/full"
fi
