#!/bin/bash
# This machine itself: the list that every engine runs.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/engine.sh

engine_tests local ""
