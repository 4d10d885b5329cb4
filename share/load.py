"""Loads models that are inside a sandbox at /models: in a kernel before its first cell, and as /workspace/load_VAR.py.

Only paths below /models are named here, so that a model that is hidden stays so."""


class NotLoaded(Exception):
    """The sandbox has not what it takes; the model's files are there all the same."""


def load(path, base=None, as_peft=False):
    """The model at a path and its tokenizer (None where it has none): an adapter (base is where its base model
    is) on its base model; as_peft: one that adapters can be put on."""
    import importlib.util
    import os

    for package in ["torch", "transformers"] + ["peft"] * bool(base or as_peft):
        if importlib.util.find_spec(package) is None:
            raise NotLoaded(f"not loaded: {package} is not among the sandbox's python_packages")
    import torch
    import transformers

    whole = base or path
    config = transformers.AutoConfig.from_pretrained(whole)
    kind = getattr(transformers, (config.architectures or [""])[0], None) or transformers.AutoModelForCausalLM
    new = tuple(int(n) for n in transformers.__version__.split(".")[:2]) >= (4, 56)
    options = {"dtype" if new else "torch_dtype": "auto"}
    gpu = torch.cuda.is_available()
    if gpu and importlib.util.find_spec("accelerate"):
        options["device_map"] = "auto"
    model = kind.from_pretrained(whole, **options)
    if gpu and "device_map" not in options:
        model = model.to("cuda")
    if base:
        import peft

        model = peft.PeftModel.from_pretrained(model, path)
    elif as_peft:
        import peft

        # Of rank 1, and nothing is added before it is trained: load_adapter() puts others beside it.
        model = peft.get_peft_model(model, peft.LoraConfig(r=1, target_modules="all-linear"))
    model.eval()
    tokenizer = None
    for folder in [path, whole]:
        if any(os.path.exists(os.path.join(folder, f)) for f in ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json")):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            break
    return model, tokenizer


def load_all(models):
    """Their variables."""
    names = {}
    for m in models:
        model, tokenizer = load(m["path"], m.get("base"), m.get("as_peft", False))
        names[m["var"]] = model
        names[m["tokenizer"]] = tokenizer
    return names
