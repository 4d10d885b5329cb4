#!/bin/bash
# The same models on Podman as on Docker.
# runs: root
ENGINE_TO_TEST=start_podman exec "$(dirname "$0")/docker-models.sh"
