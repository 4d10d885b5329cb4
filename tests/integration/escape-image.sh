#!/bin/bash
# The attempts of escape.sh from sandboxes that have an image in place of this machine's system.
# runs: root user
IMAGE=yes exec "$(dirname "$0")/escape.sh"
