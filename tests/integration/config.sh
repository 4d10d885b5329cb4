#!/bin/bash
# also: threads
# Bad input: every refusal fails where the writer sees it, says in `error` what is wrong and where, starts
# nothing, and loses nothing.
. "$(dirname "$0")/../functions.sh"
mount_it
L=$M/sandboxes/lab
mkdir "$L" || fail "mkdir"
same "a draft" draft "$(cat "$L/state")"

refused() { # TEXT SENTENCE [OBJECT]
	local o=${3:-$L}
	if printf '%b' "$1" | dd of="$o/config" bs=64k status=none 2>/dev/null; then fail "accepted: $1"; fi
	same "error of '$1'" "$2" "$(cat "$o/error")"
	same "state after '$1'" draft "$(cat "$o/state")"
}

# a shell's echo sees it, by every shell that there is
for sh in bash dash zsh 'busybox sh'; do
	command -v "${sh%% *}" >/dev/null || continue
	# shellcheck disable=SC2086
	if $sh -c "echo 'gpuu: A100' > $L/config" 2>/dev/null; then fail "$sh: echo of a refused line succeeded"; fi
	same "$sh" "line 1: unknown field 'gpuu'; did you mean 'gpu'?" "$(cat "$L/error")"
	# the lines after a refused one start nothing (K1)
	# shellcheck disable=SC2086
	if $sh -c "printf 'timeout: 60\ngqu: A100\ncpu: 1\n' > $L/config" 2>/dev/null; then fail "$sh: the lines after a refused one"; fi
	same "$sh: line 2" "line 2: unknown field 'gqu'; did you mean 'gpu'?" "$(cat "$L/error")"
	same "$sh: it starts nothing" draft "$(cat "$L/state")"
done
same "what was refused can be read back" "timeout: 60" "$(head -n1 "$L/config")"
[ ! -e "$S/sandboxes/$(basename "$(readlink "$S/sandboxes/names/lab")")/spec.json" ] || fail "something is in force"

refused '# one\n\ndebug: true\n' 'line 3: debug is not supported by this version'
refused 'repos: [{url: a/b, dockerfile: x}]\n' 'line 1: repos.dockerfile is not supported by this version'
refused 'backend: modal\n' 'line 1: modal is not supported by this version'
refused 'timeout: soon\n' "line 1: timeout must be a whole number, not 'soon'"
refused 'timeout: -1\n' 'line 1: timeout must be between 1 and 31536000, not -1'
refused 'python_packages: numpy\n' "line 1: python_packages must be a list such as [a, b], not 'numpy'"
refused 'local_files: [[notes.txt, /workspace/notes.txt]]\n' "line 1: local_files: 'notes.txt' is a relative path; write it from / or ~/"
refused 'local_files: [[/no/such/file, /workspace/x]]\n' 'line 1: local_files: /no/such/file: No such file or directory'
refused "local_dirs: [[/etc/passwd, /workspace/x]]\n" 'line 1: local_dirs: /etc/passwd is no folder; local_files takes files'
refused 'secrets: [NO_SUCH_SECRET_AT_ALL]\n' "line 1: the secret NO_SUCH_SECRET_AT_ALL is not in the mount's environment, nor in its env_file"
refused 'workspace: defualt\n' "line 1: there is no workspace 'defualt'; did you mean 'default'?"
refused 'workspace: zzz\n' "line 1: there is no workspace 'zzz'; mkdir workspaces/zzz makes one"
refused 'timeout: 60\ntimeout: 70\n' "line 2: 'timeout' is given twice"
refused 'env: &x {}\n' 'line 1: anchors and aliases (& and *) are not taken; quote the text if it is one'
refused 'env: {A: "x}\n' 'line 1: the quote that begins here is not closed'
refused 'timeout: 60\0\n' 'line 1: a NUL character; this is no text'
refused '\xff\xfe' 'line 1: not UTF-8 text'
# what a shell's echo did not see, wait says, and does not hide why
printf 'local_files: [[/no/such/file, /workspace/x]]' >"$L/config"
fails "wait on a refused config" sh -c "echo wait >$L/ctl"
same "why, after wait" 'line 1: local_files: /no/such/file: No such file or directory' "$(cat "$L/error")"

refused '{"timeout": 60, "tiemout": 1}' "line 1: unknown field 'tiemout'; did you mean 'timeout'?"

# what is not there is refused by the write of its line, in a list by its item's
sees() { # FILE LINE SENTENCE
	if sh -c "printf '$2' >$1" 2>/dev/null; then fail "a shell does not see it: $2"; fi
	same "error of '$2'" "$3" "$(cat "$(dirname "$1")/error")"
}
sees "$L/config" 'timeout: 60\nworkspace: zzz\n' "line 2: there is no workspace 'zzz'; mkdir workspaces/zzz makes one"
sees "$L/config" 'timeout: 60\nsecrets:\n- HOME\n- NO_SUCH_SECRET\n' "line 4: the secret NO_SUCH_SECRET is not in the mount's environment, nor in its env_file"
sees "$L/config" 'local_files:\n- [/etc/passwd, /x]\n- [/etc, /y]\n' "line 3: local_files: /etc is a folder; local_dirs takes folders"
# what a later line makes right is not
mkdir "$M/sandboxes/good" "$M/sessions/good"
printf 'secrets: [{name: HOME, hosts: [example.org]}]\nnetwork: [example.org]\n# not yet\ntimeout: 900' >"$M/sandboxes/good/config" || fail "secrets before network: $(cat "$M/sandboxes/good/error")"
printf 'provider: replay\nreplay: /dev/null\n' >"$M/sessions/good/config" || fail "provider before replay: $(cat "$M/sessions/good/error")"
printf 'replay: /dev/null\nprovider: replay\n' >"$M/sessions/good/config" || fail "replay before provider: $(cat "$M/sessions/good/error")"
rmdir "$M/sandboxes/good" "$M/sessions/good" || fail "rmdir: $(cat "$M/error")"

# 20 MB: refused while it is written, and what came can be read back
head -c 20000000 /dev/zero | tr '\0' '#' >"$T/big"
fails "20 MB by cp" cp "$T/big" "$L/config"
same "its sentence" "config: a document holds at most 1 MiB" "$(cat "$L/error")"
fails "20 MB by cat" sh -c "cat $T/big > $L/config"
[ "$(stat -c %s "$L/config")" -le 1048576 ] || fail "more than a document is kept"

# nothing written, comments: starts nothing, is no error
echo '# later' >"$L/config" || fail "a comment"
same "a comment starts nothing" draft "$(cat "$L/state")"
same "no error any more" "" "$(cat "$L/error")"

# names
fails "a second one of the same name" mkdir "$L"
for name in .hidden "$(printf 'n%.0s' $(seq 256))" $'new\nline' .Trash-0; do fails "a name: $name" mkdir "$M/sandboxes/$name"; done
fails "a name with a slash" mkdir "$M/sandboxes/a/b"
fails "a number" mkdir "$M/sessions/12"
same "the root's error" "mkdir sessions/12: numbers are given by sessions/new" "$(cat "$M/error")"
# each refusal is told in the root's error, with what was tried: an older one is never taken for it
why() { # SENTENCE CMD…
	local sentence=$1; shift
	fails "$*" "$@"
	same "the root's error after $*" "$sentence" "$(cat "$M/error")"
}
why "a name in sandboxes/: a name has at most 255 bytes" mkdir "$M/sandboxes/$(printf 'n%.0s' $(seq 256))"
why "mkdir sandboxes/.hidden: a name must not begin with a dot" mkdir "$M/sandboxes/.hidden"
why "mkdir sandboxes/new line: a name must not contain control characters" mkdir "$M/sandboxes/new"$'\n'"line"
why "mkdir sandboxes/a?: a name must be UTF-8" mkdir "$M/sandboxes/a"$'\xff'
why "mkdir .Trash-0: there is no trash here; delete with rmdir" mkdir "$M/.Trash-0"
why "a file x: no file can be made here" touch "$M/x"
why "a file sandboxes/x: mkdir makes one" touch "$M/sandboxes/x"
why "a link sandboxes/x: none can be made here" ln -s /etc/passwd "$M/sandboxes/x"
why "a link x: none can be made here" ln "$M/README" "$M/x"
why "a special file x: none can be made here" mkfifo "$M/x"
why "rm README: it belongs to the mount" rm -f "$M/README"
why "rmdir sandboxes: it belongs to the mount" rmdir "$M/sandboxes"
why "mv sandboxes/lab: it cannot be moved out of its folder" mv "$L" "$M/notebooks/lab"
why "mv to sandboxes/.lab: a name must not begin with a dot" mv "$L" "$M/sandboxes/.lab"
mkdir "$L/interfaces/tools" || fail "an interface"
why "mkdir sandboxes/lab/interfaces/tools/sub: a folder cannot be made here" mkdir "$L/interfaces/tools/sub"
why "a file sandboxes/lab/interfaces/tools/functions/add: no file can be made here" touch "$L/interfaces/tools/functions/add"
why "mkdir sandboxes/lab/interfaces/.hidden: a name must not begin with a dot" mkdir "$L/interfaces/.hidden"
why "mkdir backends/local/x: a folder cannot be made here" mkdir "$M/backends/local/x"
rmdir "$L/interfaces/tools" || fail "rmdir of an interface"
why "rmdir workspaces/default: it stays, with this name: it is the workspace of everything that names no other" rmdir "$M/workspaces/default"
why "mv workspaces/default: it stays, with this name: it is the workspace of everything that names no other" mv "$M/workspaces/default" "$M/workspaces/mine"
test -d "$M/workspace/libraries" || fail "workspace leads nowhere"
mkdir "$M/sandboxes/$(printf 'ü%.0s' $(seq 127))" || fail "254 bytes of UTF-8 are a name"
same "no error any more" "" "$(cat "$M/error")"
fails "mkdir in the root" mkdir "$M/x"
fails "a file beside config" sh -c "mkdir $L/folder"

# a notebook on what is not there
mkdir "$M/notebooks/probe"
refused 'sandbox: lba\n' "line 1: there is no sandbox 'lba'; did you mean 'lab'?" "$M/notebooks/probe"
refused '{}\n' 'line 1: sandbox is missing: name the sandbox in which the notebook runs' "$M/notebooks/probe"
refused 'sandbox: lab\nattach: http://x\n' 'line 2: attach is not supported by this version' "$M/notebooks/probe"

# ctl's commands on a draft whose config was refused repeat why, judged as things are now
P=$M/notebooks/later
mkdir "$P" && ! cp /dev/stdin "$P/config" <<<'sandbox: later' 2>/dev/null || fail "a sandbox that is not there"
for command in wait restart; do
	fails "$command" sh -c "echo $command >$P/ctl"
	same "error after $command" "line 1: there is no sandbox 'later'; mkdir sandboxes/later makes one" "$(cat "$P/error")"
done
mkdir "$M/sandboxes/later"
fails "wait" sh -c "echo wait >$P/ctl"
same "error after wait" "its config was refused, and would be accepted now: write it again" "$(cat "$P/error")"
fails "restart, on a sandbox that was never started" sh -c "echo restart >$P/ctl"
same "it is in force" later "$(jq -r .config.sandbox "$P/info.json")"
# What has failed, and whose next config is refused: wait says why it does not run, not what it failed of before.
mkdir "$M/sandboxes/old" && echo 'image: /no/such/image.tar' >"$M/sandboxes/old/config" || fail "a sandbox that will fail"
fails "wait" sh -c "echo wait >$M/sandboxes/old/ctl"
same "what it failed of" "image: /no/such/image.tar: No such file or directory" "$(cat "$M/sandboxes/old/error")"
echo 'image: image.tar' >"$M/sandboxes/old/config" # echo does not look at what close(2) says
fails "wait" sh -c "echo wait >$M/sandboxes/old/ctl"
grep -q 'names such as image.tar need backend: docker$' "$M/sandboxes/old/error" || fail "error after wait: $(cat "$M/sandboxes/old/error")"
rmdir "$P" "$M/sandboxes/later" "$M/sandboxes/old" || fail "rmdir: $(cat "$M/error")"
mkdir "$M/workspaces/fresh" && echo wait >"$M/workspaces/fresh/ctl" || fail "a workspace into which nothing was copied"
grep -q '^workspace fresh ready ' "$M/status" || fail "status: $(cat "$M/status")"

# sessions
mkdir "$M/sessions/chat"
refused 'notebook: none\n' "line 1: there is no notebook 'none'; mkdir notebooks/none makes one" "$M/sessions/chat"
refused 'notebook: probe\nsandbox: lab\n' 'line 2: give notebook or sandbox, not both: a notebook has its sandbox' "$M/sessions/chat"
refused 'provider: replay\n' 'line 1: provider replay needs the field replay: a session, a folder or a file' "$M/sessions/chat"
refused 'provider: openai\n' 'line 1: openai is not supported by this version' "$M/sessions/chat"
refused 'limits: {turns: 0}\n' 'line 1: limits.turns must be between 1 and 1000000000, not 0' "$M/sessions/chat"
sees "$M/sessions/chat/config" 'provider: replay\nreplay: nobody\n' "line 2: there is no session 'nobody' to replay"
sees "$M/sessions/chat/config" 'provider: replay\nreplay: /no/such/file\n' "line 2: replay: /no/such/file: No such file or directory"
fails "input without a config" sh -c "echo hello > $M/sessions/chat/input"
same "its sentence" "the session has no config yet; write it first" "$(cat "$M/sessions/chat/error")"

# sessions/new: refused makes none; six at once get six numbers, each its own
if sh -c "echo 'notebok: probe' > $M/sessions/new" 2>/dev/null; then fail "a refused config made a session"; fi
same "the root's error" "line 1: unknown field 'notebok'; did you mean 'notebook'?" "$(cat "$M/error")"
same "no session" "chat latest new" "$(ls "$M/sessions" | xargs)"
for i in 1 2 3 4 5 6; do
	bash -c "exec 3<>$M/sessions/new; printf 'limits: {turns: $i}\n' >&3; read -r n <&3; exec 3>&-; echo \$n >$T/n$i; grep -q 'turns: $i' $M/sessions/\$n/config" || touch "$T/bad$i" &
done
wait
same "nobody read another's" "" "$(ls "$T" | grep bad)"
same "six numbers" 6 "$(cat "$T"/n? | sort -u | wc -l)"
same "the newest" "$(cat "$T"/n? | sort -n | tail -n1)" "$(readlink "$M/sessions/latest")"
n=$(cat "$T/n1")
same "a session's state" draft "$(cat "$M/sessions/$n/state")"
# A config that was taken is in force, however busy the disk is: twelve are on their way to it.
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	bash -c "exec 3<>$M/sessions/new; printf 'limits: {turns: $i}\n' >&3; read -r n <&3; jq .config.limits.turns $M/sessions/\$n/info.json >$T/f$i; rmdir $M/sessions/\$n" &
done
wait
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do same "config $i in force" "$i" "$(cat "$T/f$i")"; done
same "its config in force" 1 "$(jq .config.limits.turns "$M/sessions/$n/info.json")"
same "its kind" session "$(jq -r .kind "$M/sessions/$n/info.json")"
echo 'Be brief.' >"$M/sessions/$n/prompt" || fail "prompt"
same "prompt" 'Be brief.' "$(cat "$M/sessions/$n/prompt")"
same "links" ../../workspaces/default "$(readlink "$M/sessions/$n/workspace")"

# everything has its place in README and status, and walkers start nothing
grep -q '^session '"$n"' draft ' "$M/status" || fail "status: $(cat "$M/status")"
grep -q 'sandboxes/NAME/ctl' "$M/README" || fail "README"
before=$(cat "$S"/*/names/*/want | sha256sum) # of what has a name: what was removed goes on its own
grep -rq nothing-like-it "$M"; find "$M" -ls >/dev/null; tar -C "$M" -cf /dev/null . 2>/dev/null; cp -r "$M/sandboxes" "$T/walked" || fail "cp -r of the tree"
same "walking starts nothing" "$before" "$(cat "$S"/*/names/*/want | sha256sum)"
same "sizes are true" "" "$(cd "$M" && find . -type f -readable -size -100k ! -path ./log ! -path ./status | while read -r f; do a=$(stat -c %s "$f"); b=$(wc -c <"$f"); [ "$a" = "$b" ] || echo "$f $a $b"; done)"
fails "fs of what does not run" ls "$L/fs/"

# a long config costs about the same in one piece and in a thousand: it is not judged anew at each write
python3 - "$L/config" "$(cut -d' ' -f1 "$S/lock")" <<'PY' || fail "a long config in small pieces"
import os, sys

text = b"python_packages:\n" + b"".join(b"- package%07d\n" % i for i in range(50000)) + b"timeout: soon\n"


def used():
    """The mount's own time: that of a clock is everybody's."""
    with open(f"/proc/{sys.argv[2]}/stat") as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def write(piece):
    began = used()
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
    for at in range(0, len(text), piece):
        os.write(fd, text[at : at + piece])
    try:
        os.close(fd)
    except OSError:
        return used() - began
    raise SystemExit("it was accepted")


whole, pieces = min(write(1 << 17) for _ in range(3)), write(1024)
if pieces > 20 * whole + 2:
    raise SystemExit(f"{whole:.2f} s in one piece, {pieces:.2f} s in a thousand")
PY
same "its sentence" "line 50002: timeout must be a whole number, not 'soon'" "$(cat "$L/error")"
