#!/bin/bash
# Models: downloaded once by the real huggingface_hub from a hub on this machine's loopback, whose answers are
# cut at three offsets; checked by hash; read-only inside at /models/VAR, whatever network the sandbox has.
# runs: root user
. "$(dirname "$0")/../functions.sh"
. tests/hub/hub.sh

ready() { timeout 400 sh -c "echo wait >'$M/sandboxes/$1/ctl'" || fail "$1: $(cat "$M/sandboxes/$1/error"): $(tail -n 20 "$M/sandboxes/$1/log")"; }
make() { mkdir "$M/sandboxes/$1" && cat >"$M/sandboxes/$1/config"; }

TOKEN=hf_test_token_0123456789
mount_it
warm_up

# What is no model is refused by name, with its line.
mkdir "$M/sandboxes/x"
refused() { # WHAT SENTENCE: the config comes on standard input
	cat >"$T/config"
	cp "$T/config" "$M/sandboxes/x/config" 2>/dev/null && fail "$1 was taken"
	same "$1" "$2" "$(cat "$M/sandboxes/x/error")"
}
refused "an adapter of nothing" "line 1: models: a/b is_peft, and base_model is missing: name the model that it is an adapter of" <<<'models: [{name: a/b, is_peft: true}]'
refused "an unknown key" "line 2: unknown field 'models.hiden'; did you mean 'hidden'?" <<<$'models:\n- {name: a/b, hiden: true}'
refused "two of a name" "line 3: models: two have the var_name model; give each its own" <<<$'models:\n- a/b\n- c/d'
refused "no name in Python" "line 1: models: var_name '9b' is no name of a variable in Python" <<<'models: [{name: a/b, var_name: 9b}]'
refused "a word of Python" "line 1: models: var_name 'class' is no name of a variable in Python" <<<'models: [{name: a/b, var_name: class}]'
refused "no repository" "line 1: models: '../x' is no model of the hub; write it as google/gemma-2-9b" <<<'models: [../x]'
refused "where a base is" "line 1: models: m_base is where the base model of m will be; give it another var_name" \
	<<<'models: [{name: a/b, var_name: m, is_peft: true, base_model: c/d}, {name: e/f, var_name: m_base}]'

# Ten at once, cut three times: one download, which goes on where it was cut.
size=$(stat -c %s "$H/someorg/verysecret-9b/model.safetensors")
printf 'model.safetensors %s\n' 100000 1000001 $((size - 7)) >"$H/cuts"
for i in $(seq 10); do make "s$i" <<<$'network: none\nmodels: [someorg/verysecret-9b]'; done
for i in $(seq 10); do ready "s$i"; done
sent=$(grep '^GET /blobs/.*model.safetensors' "$T/requests" | awk '{n += $4} END {print n}')
[ "$sent" -ge "$size" ] && [ "$sent" -lt $((size + 3 * 65536)) ] || fail "of $size bytes $sent were sent: $(grep safetensors "$T/requests")"
same "answers" "- bytes=65536- bytes=983040- bytes=$(((size - 7) / 65536 * 65536))-" \
	"$(grep '^GET /blobs/.*model.safetensors' "$T/requests" | cut -d' ' -f3 | xargs)"
same "once" 1 "$(grep -c '^GET .*tokenizer.json' "$T/requests")"
! grep -q pytorch_model.bin "$T/requests" || fail "the weights were fetched twice"
! grep -q "$TOKEN" "$T/requests" || fail "a token where there is none"
for f in config.json model.safetensors README.md tokenizer.json; do
	same "$f" "$(sha256sum <"$H/someorg/verysecret-9b/$f")" "$(inside s1 cat "/models/model/$f" | sha256sum)"
done
same "its variable" /models/model "$(inside s3 sh -c 'echo $MODEL_MODEL_PATH')"
fails "writing into a model" inside s1 sh -c 'echo x >/models/model/config.json'
fails "removing a model" inside s1 rm /models/model/config.json

# What the tree says.
P=$M/sandboxes/s7/models/model
same "name" someorg/verysecret-9b "$(cat "$P/name")"
same "path" /models/model "$(cat "$P/path")"
same "state" ready "$(cat "$P/state")"
same "all of it" 100% "$(cut -d' ' -f3 "$P/progress")"
same "the files" "$(ls -A "$H/someorg/verysecret-9b" | grep -cv pytorch)" "$(jq '.files | length' "$P/info.json")"
same "the revision" 40 "$(jq -j .revision "$P/info.json" | wc -c)"
grep -h 'models: 100%' "$M"/sandboxes/s*/log >/dev/null || fail "no progress in any log"

# What is wrong with a model is the sandbox's sentence.
failed() { # NAME SENTENCE: the config comes on standard input
	make "$1"
	timeout 400 sh -c "echo wait >'$M/sandboxes/$1/ctl'" 2>/dev/null && fail "$1 is ready"
	same "$1" "$2" "$(cat "$M/sandboxes/$1/error")"
	same "the state of its model" failed "$(cat "$M/sandboxes/$1/models/model/state")"
}
failed none "models: the hub has no model someorg/nothing; if it is private, HF_TOKEN must be in the mount's environment" <<<'models: [someorg/nothing]'
failed revision "models: someorg/verysecret-9b has no revision v9" <<<'models: [{name: someorg/verysecret-9b, revision: v9}]'
cp -r "$H/someorg/verysecret-9b" "$H/someorg/broken"
echo model.safetensors >"$H/damaged"
failed broken "models: model.safetensors is not what the hub says it is: its hash is another" <<<'models: [someorg/broken]'
rm "$H/damaged"
echo start >"$M/sandboxes/broken/ctl"; ready broken
cp -r "$H/someorg/verysecret-9b" "$H/someorg/longer"
echo model.safetensors >"$H/longer"
failed longer "models: model.safetensors: the hub sends more than it said there is" <<<'models: [someorg/longer]'
rm "$H/longer"

# Its runner killed, and stopped, in the middle: what was fetched is kept, and the next start goes on from it.
cp -r "$H/someorg/verysecret-9b" "$H/someorg/slow"
echo model.safetensors 1000000 >"$H/stall"
make slow <<<'models: [{name: someorg/slow, var_name: it}]'
some() { [ "$(cut -d' ' -f1 "$M/sandboxes/slow/models/it/progress" 2>/dev/null || echo 0)" -gt "$1" ]; }
gone_on() { awk -v a="$1" -v b="$2" '/^begins .*slow\/model.safetensors bytes=/ {sub(/.*bytes=/, ""); if ($0 + 0 >= a && $0 + 0 <= b) n++} END {exit !n}' "$T/requests"; }
eventually 60 some 1300000 # the others, too
same "while it comes" downloading "$(cat "$M/sandboxes/slow/models/it/state")"
echo model.safetensors 2000000 >"$H/stall.new"
kill -9 "$(live_pid "$S/sandboxes/$(readlink "$S/sandboxes/names/slow" | cut -d/ -f2)/run/pid")"
eventually 60 gone_on 900000 1000000
mv "$H/stall.new" "$H/stall"
eventually 60 some 2300000
echo stop >"$M/sandboxes/slow/ctl"
eventually 10 sh -c "! ls -d '$S'/layers/.build-* 2>/dev/null"
rm "$H/stall"
echo start >"$M/sandboxes/slow/ctl"; ready slow
gone_on 1900000 2000000 || fail "not gone on after a stop: $(grep /slow/ "$T/requests")"
same "all of it" "$(sha256sum <"$H/someorg/slow/model.safetensors")" "$(inside slow cat /models/it/model.safetensors | sha256sum)"

# A private one, with the token of the mount's env_file: it is in no file, no log, nothing inside.
echo someorg/verysecret-lora >"$H/private"
failed private "models: the hub has no model someorg/verysecret-lora; if it is private, HF_TOKEN must be in the mount's environment" \
	<<<$'models: [{name: someorg/verysecret-lora, is_peft: true, base_model: someorg/verysecret-9b}]'
unmount_it
(umask 077; echo "HF_TOKEN=$TOKEN" >"$T/env")
mount_it -o "env_file=$T/env"
echo start >"$M/sandboxes/private/ctl"; ready private
grep -q "$TOKEN" "$T/requests" || fail "the token was not used"
same "its files" "adapter_config.json adapter_model.safetensors" "$(inside private sh -c 'cd /models/model && ls *.json *.safetensors' | xargs)"
same "its base" "$(stat -c %s "$H/someorg/verysecret-9b/config.json")" "$(inside private sh -c 'stat -c %s $MODEL_MODEL_BASE_PATH/config.json')"
! grep -rlF "$TOKEN" "$S" 2>/dev/null || fail "the token is on the disk"
! inside private sh -c 'env; cat /proc/*/environ' 2>/dev/null | grep -aF "$TOKEN" || fail "the token is inside"

# models/: what was downloaded, who uses it; rmdir drops what nobody does.
D=$M/models/someorg--verysecret-9b
same "what there is" "someorg--broken someorg--longer someorg--nothing someorg--slow someorg--verysecret-9b someorg--verysecret-9b@v9 someorg--verysecret-lora" \
	"$(ls "$M/models" | xargs)"
same "states" "ready partial" "$(cat "$D/state" "$M/models/someorg--nothing/state" | xargs)"
same "its size" "$(find "$H/someorg/verysecret-9b" -type f ! -name '*.bin' -printf '%s\n' | awk '{n += $1} END {print n}')" "$(cat "$D/size")"
same "its revision" "$(jq -r .revision "$P/info.json")" "$(cat "$D/revision")"
same "where it is" "$(sha256sum <"$H/someorg/verysecret-9b/config.json")" "$(sha256sum <"$(cat "$D/path")/config.json")"
same "who uses it" "$(for i in private $(seq 10 | sed s/^/s/); do echo sandboxes/$i; done | sort)" "$(sort "$D/used-by")"
fails "dropping what is used" rmdir "$D"
same "the refusal" "rmdir models/someorg--broken: it is in use by sandboxes/broken" "$(rmdir "$M/models/someorg--broken" 2>/dev/null; cat "$M/error")"
fails "making a model" mkdir "$M/models/x--y"
where=$(cat "$M/models/someorg--slow/path")
echo stop >"$M/sandboxes/slow/ctl"
rmdir "$M/models/someorg--slow" "$M/models/someorg--nothing" || fail "rmdir: $(cat "$M/error")"
[ ! -e "$M/models/someorg--slow" ] && [ ! -e "$where" ] || fail "still there"
eventually 20 sh -c "! ls -d '$S'/models/.dropped-* 2>/dev/null"
echo start >"$M/sandboxes/slow/ctl"; ready slow
same "again" ready "$(cat "$M/models/someorg--slow/state")"

# A hidden one: its name, and its base's, are nowhere inside, whoever looks.
make hidden <<<$'network: none\nexecution_mode: cli\nmodels:\n- {name: someorg/verysecret-lora, var_name: subject, hidden: true, is_peft: true, base_model: someorg/verysecret-9b}'
ready hidden
fails "its name in the tree" cat "$M/sandboxes/hidden/models/subject/name"
! grep -ri verysecret "$M/sandboxes/hidden/models" || fail "its name in the tree"
same "its revision" 40 "$(jq -j .revision "$M/sandboxes/hidden/models/subject/info.json" | wc -c)"
inside hidden grep -rilE 'someorg|verysecret' /models /workspace /root /etc/hosts /run /tmp && fail "the name is in a file inside"
inside hidden sh -c 'env; cat /proc/*/environ /proc/*/cmdline /proc/self/mountinfo /proc/mounts; find /models; hostname' 2>/dev/null |
	grep -aiE 'someorg|verysecret' && fail "the name can be seen inside"
same "what is inside" "adapter_config.json adapter_model.safetensors" "$(inside hidden ls /models/subject | xargs)"
same "its base" "config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json" "$(inside hidden ls /models/subject_base | xargs)"
same "what loading needs" "llama LlamaForCausalLM null" \
	"$(inside hidden cat /models/subject_base/config.json | jq -r '[.model_type, .architectures[0], ._name_or_path] | map(tostring) | join(" ")')"
inside hidden python3 -c "$(cat <<'P'
import json, struct
for folder in ("subject", "subject_base"):
    path = f"/models/{folder}/" + ("adapter_model" if folder == "subject" else "model") + ".safetensors"
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        end = max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__")
        assert header["__metadata__"]["format"] == "pt" and len(f.read()) == end, path
P
)" || fail "the weights"

# Where loading takes what the sandbox has not, it says so, and the files are there.
same "load_subject.py" "load.NotLoaded: not loaded: torch is not among the sandbox's python_packages" \
	"$(inside hidden sh -c 'cd /workspace && python3 -c "import load_subject"' 2>&1 | tail -n 1 | sed s/load_subject/load/)"
[ ! -e "$M/sandboxes/s1/fs/workspace/load_model.py" ] || fail "a program for a shell where the agent has a notebook"
mkdir "$M/notebooks/probe"
echo 'sandbox: s1' >"$M/notebooks/probe/config"
timeout 400 sh -c "echo wait >'$M/notebooks/probe/ctl'" || fail "$(cat "$M/notebooks/probe/error")"
same "model_info.md" "# Models

These models are here; they are not loaded (torch is not among the sandbox's python_packages).

- \`model\`: someorg/verysecret-9b; its files are in \`/models/model\`." "$(cat "$M/notebooks/probe/model_info.md")"
