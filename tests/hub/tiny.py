"""Makes a tiny random model in a folder, as the hub has them: tiny.py FOLDER NAME [BASE]

A Llama of two layers that transformers loads, with a tokenizer of as many words; with BASE an adapter (LoRA) of
it. Its files say their name wherever files of the hub do. The numbers are the same each time."""
import json
import os
import random
import struct
import sys

WORDS, WIDTH, LAYERS, HEADS = 20000, 32, 2, 2


def tensors(path, shapes, metadata):
    rng = random.Random(len(shapes))
    header, at, data = {"__metadata__": metadata}, 0, []
    for name, shape in shapes.items():
        count = 1
        for n in shape:
            count *= n
        block = struct.pack("<256f", *(rng.gauss(0, 0.02) for _ in range(256)))
        data.append((block * (count // 256 + 1))[:4 * count])
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * count]}
        at += 4 * count
    text = json.dumps(header).encode()
    text = text.ljust((len(text) + 7) // 8 * 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for d in data:
            f.write(d)


def write(folder, name, value):
    with open(os.path.join(folder, name), "w") as f:
        f.write(value if isinstance(value, str) else json.dumps(value, indent=2) + "\n")


def base(folder, name):
    write(folder, "README.md", f"# {name}\nA model called {name.split('/')[-1]}.\n")
    write(folder, ".gitattributes", "*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    write(folder, "config.json", {
        "_name_or_path": name, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": WORDS, "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": True,
        "torch_dtype": "float32", "trained_on": f"data of {name}"})
    write(folder, "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "_from_model_config": True})
    words = ["<pad>", "<s>", "</s>", "<unk>"] + [f"w{i}" for i in range(WORDS - 4)]
    write(folder, "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "<unk>"}})
    write(folder, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "name_or_path": name, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "pad_token": "<pad>"})
    shapes = {"model.embed_tokens.weight": [WORDS, WIDTH], "model.norm.weight": [WIDTH]}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        for part in "qkvo":
            shapes[f"{at}self_attn.{part}_proj.weight"] = [WIDTH, WIDTH]
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = [2 * WIDTH, WIDTH]
        shapes[f"{at}mlp.down_proj.weight"] = [WIDTH, 2 * WIDTH]
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = [WIDTH]
    tensors(os.path.join(folder, "model.safetensors"), shapes, {"format": "pt", "source": f"https://hub/{name}"})
    write(folder, "pytorch_model.bin", "the same again for others\n")


def adapter(folder, name, of):
    write(folder, "README.md", f"---\nbase_model: {of}\n---\n# {name}\n")
    write(folder, "adapter_config.json", {
        "base_model_name_or_path": of, "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0,
        "bias": "none", "target_modules": ["q_proj", "v_proj"], "inference_mode": True, "fan_in_fan_out": False})
    shapes = {}
    for i in range(LAYERS):
        for part in "qv":
            at = f"base_model.model.model.layers.{i}.self_attn.{part}_proj.lora_"
            shapes[at + "A.weight"] = [4, WIDTH]
            shapes[at + "B.weight"] = [WIDTH, 4]
    tensors(os.path.join(folder, "adapter_model.safetensors"), shapes, {"format": "pt", "base": of})


os.makedirs(sys.argv[1], exist_ok=True)
if len(sys.argv) > 3:
    adapter(*sys.argv[1:4])
else:
    base(*sys.argv[1:3])
