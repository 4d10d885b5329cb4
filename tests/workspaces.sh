# What the tests of a workspace's packages share. Sourced after functions.sh.
#
#   W                        the workspace
#   wheel FOLDER NAME VERSION [KIND]    a distribution, see wheels.py
#   settled                  all that it wants installed is, or is said not to be
#   line ENTRY               its line of `installed`
#   cell CODE                runs it in the notebook nb
W=$M/workspace
wheel() { python3 tests/wheels.py "$@" || fail "wheels.py $*"; }
settled() { echo wait >"$W/ctl" || fail "wait: $(cat "$W/error" "$W/installed")"; }
line() { grep "^$1 " "$W/installed" || fail "no line of $1: $(cat "$W/installed")"; }
cell() { ask "$M/notebooks/nb/exec" "$1"; }
