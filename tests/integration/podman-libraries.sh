#!/bin/bash
# The same packages of a workspace on Podman as on Docker.
# runs: root
ENGINE_TO_TEST=start_podman exec "$(dirname "$0")/docker-libraries.sh"
