"""Looks at a workspace's libraries and skills without running any of their code.

Usage: python3 -I workspace.py LIBRARIES SKILLS

Prints one JSON object: "entries", each with name, kind, where, and why it failed (null when it is
fine), and "docs", Markdown made of docstrings and signatures. What is to be installed by pip (wheels,
sdists, requirements.txt) has "sha256" of its bytes, and "stamp", by which it is told whether they are
still the same.

What lies there may come from anybody: only ordinary files are read, no link that leads out of the
folder is followed (a sandbox could not follow it either), and memory is bounded.
"""
import ast
import hashlib
import json
import os
import resource
import stat
import sys
import tarfile
import zipfile

LONGEST = 4 << 20  # bytes of a file that is looked at
MEMORY = 4 << 30   # bytes of address space
SKIPPED = ("__pycache__",)


def leads_out(path, top):
    return not os.path.realpath(path).startswith(os.path.realpath(top) + os.sep)


def source_of(path):
    """The file's bytes; None when it is too long to be looked at."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no ordinary file")
        source = file.read(LONGEST + 1)
    return source if len(source) <= LONGEST else None


def problem(path, top):
    """Why the file is no Python, with line and column; None when it is."""
    if leads_out(path, top):
        return "it leads out of the folder"
    try:
        source = source_of(path)
        if source is None:
            return None
        compile(source, os.path.basename(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        place = ""
        if error.lineno:
            place = "line %d, column %d: " % (error.lineno, error.offset or 1)
        return place + str(error.msg)
    except (ValueError, RecursionError, MemoryError, OSError) as error:
        return str(error) or type(error).__name__
    return None


def python_files(folder):
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("."))
        for name in sorted(files):
            if name.endswith(".py"):
                yield os.path.join(here, name)


def package_problem(folder, top):
    if leads_out(folder, top):
        return "it leads out of the folder"
    for path in python_files(folder):
        why = problem(path, top)
        if why:
            return os.path.relpath(path, folder) + ": " + why
    return None


def signature(node):
    try:
        arguments = ast.unparse(node.args)
        returns = " -> " + ast.unparse(node.returns) if node.returns else ""
    except (AttributeError, RecursionError):  # before Python 3.9
        arguments, returns = "...", ""
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return "%s%s(%s)%s" % (prefix, node.name, arguments, returns)


def is_public(node):
    return not node.name.startswith("_")


def section(level, title, node):
    text = ["#" * level + " " + title, ""]
    doc = ast.get_docstring(node)
    if doc:
        text += [doc, ""]
    return text


def document(name, path):
    """Markdown for one module: its docstring, its public functions and classes."""
    try:
        tree = ast.parse(source_of(path) or b"")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return []
    text = section(2, name, tree)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if isinstance(node, functions) and is_public(node):
            text += section(3, "`%s`" % signature(node), node)
        elif isinstance(node, ast.ClassDef) and is_public(node):
            text += section(3, "class `%s`" % node.name, node)
            for member in node.body:
                if isinstance(member, functions) and (is_public(member) or member.name == "__init__"):
                    text += section(4, "`%s.%s`" % (node.name, signature(member)), member)
    return text


def library(folder, name):
    """(kind, why, module, path of its documentation) of an entry of libraries/."""
    path = os.path.join(folder, name)
    if os.path.isdir(path):
        if os.path.isfile(os.path.join(path, "__init__.py")):
            return "package", package_problem(path, folder), name, os.path.join(path, "__init__.py")
        if os.path.isfile(os.path.join(path, "code.py")):
            module = name.replace("-", "_")
            why = package_problem(path, folder)
            if not module.isidentifier():
                why = "'%s' is no name that Python can import" % module
            return "skill", why, module, os.path.join(path, "code.py")
        return "folder", package_problem(path, folder), name, None
    if not os.path.exists(path):
        return "link", "it leads nowhere", name, None
    if name.endswith(".py"):
        why = problem(path, folder)
        if not why and not name[:-3].isidentifier():
            why = "'%s' is no name that Python can import" % name[:-3]
        return "module", why, name[:-3], path
    kind = distribution(name)
    if kind:
        return kind, distribution_problem(path, kind, folder), name, None
    return "file", None, name, None


def distribution(name):
    """What pip is to install it as; None for what is no distribution."""
    if name == "requirements.txt":
        return "requirements"
    return "wheel" if name.endswith(".whl") else "sdist" if name.endswith(".tar.gz") else None


def distribution_problem(path, kind, top):
    """Why pip could not even begin; None when it can."""
    name = os.path.basename(path)
    if leads_out(path, top):
        return "it leads out of the folder"
    try:
        if kind == "requirements":
            text = source_of(path)
            if text is None:
                return "it is longer than %d MiB" % (LONGEST >> 20)
            text.decode()
        elif not stat.S_ISREG(os.stat(path).st_mode):
            return "it is no ordinary file"
        elif kind == "sdist":
            with tarfile.open(path, "r:gz") as archive:
                archive.next()
        elif not 5 <= len(name[:-4].split("-")) <= 6:
            return "its name is no wheel's: NAME-VERSION-PYTHON-ABI-PLATFORM.whl"
        else:
            with zipfile.ZipFile(path) as archive:
                if not any(n.endswith(".dist-info/METADATA") for n in archive.namelist()):
                    return "it is no wheel: it holds no METADATA"
    except UnicodeDecodeError:
        return "it is no text in UTF-8"
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, OSError) as error:
        return "it is no %s: %s" % (kind, error) if kind != "requirements" else str(error)
    return None


def identity(path):
    """(SHA-256, stamp) of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
        told = os.fstat(file.fileno())
    return digest.hexdigest(), "%d.%09d %d %d" % (told.st_mtime_ns // 10**9, told.st_mtime_ns % 10**9, told.st_size, told.st_ino)


def entries_of(folder):
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(n for n in names if not n.startswith(".") and n not in SKIPPED and not n.endswith("~"))


def main(libraries, skills):
    entries, docs = [], []
    for name in entries_of(libraries):
        kind, why, module, path = library(libraries, name)
        entry = {"name": name, "kind": kind, "where": "/workspace/libraries/" + name, "why": why,
                 "module": module if kind == "skill" and not why else None}
        if not why and distribution(name) and not os.path.isdir(os.path.join(libraries, name)):
            try:
                entry["sha256"], entry["stamp"] = identity(os.path.join(libraries, name))
            except OSError as error:
                entry["why"] = str(error)
        entries.append(entry)
        if path and not why:
            docs += document(module, path)
    for name in entries_of(skills):
        why = None
        text = os.path.join(skills, name, "SKILL.md")
        if not os.path.isfile(text):
            why = "there is no %s/SKILL.md" % name
        elif leads_out(text, skills):
            why = "%s/SKILL.md leads out of the folder" % name
        entries.append({"name": name, "kind": "skill", "where": "/workspace/skills/" + name, "why": why, "module": None})
    text = "\n".join(["# Libraries", ""] + docs) if docs else ""
    json.dump({"entries": entries, "docs": text}, sys.stdout)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    main(sys.argv[1], sys.argv[2])
