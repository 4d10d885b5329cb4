# Sourced by every test in tests/integration. A test is a script that exits 0 when the behaviour
# holds; it runs from the top of the source tree, as root or as an ordinary user.
#
#   INTERPFS  the program under test (default build/interpfs)      T  the test's scratch folder
#   M         the mount point $T/mnt                                S  the state directory $T/state
#
#   mount_it [OPTIONS]      mounts S on M; the daemon's own messages go to $T/mount.log
#   unmount_it              unmounts, and waits for the daemon's end; runners go on
#   eventually N CMD...     runs CMD until it succeeds; fails when it has not within N seconds of a machine that has
#                           nothing else to do: one that has gets $PATIENCE times as many
#   same WHAT EXPECTED GOT  fails with both when they differ
#   fails WHAT CMD...       CMD must fail
#   fail MESSAGE            ends the test
#   on_exit CMD             run at the end, whatever happens (last one first)
#
#   warm_up                 after mount_it: takes the Python layers that earlier tests made, keeps new ones for
#                           later tests (they are named by what is in them), so that not each test installs Jupyter
#   ask FILE TEXT           a call file on one descriptor: writes TEXT, prints the answer
#
#   made NAME CONFIG        makes a sandbox, with the config as printf's %b has it: whether it became ready
#   inside NAME CMD...      runs CMD in a sandbox
#   ctl NAME LINE           a command to a sandbox
#   error NAME              what it has to say
#
# At the end everything is unmounted; every runner and sandbox of $S is ended, by the process ids in S, and
# their control groups are removed, by the id of S in their names.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
TOP=$PWD
INTERPFS=${INTERPFS:-$TOP/build/interpfs}
NAME=$(basename "$0" .sh)
PATIENCE=${PATIENCE:-8}
T=$(mktemp -d "${TMPDIR:-/tmp}/interpfs-$NAME.XXXXXX") || exit 2
M=$T/mnt S=$T/state
mkdir "$M"
[ -z "${TEST_FOLDERS:-}" ] || echo "$T/" >>"$TEST_FOLDERS" # tests/check looks whether anything of it stays
EXIT_COMMANDS=()
# Daemons have no terminal: what a sanitizer finds in any process of the test goes to a file, and finish() looks.
export ASAN_OPTIONS="log_path=$T/sanitizer:abort_on_error=0:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:log_path=$T/sanitizer:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="log_path=$T/sanitizer:${TSAN_OPTIONS:-}"

on_exit() { EXIT_COMMANDS=("$1" "${EXIT_COMMANDS[@]+"${EXIT_COMMANDS[@]}"}"); }

show_logs() {
	local f
	for f in "$T"/mount.log "$S"/log "$S"/*/[0-9]*/failure "$S"/*/[0-9]*/refusal; do
		[ -s "$f" ] && { echo "--- ${f#"$T"/}" >&2; tail -n 40 "$f" >&2; }
	done
}

fail() {
	echo "FAILED: $*" >&2
	echo "  at ${BASH_SOURCE[1]}:${BASH_LINENO[0]}; alone: $0" >&2
	show_logs
	exit 1
}

# Not within its time: what it was at. A command of its own is its first line; where it is called from follows.
told_to_end() { # COMMAND
	local i
	[ "$BASHPID" = $$ ] || exit 130 # a job that has traps for a moment yet: see finish()
	echo "FAILED: told to end while at: ${1%%$'\n'*}" >&2
	for ((i = 2; i < ${#BASH_SOURCE[@]}; i++)); do echo "  in ${FUNCNAME[i - 1]}, called at ${BASH_SOURCE[i]}:${BASH_LINENO[i - 1]}" >&2; done
	show_logs
	exit 130
}

same() {
	[ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

fails() {
	local what=$1; shift
	if "$@" >/dev/null 2>&1; then fail "$what: '$*' succeeded"; fi
}

eventually() {
	local seconds=$(($1 * PATIENCE)) end; shift
	end=$(( $(date +%s) + seconds ))
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$end" ] || fail "not within $seconds s: $*"
		sleep 0.05
	done
}

mount_it() {
	"$INTERPFS" mount "$@" -o "state=$S" "$M" >>"$T/mount.log" 2>&1 || fail "mount exited with $?"
}

no_daemon() { flock -n "$S/lock" true; }
unmount_it() {
	fusermount3 -u "$M" || fail "unmount"
	eventually 20 no_daemon # until then it starts again what is killed
}

LAYER_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/interpfs-tests
copy_layers() { # FROM TO
	local d
	for d in "$1"/layers/[0-9a-f]* "$1"/jupyter/[0-9a-f]*/[0-9a-f]*; do
		case $d in *~*) continue ;; esac # another test is copying it
		[ -d "$d" ] || continue
		set -- "$1" "$2" "$2${d#"$1"}"
		[ -d "$3" ] && continue
		mkdir -p "${3%/*}"
		{ cp -al "$d" "$3~$$" 2>/dev/null || { rm -rf "$3~$$"; cp -a "$d" "$3~$$"; }; } && mv -T "$3~$$" "$3" 2>/dev/null
		rm -rf "$3~$$"
	done
}
warm_up() {
	mkdir -p "$LAYER_CACHE" && copy_layers "$LAYER_CACHE" "$S"
	on_exit 'copy_layers "$S" "$LAYER_CACHE"'
}

ask() {
	exec 9<>"$1" || fail "open $1"
	printf '%s\n' "$2" >&9 || fail "write $1"
	cat <&9
	exec 9>&-
}

made() { mkdir -p "$M/sandboxes/$1" && printf '%b' "$2" 2>/dev/null >"$M/sandboxes/$1/config" && ctl "$1" wait; }
inside() { "$INTERPFS" exec "$M/sandboxes/$1" -- "${@:2}"; }
ctl() { echo "$2" 2>/dev/null >"$M/sandboxes/$1/ctl"; }
error() { cat "$M/sandboxes/$1/error"; }

# The process that a file "PID STARTTIME BOOTID" names, while it lives; a number is used again.
live_pid() { # FILE
	local pid start
	read -r pid start _ <"$1" || return
	# field 22 of stat, counted behind the command's closing parenthesis
	if [ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20)" = "$start" ]; then echo "$pid"; fi
}

# The runner's process of each object.
runner_pids() {
	local f
	for f in "$S"/*/[0-9]*/run/pid; do
		if [ -e "$f" ]; then live_pid "$f"; fi
	done
}

# The kernel empties a group a moment after its last process has died.
remove_groups() {
	local id
	[ "$(id -u)" = 0 ] && [ -s "$S/id" ] && read -r id <"$S/id" && [ -n "$id" ] || return 0
	for _ in $(seq 500); do
		find /sys/fs/cgroup -depth -type d -path "*/interpfs-$id-*" -exec rmdir {} + 2>/dev/null
		[ -z "$(find /sys/fs/cgroup -type d -name "interpfs-$id-*" 2>/dev/null)" ] && return
		sleep 0.02
	done
	echo "control groups of $S are left" >&2
}

# Ends every object through the front door, so that nothing of it stays.
end_objects() {
	local c o
	mountpoint -q "$M" 2>/dev/null || return 0
	for c in sessions notebooks sandboxes; do
		for o in "$M/$c"/*/; do [ -L "${o%/}" ] || rmdir "$o" 2>/dev/null; done
	done
	for _ in $(seq 600); do [ -z "$(runner_pids)" ] && break; sleep 0.05; done
}

finish() {
	local status=$? c pid
	# A job that is ended before it runs its program is still this script, with its traps: the end is not its.
	[ "$BASHPID" = $$ ] || exit "$status"
	trap : INT TERM # who ends it may say so twice
	for c in "${EXIT_COMMANDS[@]+"${EXIT_COMMANDS[@]}"}"; do eval "$c"; done
	end_objects
	fusermount3 -u "$M" 2>/dev/null || fusermount3 -uz "$M" 2>/dev/null
	awk -v t="$T/" '$3 == "fuse.interpfs" && index($2, t) == 1 {print $2}' /proc/mounts |
		while read -r c; do fusermount3 -uz "$(printf '%b' "${c//\\040/ }")" 2>/dev/null; done
	for pid in $(runner_pids); do kill -9 "$pid" 2>/dev/null; done
	# What a killed runner had started: sandboxes, the boxes in which layers are made, a probe.
	for c in "$S"/sandboxes/[0-9]*/box "$S"/layers/.build-* "$S"/probe.*; do
		[ -e "$c/ctl/pid" ] && pid=$(live_pid "$c/ctl/pid") && [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
	done
	remove_groups
	for c in "$T"/sanitizer.*; do
		[ -e "$c" ] || continue
		echo "FAILED: a sanitizer's report" >&2
		head -n 60 "$c" >&2
		status=1
	done
	if [ -n "${KEEP:-}" ]; then echo "kept $T" >&2; else
		chmod -R u+rwx "$T" 2>/dev/null
		# An image's files may belong to the user's subordinate ids.
		rm -rf --one-file-system "$T" 2>/dev/null || unshare --map-auto --map-root-user rm -rf --one-file-system "$T" 2>/dev/null
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'told_to_end "$BASH_COMMAND"' TERM
