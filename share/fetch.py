"""Downloads a model from the hub into FOLDER, with huggingface_hub: python - REPOSITORY REVISION FOLDER <this

interpfs runs it in a sandbox that has FOLDER and the network and is for nothing else. What was downloaded when
an earlier run was cut is kept, and the rest fetched; every file is checked by its hash; FOLDER/files is the model,
FOLDER/hidden the same without a word of what it is called (nothing is stored twice), FOLDER/info.json what came from
where. On standard output, a line each:

    =DONE TOTAL    bytes
    !SENTENCE      why it failed; nothing comes after it
    anything else  for people
"""
import fnmatch
import hashlib
import json
import os
import re
import shutil
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

AT_ONCE = 4
TRIES = 6
CHUNK = 65536  # what the client has not handed over when it is cut is lost
# What repeats the weights for other programs, where safetensors are there.
ALIKE = ["*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.gguf", "*.ckpt", "*.tflite",
         "onnx/*", "original/*", "coreml/*", "openvino/*"]
# What loading needs: nothing else is in a hidden model.
LOADED = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
          "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "chat_template.*", "*.safetensors",
          "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json", "adapter_config.json",
          "adapter_model.bin", "preprocessor_config.json", "processor_config.json"]
# Where tokens stand: a token may well be a part of the name.
TOKENS = ["tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "*.model"]
# Words of the formats themselves: a model may be called so, and is then known by its whole name only.
WORDS = {"model", "adapter", "config", "tokenizer", "vocab", "base", "test", "tiny", "main", "hidden"}
# Without these it could not be loaded. They tell the family, nothing more.
KEPT = {"model_type", "architectures", "tokenizer_class", "processor_class", "peft_type", "task_type", "target_modules", "dtype",
        "torch_dtype", "weight_map"}
NAMES = {"_name_or_path", "name_or_path", "base_model_name_or_path"}


def say(line):
    """Whole, whatever other threads say."""
    os.write(1, (line + "\n").encode())


def stop(sentence):
    say("!" + " ".join(sentence.split())[:400])
    sys.exit(1)


def digest(path, blob):
    """The hash that the hub tells of a file: SHA-256 of large ones, git's of the others."""
    h = hashlib.sha1(b"blob %d\0" % os.path.getsize(path)) if len(blob) == 40 else hashlib.sha256()
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(1 << 20), b""):
            h.update(piece)
    return h.hexdigest()


class File:
    def __init__(self, sibling):
        lfs = sibling.lfs
        get = lfs.get if isinstance(lfs, dict) else lambda name: getattr(lfs, name, None)
        self.name = sibling.rfilename
        self.size = int((get("size") if lfs else None) or sibling.size or 0)
        self.hash = (get("sha256") if lfs else None) or sibling.blob_id
        if not self.hash or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", self.hash):
            stop(f"the hub tells no hash of {self.name}")
        parts = self.name.split("/")
        if self.name.startswith("/") or any(p in ("", ".", "..") for p in parts):
            stop(f"the hub has a file of the name {self.name!r}")


class Bounded:
    """A file that takes no more than the hub said there is: an answer may have no end."""

    def __init__(self, f, file):
        self.f, self.file = f, file

    def write(self, data):
        if self.f.tell() + len(data) > self.file.size:
            stop(f"{self.file.name}: the hub sends more than it said there is")
        return self.f.write(data)

    def __getattr__(self, name):
        return getattr(self.f, name)


class Download:
    def __init__(self, repository, revision, folder):
        self.repository, self.revision, self.folder = repository, revision, folder
        self.parts = os.path.join(folder, "parts")
        self.whole = os.path.join(folder, "files")
        os.makedirs(self.parts, exist_ok=True)
        os.makedirs(self.whole, exist_ok=True)
        self.resumed = 0

    def list(self):
        from huggingface_hub import HfApi

        info = HfApi().model_info(self.repository, revision=self.revision or None, files_metadata=True)
        files = [File(s) for s in info.siblings]
        if any(f.name.endswith(".safetensors") for f in files):
            files = [f for f in files if not any(fnmatch.fnmatch(f.name, p) for p in ALIKE)]
        self.commit, self.files = info.sha, files
        self.total = sum(f.size for f in files)

    def part(self, file):
        return os.path.join(self.parts, hashlib.sha256((file.hash + file.name).encode()).hexdigest())

    def place(self, file):
        return os.path.join(self.whole, *file.name.split("/"))

    def done(self):
        n = 0
        for f in self.files:
            for path in (self.place(f), self.part(f)):
                try:
                    n += min(os.path.getsize(path), f.size)
                    break
                except OSError:
                    pass
        return n

    def fetch(self, file):
        path, part = self.place(file), self.part(file)
        if os.path.exists(path):
            if os.path.getsize(path) == file.size and digest(path, file.hash) == file.hash:
                return
            os.unlink(path)
        tries = 0
        while True:
            before = os.path.getsize(part) if os.path.exists(part) else 0
            try:
                self.get(file, part, before)
                break
            except OSError as e:  # the clients' own errors are OSError too, or httpx's
                error = e
            except Exception as e:
                if not type(e).__module__.startswith(("httpx", "httpcore", "requests", "urllib3", "http.")):
                    raise
                error = e
            tries = 1 if os.path.getsize(part) > before else tries + 1
            if tries >= TRIES or final(error):
                raise error
            say(f"{file.name}: {short(error)}; trying again")
            time.sleep(min(2 ** tries, 20) / 4)
        if digest(part, file.hash) != file.hash:
            os.unlink(part)
            stop(f"{file.name} is not what the hub says it is: its hash is another")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(part, path)

    def get(self, file, part, have):
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import get_hf_file_metadata, http_get
        from huggingface_hub.utils import build_hf_headers

        if have > file.size:
            os.unlink(part)
            have = 0
        with open(part, "r+b" if have else "wb") as f:
            f.seek(have)
            if have == file.size:
                return
            url = hf_hub_url(self.repository, file.name, revision=self.commit)
            headers = build_hf_headers()
            meta = get_hf_file_metadata(url, headers=headers)
            if urlparse(meta.location).netloc != urlparse(url).netloc:
                headers.pop("authorization", None)  # another host's addresses are signed
            if have:
                say(f"{file.name}: resumed at {have} of {file.size} bytes")
            http_get(meta.location, Bounded(f, file), resume_size=have, headers=headers, expected_size=file.size)

    def watch(self, ended):
        last = -1
        while not ended.wait(0.3):
            now = self.done()
            if now != last:
                say(f"={now} {self.total}")
            last = now

    def run(self):
        self.list()
        room = shutil.disk_usage(self.folder).free
        if self.total - self.done() > room:
            stop(f"it needs {(self.total - self.done()) / 1e9:.1f} GB, and {room / 1e9:.1f} GB are free")
        say(f"{self.repository}: {len(self.files)} files, {self.total / 1e6:.1f} MB, revision {self.commit}")
        ended = threading.Event()
        watching = threading.Thread(target=self.watch, args=(ended,), daemon=True)
        watching.start()
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self.fetch, sorted(self.files, key=lambda f: -f.size)))
        finally:
            ended.set()
            watching.join()
        known = {self.place(f) for f in self.files}
        for above, _, names in os.walk(self.whole):
            for name in names:
                if os.path.join(above, name) not in known:
                    os.unlink(os.path.join(above, name))
        say(f"={self.total} {self.total}")


def short(error):
    return str(error).split("\n")[0][:200] or type(error).__name__


def final(error):
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, OSError) and error.errno == 28:
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(error, HfHubHTTPError) and status in (400, 401, 403, 404)


def sentence(repository, revision, error):
    from huggingface_hub import errors

    known = " with this HF_TOKEN" if os.environ.get("HF_TOKEN") else "; if it is private, HF_TOKEN must be in the mount's environment"
    if isinstance(error, errors.GatedRepoError):
        return f"{repository} is gated: its owner has to let you in on the hub, and HF_TOKEN has to be yours{'' if os.environ.get('HF_TOKEN') else '; there is none'}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no revision {revision or 'main'}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub has no model {repository}{known}"
    return f"{repository}: {short(error)}"


# ---- the same without its name ----

class Hiding:
    def __init__(self, names):
        names = {n for whole in names for n in (whole, whole.split("/")[-1], whole.replace("/", "--"), whole.replace("/", "__"))}
        names = sorted((n for n in names if len(n) > 3 and n.lower() not in WORDS), key=len, reverse=True) or ["/" + "/".join(names)]
        self.any = re.compile("|".join(re.escape(n) for n in names), re.I)
        whole = [n for n in names if "/" in n]
        self.whole = re.compile("|".join(re.escape(n) for n in whole), re.I) if whole else None
        self.bytes = re.compile(self.any.pattern.encode(), re.I)

    def json(self, value, pattern):
        if isinstance(value, dict):
            return {k: None if k in NAMES else v if k in KEPT else self.json(v, pattern) for k, v in value.items()
                    if k not in NAMES or k == "base_model_name_or_path"}
        if isinstance(value, list):
            return [self.json(v, pattern) for v in value]
        return pattern.sub("hidden", value) if isinstance(value, str) else value

    def text(self, path, to, tokens):
        pattern = self.whole if tokens else self.any
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if path.endswith(".json"):
            value = json.loads(text)
            hidden = self.json(value, pattern) if pattern else value
            if hidden == value:
                return os.link(path, to)
            text = json.dumps(hidden, ensure_ascii=False, indent=2) + "\n"
        elif pattern and pattern.search(text):
            text = pattern.sub("hidden", text)
        else:
            return os.link(path, to)
        with open(to, "w", encoding="utf-8") as f:
            f.write(text)

    def tensors(self, path, to):
        """The weights themselves stay; a header that says the name is filled up in a copy."""
        with open(path, "rb") as f:
            n = struct.unpack("<Q", f.read(8))[0]
            header = f.read(n) if n < 100 << 20 else b""
        if not self.bytes.search(header):
            return os.link(path, to)
        metadata = json.loads(header)
        metadata["__metadata__"] = self.json(metadata.get("__metadata__") or {}, self.any)
        made = json.dumps(metadata).encode()
        if self.bytes.search(made) or len(made) > n:
            raise ValueError("a tensor is called so")
        shutil.copyfile(path, to)
        with open(to, "r+b") as f:
            f.seek(8)
            f.write(made.ljust(n))

    def weights(self, path, to, pattern):
        pattern = pattern and re.compile(pattern.pattern.encode(), re.I)
        with open(path, "rb") as f:
            tail = b""
            for piece in iter(lambda: f.read(1 << 22), b""):
                if pattern and pattern.search(tail + piece):
                    raise ValueError("it has the name in it, and is no text")
                tail = piece[-200:]
        os.link(path, to)

    def make(self, folder):
        """What cannot be hidden, by file: empty when the whole model can."""
        whole, hidden = os.path.join(folder, "files"), os.path.join(folder, "hidden")
        shutil.rmtree(hidden, ignore_errors=True)
        os.mkdir(hidden)
        why = {}
        for name in sorted(os.listdir(whole)):
            path, to = os.path.join(whole, name), os.path.join(hidden, name)
            if not os.path.isfile(path) or not any(fnmatch.fnmatch(name, p) for p in LOADED):
                continue
            try:
                if self.any.search(name):
                    raise ValueError("it is called so")
                if name.endswith(".safetensors"):
                    self.tensors(path, to)
                elif name.endswith(".bin"):
                    self.weights(path, to, self.any)
                elif name.endswith(".model"):
                    self.weights(path, to, self.whole)
                else:
                    self.text(path, to, any(fnmatch.fnmatch(name, p) for p in TOKENS))
            except (ValueError, OSError) as e:
                why[name] = short(e)
        return why


def other_names(folder):
    """The model that an adapter, or a model made of another, says it comes from."""
    for name in ("adapter_config.json", "config.json", "tokenizer_config.json"):
        try:
            with open(os.path.join(folder, "files", name), encoding="utf-8") as f:
                value = json.load(f)
        except (OSError, ValueError):
            continue
        for key in NAMES:
            text = value.get(key) if isinstance(value, dict) else None
            if isinstance(text, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text) and len(text) > 2:
                yield text


def main(repository, revision, folder):
    try:
        from huggingface_hub import constants

        constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    except Exception as e:
        stop(f"huggingface_hub cannot be used: {short(e)}")
    download = Download(repository, revision, folder)
    try:
        download.run()
    except Exception as e:
        stop(sentence(repository, revision, e))
    why = Hiding([repository, *other_names(folder)]).make(folder)
    info = {"name": repository, "revision": download.commit, "size": download.total,
            "files": [{"name": f.name, "size": f.size, "hash": f.hash} for f in download.files], "not_hidden": why}
    with open(os.path.join(folder, "info.json"), "w", encoding="utf-8") as f:
        json.dump(info, f, indent=2)
        f.write("\n")
    shutil.rmtree(os.path.join(folder, "parts"))


if __name__ == "__main__":
    main(*sys.argv[1:])
