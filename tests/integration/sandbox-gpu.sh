#!/bin/bash
# gpu: what this machine has is told by a CDI specification (here one of the test's own, with harmless
# devices): a sandbox gets its nodes, variables and files, and works on the device; each has one owner;
# what is not there is refused with what is.
# runs: root user
. "$(dirname "$0")/../functions.sh"

mkdir "$T/cdi"
cat >"$T/cdi/test.yaml" <<EOF
cdiVersion: "0.6.0"
kind: example.com/gpu
devices:
  - name: A100-0
    containerEdits:
      deviceNodes:
        - {path: /dev/test-gpu0, hostPath: /dev/zero}
  - name: A100-1
    containerEdits:
      deviceNodes:
        - {path: /dev/test-gpu1, hostPath: /dev/full}
  - name: all
    containerEdits: {deviceNodes: [{path: /dev/test-gpu0, hostPath: /dev/zero}]}
containerEdits:
  env: [TEST_GPU=yes]
  deviceNodes: [{path: /dev/test-gpuctl, hostPath: /dev/null}]
  mounts:
    - {hostPath: $T/cdi/test.yaml, containerPath: /opt/driver/spec.yaml, options: [ro, bind]}
EOF
echo '{"cdiVersion": "0.6.0", "kind": "example.com/gpu", "devices": [{"name": "L4", "containerEdits": {"deviceNodes": [{"path": "/dev/test-l4", "hostPath": "/dev/zero"}]}}]}' >"$T/cdi/other.json"
echo '{"kind": "broken' >"$T/cdi/broken.json"
export INTERPFS_CDI=$T/cdi

mount_it
inside() { timeout 400 "$INTERPFS" exec "$M/sandboxes/$1" -- sh -c "$2"; }
made() { mkdir -p "$M/sandboxes/$1" && printf 'network: none\n%b' "$2" >"$M/sandboxes/$1/config" && echo wait >"$M/sandboxes/$1/ctl"; }

made one 'gpu: A100\n' || fail "one: $(error one)"
node=$(inside one 'ls /dev | grep "test-gpu[01]"')
case $node in test-gpu0 | test-gpu1) ;; *) fail "its devices: '$node'" ;; esac
if [ "$node" = test-gpu0 ]; then
	same "the device works" 4 "$(inside one 'head -c 4 /dev/test-gpu0 | wc -c')"
else
	same "the device works" "No space left on device" "$(inside one 'LC_ALL=C sh -c "echo x >/dev/test-gpu1" 2>&1 | sed "s/.*: //"')"
fi
same "the control device" ok "$(inside one 'echo x >/dev/test-gpuctl && echo ok')"
same "variables and files" "yes 1" "$(inside one 'echo $TEST_GPU $(grep -c cdiVersion /opt/driver/spec.yaml)')"
fails "the other GPU's node by mknod" inside one "mknod /dev/other c 1 8 && head -c 1 /dev/other"
same "info.json" 1 "$(jq '.gpus | length' "$M/sandboxes/one/info.json")"
grep -q 'broken.json' "$M/sandboxes/one/log" || fail "the broken specification is not in the log"

made two 'gpu: a100\n' || fail "two: $(error two)"
[ "$(inside two 'ls /dev | grep "test-gpu[01]"')" != "$node" ] || fail "both have the same GPU"
made three 'gpu: A100\n' 2>/dev/null && fail "a third of two"
same "the third's error" "gpu: 2 of 2 A100 are in use by other sandboxes" "$(error three)"
made four 'gpu: H100\n' 2>/dev/null && fail "a GPU that is none"
case $(error four) in "gpu: this machine has "*"A100-0"*"L4"*", not 1 H100") ;; *) fail "the fourth's error: $(error four)" ;; esac
made five 'gpu: L4\ngpu_count: 2\n' 2>/dev/null && fail "two of one"
fails "a kind that is none" sh -c 'echo "gpu: \"a/b\"" >"$1"' sh "$M/sandboxes/five/config"
made none '' || fail none
same "without gpu" "" "$(inside none 'ls /dev | grep test')"

# One that has stopped has none; one that is restarted, or found again by a new runner, has its own.
echo stop >"$M/sandboxes/two/ctl" || fail stop
echo start >"$M/sandboxes/three/ctl" && echo wait >"$M/sandboxes/three/ctl" || fail "three: $(error three)"
echo restart >"$M/sandboxes/one/ctl" || fail "restart: $(error one)"
for p in $(runner_pids); do kill -9 "$p"; done
eventually 20 inside one true
same "after all that" "$node" "$(inside one 'ls /dev | grep "test-gpu[01]"')"
same "the gpu file without nvidia-smi" "" "$(cat "$M/sandboxes/one/gpu")"
