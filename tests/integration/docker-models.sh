#!/bin/bash
# Models in containers: downloaded once, on this machine, from a hub on its loopback; bound read-only whatever the
# network; of a hidden one the name is nowhere inside. Where the engine is on another machine they are refused by name.
# runs: root
. "$(dirname "$0")/../functions.sh"
. tests/engines.sh
. tests/engine.sh
. tests/hub/hub.sh

${ENGINE_TO_TEST:-start_docker}
make_image interpfs-test
BACKEND=docker LINE="image: interpfs-test"
mount_it
warm_up
there() { # NAME VAR MODEL: each of its files is inside as the hub has it
	local f
	for f in config.json model.safetensors tokenizer.json; do
		same "$1: $f" "$(sha256sum <"$H/$3/$f")" "$(inside "$1" cat "/models/$2/$f" | sha256sum)"
	done
}

# Two at once: one download.
for n in lab two; do
	mkdir "$M/sandboxes/$n"
	write_config $n "network: none" "models: [someorg/verysecret-9b]" || fail "$n: $(error $n)"
done
for n in lab two; do
	ctl $n wait || fail "$n: $(error $n): $(tail -n 20 "$M/sandboxes/$n/log")"
	there $n model someorg/verysecret-9b
done
same "downloads" 1 "$(grep -c '^GET .*tokenizer.json' "$T/requests")"
same "its variable" /models/model "$(inside lab sh -c 'echo $MODEL_MODEL_PATH')"
fails "writing into a model" inside lab sh -c 'echo x >/models/model/config.json'
fails "removing a model" inside lab rm /models/model/config.json
P=$M/sandboxes/lab/models/model
same "what the tree says" "someorg/verysecret-9b /models/model ready" "$(cat "$P/name" "$P/path" "$P/state" | xargs)"
same "who uses it" "sandboxes/lab sandboxes/two" "$(sort "$M/models/someorg--verysecret-9b/used-by" | xargs)"
rmdir "$M/sandboxes/two"

# By the next runner, after a restart, and with another one, for which the container is made anew with its files.
inside lab sh -c 'echo kept >/root/file'
kill -9 "$(runner_of lab)"
eventually 20 inside lab cat /models/model/config.json
ctl lab stop
write_config lab "network: none" "execution_mode: cli" "models: [someorg/verysecret-9b,
  {name: someorg/verysecret-lora, var_name: subject, hidden: true, is_peft: true, base_model: someorg/verysecret-9b}]" || fail "another model: $(error lab)"
ctl lab wait || fail "another model: $(error lab)"
there lab model someorg/verysecret-9b
same "its file" kept "$(inside lab cat /root/file)"
same "the adapter" "adapter_config.json adapter_model.safetensors" "$(inside lab ls /models/subject | xargs)"
same "variables" "/models/subject /models/subject_base" "$(inside lab sh -c 'echo $MODEL_SUBJECT_PATH $MODEL_SUBJECT_BASE_PATH')"
same "programs for a shell" "load_model.py load_subject.py" "$(inside lab sh -c 'cd /workspace && ls *.py' | xargs)"
same "what one says" "load.NotLoaded: not loaded: torch is not among the sandbox's python_packages" \
	"$(inside lab sh -c 'cd /workspace && python3 -c "import load_subject"' 2>&1 | tail -n 1 | sed s/load_subject/load/)"

# A hidden one alone: its name, and its base's, are nowhere inside, nor does the engine know it.
made hidden "network: none" "execution_mode: cli" "models: [{name: someorg/verysecret-lora, var_name: subject, hidden: true, is_peft: true, base_model: someorg/verysecret-9b}]" ||
	fail "hidden: $(error hidden)"
fails "its name in the tree" cat "$M/sandboxes/hidden/models/subject/name"
inside hidden sh -c 'find /models /workspace /root /etc /run /tmp -type f -exec grep -ilE "someorg|verysecret" {} +' | grep . && fail "the name is in a file inside"
inside hidden sh -c 'env; cat /proc/*/environ /proc/*/cmdline /proc/self/mountinfo /proc/mounts; find /models; hostname' 2>/dev/null |
	grep -aiE 'someorg|verysecret' && fail "the name can be seen inside"
api GET "/containers/$(cat "$M/sandboxes/hidden/id")/json" | grep -iE 'someorg|verysecret' && fail "the engine has the name"
rmdir "$M/sandboxes/hidden"
ctl lab stop

# The engine is on another machine.
between
made far "network: none" "models: [someorg/verysecret-9b]" 2>/dev/null && fail "models on another machine"
case $(error far) in "docker: models: the engine at tcp://127.0.0.1:"*" is on another machine, and they are on this one: leave models out, or use an engine behind a unix socket") ;;
*) fail "the refusal: $(error far)" ;; esac
write_config far "network: none" && ctl far wait || fail "without models: $(error far)"
rmdir "$M/sandboxes/far"
eventually 20 sh -c "[ \"\$(ls '$S/sandboxes' | grep -c '^[0-9]')\" = 1 ]" # lab alone
not_between
rmdir "$M/sandboxes/lab"
eventually 20 sh -c "[ \"\$(ls '$S/sandboxes')\" = names ]"
