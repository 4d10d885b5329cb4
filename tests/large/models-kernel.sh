#!/bin/bash
# Models in a kernel: torch, transformers and peft, as pip has them (5 GB), load a tiny model, an adapter that is
# hidden and a model that adapters can be put on before the first cell; the hidden one's name is nowhere that the
# agent can read. TORCH=FOLDER takes these packages from a folder into which they are installed already.
. "$(dirname "$0")/../functions.sh"
. tests/hub/hub.sh

python3 tests/hub/tiny.py "$H/someorg/openmodel" someorg/openmodel
mount_it
warm_up

cat >"$T/config" <<'C'
network: none
models:
- someorg/openmodel
- {name: someorg/verysecret-lora, var_name: subject, hidden: true, is_peft: true, base_model: someorg/verysecret-9b}
- {name: someorg/openmodel, var_name: bare, load_as_peft: true}
C
if [ -n "${TORCH:-}" ]; then
	printf 'local_dirs: [[%s, /opt/torch]]\nenv: {PYTHONPATH: "/workspace/libraries:/workspace/.modules:/opt/torch"}\n' "$TORCH" >>"$T/config"
else
	echo 'python_packages: [torch, transformers, peft]' >>"$T/config"
fi
mkdir "$M/sandboxes/lab" "$M/notebooks/probe"
start=$SECONDS
cp "$T/config" "$M/sandboxes/lab/config"
timeout 3000 sh -c "echo wait >'$M/sandboxes/lab/ctl'" || fail "lab: $(cat "$M/sandboxes/lab/error"): $(tail -n 20 "$M/sandboxes/lab/log")"
echo "the sandbox: $((SECONDS - start)) s"
echo 'sandbox: lab' >"$M/notebooks/probe/config"
start=$SECONDS
timeout 900 sh -c "echo wait >'$M/notebooks/probe/ctl'" || fail "probe: $(cat "$M/notebooks/probe/error"): $(tail -n 20 "$M/notebooks/probe/log")"
echo "the notebook, with three models: $((SECONDS - start)) s"

say() { timeout 300 "$INTERPFS" exec "$M/sandboxes/lab" -- true; ask "$M/notebooks/probe/exec" "$1"; }
same "the models" "LlamaForCausalLM /models/model /models/model (1, 2, 20000)
PeftModelForCausalLM /models/subject_base /models/subject_base (1, 2, 20000)
PeftModel /models/model /models/bare (1, 2, 20000)" "$(say 'bare.config._name_or_path = "/models/model"
for m, t in ((model, tokenizer), (subject, subject_tokenizer), (bare, bare_tokenizer)):
    print(type(m).__name__, m.config._name_or_path, t.name_or_path, tuple(m(t("w1 w2", return_tensors="pt")["input_ids"]).logits.shape))')"
same "an adapter is put on" "['default', 'second']" "$(say 'bare.load_adapter("/models/subject", "second"); print(list(bare.peft_config))' | tail -n 1)"
same "training is off" "False False False" "$(say 'print(model.training, subject.training, bare.training)')"

# Whoever is in the kernel finds no name: not in what the models say, the process, the environment, the files.
same "the hidden one in the kernel's memory, and another one" "False True" "$(say 'import os, re
def is_there(pattern):
    for line in os.popen("cat /proc/%d/maps" % os.getpid()):
        low, high = (int(x, 16) for x in line.split()[0].split("-"))
        if line.split()[1][0] != "r" or "[v" in line:
            continue
        with open("/proc/self/mem", "rb", 0) as f:
            try:
                while low < high:
                    f.seek(low)
                    piece = f.read(min(high - low, 1 << 24))
                    if re.search(pattern, piece):
                        return True
                    low += len(piece) or high
            except (OSError, OverflowError):
                pass
    return False
# No pattern is what it looks for.
print(is_there(rb"very[s]ecret-(?:lora|9b)"), is_there(rb"someorg/open[m]odel"))')"
same "what they say" "[]" "$(say 'print([t for t in (repr(subject), repr(subject.peft_config), repr(subject.config), repr(subject_tokenizer)) if "verysecret" in t.lower() or "someorg" in t.lower()])')"
same "its history" "[]" "$(say 'print([c for c in In if "/models" in c and "bare.config" not in c and "load_adapter" not in c and "print" not in c])')"
! grep -aiE 'verysecret' "$M/notebooks/probe/notebook.ipynb" "$M/notebooks/probe/model_info.md" | grep -v '"word' | grep -q 'verysecret-9b\|verysecret-lora' ||
	fail "the name is in the notebook or in what its prompt says"
grep -q 'someorg/openmodel' "$M/notebooks/probe/model_info.md" || fail "$(cat "$M/notebooks/probe/model_info.md")"
grep -q '`subject`: a model whose name is not told' "$M/notebooks/probe/model_info.md" || fail "$(cat "$M/notebooks/probe/model_info.md")"

# Without preloading the files are there, and nothing else.
echo 'preload_models: false' >"$M/workspace/config"
echo restart >"$M/notebooks/probe/ctl" || fail "restart: $(cat "$M/notebooks/probe/error")"
same "not loaded" "False" "$(say 'print("model" in globals())')"
grep -q 'preload_models is false' "$M/notebooks/probe/model_info.md" || fail "$(cat "$M/notebooks/probe/model_info.md")"

# For an agent with a shell the same is a program.
mkdir "$M/sandboxes/shell"
sed 's/^network: none/&\nexecution_mode: cli/' "$T/config" >"$M/sandboxes/shell/config"
timeout 900 sh -c "echo wait >'$M/sandboxes/shell/ctl'" || fail "shell: $(cat "$M/sandboxes/shell/error")"
same "load_subject.py" "PeftModelForCausalLM /models/subject_base" \
	"$(timeout 300 "$INTERPFS" exec "$M/sandboxes/shell" -- sh -c 'cd /workspace && python3 -W ignore -c "from load_subject import *; print(type(subject).__name__, subject_tokenizer.name_or_path)" 2>/dev/null')"
