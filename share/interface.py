"""Serves the functions of an interface.py from inside a sandbox.

Usage: python3 -u -c BOOT N      BOOT runs the N first bytes of standard input, which are this text;
                                 one line of JSON follows: what to serve and where (main()).

The module is executed once, in the main thread; then this listens on a unix socket that only the
sandbox's root can reach, and says `ready` on standard output. Each connection is one call:

    in   A NAME     D a piece of the request ...     G
    out  D 1, when it is begun     D 1 and a piece of the answer ...     E {"errno": 0, "text": "", "exit": 0}

in the frames of interpfs (length, stream 0, type, three zero bytes, payload). NAME is `call FUNCTION`
with JSON arguments, `describe`, `ping`, or `quit`. A function runs in the thread that reads its
connection, an async one in a loop that all of them share. A connection that closes early gives its
call up: an exception is raised in its thread, which comes when that is back in Python.

Only the standard library is used, of Python 3.8 and later.
"""
import asyncio
import collections.abc
import ctypes
import dataclasses
import enum
import functools
import inspect
import json
import math
import os
import queue
import re
import select
import socket
import struct
import sys
import threading
import traceback
import types
import typing

PIECE = 60000            # bytes of a frame's payload
REQUEST_MAX = 16 << 20
RESULT_MAX = 64 << 20
NAME_MAX = 100
HEADER = struct.Struct("<IIBBH")
EXPOSED = {}             # name -> function, in the order of the text
MODELS = []              # {"var_name", "name" unless it is hidden}
HERE = __file__ if "__file__" in globals() else "interpfs"


class GivenUp(BaseException):
    """Raised in the thread of a call that nobody waits for any more."""


# ---- what interface.py may use ----

def expose(function=None, **_):
    """Makes a function callable from outside. Use it as a decorator, with or without parentheses."""
    if function is None:
        return expose
    if not callable(function):
        raise TypeError("@expose takes a function, not %s" % type_name(function))
    name = getattr(function, "__name__", "")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or len(name) > NAME_MAX:
        raise ValueError("@expose: '%s' is no name for a function (a letter, then letters, digits and _)" % name)
    EXPOSED[name] = function
    return function


def get_model_path(name):
    """The folder of a model of the sandbox's config, by its name or its var_name."""
    for model in MODELS:
        if name in (model.get("var_name"), model.get("name")):
            return os.environ.get("MODEL_%s_PATH" % model["var_name"].upper()) or "/models/" + model["var_name"]
    known = ", ".join(list_configured_models()) or "none"
    raise KeyError("the sandbox has no model '%s'; it has: %s" % (name, known))


def list_configured_models():
    """The names of the sandbox's models; of a hidden one its var_name."""
    return [model.get("name") or model["var_name"] for model in MODELS]


# ---- type hints: JSON Schema, and values of JSON made into what a function expects ----

PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array",
         tuple: "array", set: "array", frozenset: "array", type(None): "null"}
UNIONS = (typing.Union,) + ((types.UnionType,) if hasattr(types, "UnionType") else ())
LITERALS = tuple(getattr(m, "Literal") for m in [typing] if hasattr(m, "Literal"))
ARRAYS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection,
          collections.abc.Set, collections.abc.MutableSequence)
OBJECTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def type_name(value):
    kind = type(value)
    module = kind.__module__
    return kind.__qualname__ if module in ("builtins", "__main__", "interface") else module + "." + kind.__qualname__


def hint_name(hint):
    if isinstance(hint, str):
        return hint
    if hint is type(None):
        return "None"
    if isinstance(hint, type) and not getattr(hint, "__args__", None):
        return hint.__name__
    return re.sub(r"\b(typing|collections\.abc|interface|builtins)\.", "", str(hint)).replace("NoneType", "None")


def is_pydantic(hint):
    return isinstance(hint, type) and (hasattr(hint, "model_json_schema") or hasattr(hint, "parse_obj"))


def is_typed_dict(hint):
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")


def hints_of(thing):
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except TypeError:                       # Python 3.8 knows no extras
        try:
            return typing.get_type_hints(thing)
        except Exception:
            return {}
    except Exception:                       # a name that is only there for a type checker
        return dict(getattr(thing, "__annotations__", {}))


def taken_apart(hint):
    """(origin, arguments, description) of a hint, aliases and Annotated taken off."""
    description = None
    for _ in range(20):
        supertype = getattr(hint, "__supertype__", None)
        metadata = getattr(hint, "__metadata__", None)
        if supertype is not None:
            hint = supertype
        elif metadata is not None:
            for one in metadata:
                text = one if isinstance(one, str) else getattr(one, "description", None)
                description = description or (text if isinstance(text, str) else None)
            hint = hint.__origin__
        else:
            break
    origin = typing.Union if isinstance(hint, UNIONS[1:]) else getattr(hint, "__origin__", None)  # int | None has none
    return hint, origin, getattr(hint, "__args__", ()) or (), description


def members_of(hint):
    """{name: (hint, required, default)} of a dataclass or a TypedDict."""
    hints = hints_of(hint)
    if is_typed_dict(hint):
        required = getattr(hint, "__required_keys__", hints.keys() if hint.__total__ else ())
        return {name: (one, name in required, inspect.Parameter.empty) for name, one in hints.items()}
    missing = dataclasses.MISSING
    return {f.name: (hints.get(f.name, typing.Any), f.default is missing and f.default_factory is missing,
                     inspect.Parameter.empty if f.default is missing else f.default)
            for f in dataclasses.fields(hint) if f.init}


def plain_default(value):
    """The value as JSON, or None when it is none."""
    try:
        return json.loads(encode(value, "default"))
    except Unencodable:
        return None


def schema_of(hint, definitions, depth=0):
    hint, origin, arguments, description = taken_apart(hint)
    schema = {}
    if depth > 20:
        return schema
    deeper = functools.partial(schema_of, definitions=definitions, depth=depth + 1)
    if hint is None:
        hint = type(None)
    if origin in UNIONS:
        schema = {"anyOf": [deeper(one) for one in arguments]}
    elif origin is not None and origin in LITERALS:
        schema = {"enum": [plain_default(one) for one in arguments]}
        kinds = {PLAIN.get(type(one)) for one in arguments}
        if len(kinds) == 1 and None not in kinds:
            schema = {"type": kinds.pop(), **schema}
    elif origin is tuple and arguments:
        several = len(arguments) == 2 and arguments[1] is Ellipsis
        schema = {"type": "array", "items": deeper(arguments[0])} if several else \
            {"type": "array", "prefixItems": [deeper(one) for one in arguments if one != ()],
             "minItems": len(arguments), "maxItems": len(arguments)}
    elif origin in ARRAYS or hint in ARRAYS:
        schema = {"type": "array"}
        if arguments and not isinstance(arguments[0], typing.TypeVar):
            schema["items"] = deeper(arguments[0])
    elif origin in OBJECTS or hint in OBJECTS:
        schema = {"type": "object"}
        if len(arguments) == 2 and not isinstance(arguments[1], typing.TypeVar):
            schema["additionalProperties"] = deeper(arguments[1])
    elif is_pydantic(hint):
        schema = dict(hint.model_json_schema() if hasattr(hint, "model_json_schema") else hint.schema())
        for word in ("$defs", "definitions"):
            definitions.setdefault(word, {}).update(schema.pop(word, {}))
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        schema = {"enum": [plain_default(one.value) for one in hint]}
    elif is_typed_dict(hint) or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
        for name, (one, required, default) in members_of(hint).items():
            schema["properties"][name] = deeper(one)
            if required:
                schema["required"].append(name)
            elif default is not inspect.Parameter.empty:
                schema["properties"][name]["default"] = plain_default(default)
    elif hint in PLAIN:
        schema = {"type": PLAIN[hint]}
    if description:
        schema["description"] = description
    return schema


class Unfit(TypeError):
    """An argument that is not what its type hint says."""


def unfit(where, hint, value):
    shown = json.dumps(value)
    return Unfit("%s must be %s, not %s" % (where, hint_name(hint), shown if len(shown) < 60 else type_name(value)))


def fit(value, hint, where):
    """The value of JSON as what the hint says: dataclasses, pydantic models and enums are made of it."""
    hint, origin, arguments, _ = taken_apart(hint)
    if hint is None:
        hint = type(None)
    if origin in UNIONS:
        problem = None
        for one in arguments:
            try:
                return fit(value, one, where)
            except Unfit as why:
                problem = why if one is not type(None) and (problem is None or len(arguments) == 2) else problem
        raise problem if len(arguments) == 2 and type(None) in arguments and problem else unfit(where, hint, value)
    if origin is not None and origin in LITERALS:
        if not any(value == one and type(value) is type(one) for one in arguments):
            raise Unfit("%s must be one of %s, not %s" % (where, ", ".join(json.dumps(a) for a in arguments), json.dumps(value)))
        return value
    if origin is tuple or hint is tuple:
        if not isinstance(value, list):
            raise unfit(where, hint, value)
        if not arguments:
            return tuple(value)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(fit(v, arguments[0], "%s[%d]" % (where, i)) for i, v in enumerate(value))
        if len(arguments) != len(value):
            raise Unfit("%s must have %d items, not %d" % (where, len(arguments), len(value)))
        return tuple(fit(v, a, "%s[%d]" % (where, i)) for i, (v, a) in enumerate(zip(value, arguments)))
    if origin in ARRAYS or hint in ARRAYS:
        if not isinstance(value, list):
            raise unfit(where, hint, value)
        inner = arguments[0] if arguments and not isinstance(arguments[0], typing.TypeVar) else typing.Any
        made = [fit(v, inner, "%s[%d]" % (where, i)) for i, v in enumerate(value)]
        kind = origin or hint
        return kind(made) if kind in (set, frozenset) else made
    if is_pydantic(hint):
        if isinstance(value, hint):
            return value
        try:
            return hint.model_validate(value) if hasattr(hint, "model_validate") else hint.parse_obj(value)
        except Exception as why:
            raise Unfit("%s: %s" % (where, why)) from None
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        for one in hint:
            if one.value == value:
                return one
        raise Unfit("%s must be one of %s, not %s" % (where, ", ".join(repr(o.value) for o in hint), json.dumps(value)))
    if is_typed_dict(hint) or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        members = members_of(hint)
        if not isinstance(value, dict):
            raise unfit(where, hint, value)
        for name in value:
            if name not in members:
                raise Unfit("%s has no member '%s'; it has %s" % (where, name, ", ".join(members) or "none"))
        for name, (_, required, _) in members.items():
            if required and name not in value:
                raise Unfit("%s.%s is missing" % (where, name))
        made = {name: fit(v, members[name][0], "%s.%s" % (where, name)) for name, v in value.items()}
        return made if is_typed_dict(hint) else hint(**made)
    if origin in OBJECTS or hint in OBJECTS:
        if not isinstance(value, dict):
            raise unfit(where, hint, value)
        if len(arguments) != 2 or isinstance(arguments[1], typing.TypeVar):
            return value
        key = {int: int, float: float}.get(arguments[0], lambda k: k)
        try:
            return {key(k): fit(v, arguments[1], "%s[%s]" % (where, json.dumps(k))) for k, v in value.items()}
        except ValueError:
            raise unfit(where, hint, value) from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint in (bool, int, float, str, type(None)) and (type(value) is not hint):
        raise unfit(where, hint, value)
    return value


# ---- results ----

class Unencodable(TypeError):
    """A result that JSON cannot hold."""


def decomposed(value):
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError


def blame(value, where, seen=()):
    """Where in a value the first thing is that JSON cannot hold, and what it is."""
    if id(value) in seen or len(seen) > 500:
        return where, "refers to itself" if id(value) in seen else "is nested too deeply"
    if isinstance(value, float) and not math.isfinite(value):
        return where, "is %r, which is no number of JSON" % value
    if value is None or isinstance(value, (str, int, float)):
        return None
    seen += (id(value),)
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                return where, "has a key of the type %s; keys of JSON are strings" % type_name(key)
            found = blame(one, "%s[%r]" % (where, key), seen)
            if found:
                return found
        return None
    if isinstance(value, (list, tuple)):
        for i, one in enumerate(value):
            found = blame(one, "%s[%d]" % (where, i), seen)
            if found:
                return found
        return None
    try:
        return blame(decomposed(value), where, seen)
    except TypeError:
        hint = "; .tolist() makes lists of it" if hasattr(value, "tolist") else ""
        return where, "is of the type %s, which JSON cannot hold%s" % (type_name(value), hint)


def encode(value, where="result"):
    try:
        return json.dumps(value, allow_nan=False, default=decomposed).encode()
    except (TypeError, ValueError, RecursionError) as why:
        found = blame(value, where)
        raise Unencodable("%s %s" % found if found else "%s cannot be written as JSON: %s" % (where, why)) from None


def failure(why):
    """{"error": ...} for an exception, with the lines of this file left out."""
    own = [frame for frame in traceback.extract_tb(why.__traceback__) if frame.filename != HERE]
    lines = traceback.format_list(own) if own else []
    if lines:
        lines.insert(0, "Traceback (most recent call last):\n")
    lines += traceback.format_exception_only(type(why), why)
    kind = type(why)
    ours = isinstance(why, (Unfit, Unencodable))
    name = "TypeError" if ours else kind.__qualname__
    text = "TypeError: %s\n" % why if ours else "".join(lines)
    return json.dumps({"error": {"type": name, "message": str(why), "traceback": text}}).encode()


# ---- functions ----

PARAGRAPH = re.compile(r"^\s*(args|arguments|parameters|params|returns?|raises|yields?|examples?|notes?)\s*:?\s*$", re.I)


def parameter_texts(doc, names):
    """{parameter: description} out of a docstring: Google's, numpy's and Sphinx's ways."""
    found, inside, name, indent = {}, False, None, 0
    for line in (doc or "").splitlines():
        sphinx = re.match(r"\s*:param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)", line)
        if sphinx:
            name, indent = sphinx.group(1), len(line) - len(line.lstrip())
            found[name] = sphinx.group(2).strip()
            continue
        if PARAGRAPH.match(line):
            inside = bool(re.match(r"\s*(args|arguments|parameters|params)", line, re.I))
            name = None
            continue
        if re.match(r"\s*:\w+", line):
            name = None
            continue
        one = re.match(r"\s*\*{0,2}(\w+)\s*(\([^)]*\))?\s*:\s*(.*)", line) if inside else None
        depth = len(line) - len(line.lstrip())
        if one and one.group(1) in names:
            indent = depth
            # numpy writes "name : type" and the text in the lines that follow
            numpy = re.match(r"\s*\w+ :", line)
            name = one.group(1)
            found[name] = "" if numpy else one.group(3).strip()
        elif name and line.strip() and depth <= indent:
            name = None
        elif name and line.strip() and not re.match(r"\s*-+\s*$", line):
            found[name] = (found[name] + " " + line.strip()).strip()
        elif not line.strip():
            name = name if inside else None
    return {n: text for n, text in found.items() if n in names and text}


class Function:
    def __init__(self, name, function):
        self.name, self.call = name, function
        try:
            self.signature = inspect.signature(function)
        except (TypeError, ValueError):
            raise TypeError("@expose: %s has no signature that Python can tell" % name) from None
        self.hints = hints_of(inspect.unwrap(function))
        self.doc = inspect.getdoc(function) or ""
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(function)

    def hint(self, parameter):
        return self.hints.get(parameter.name, typing.Any)

    def bind(self, arguments):
        """(positional, keyword) for the call, each made what its hint says."""
        parameters = self.signature.parameters
        kinds = inspect.Parameter
        if isinstance(arguments, list):
            try:
                given = self.signature.bind_partial(*arguments).arguments
            except TypeError as why:
                raise TypeError("%s: %s" % (self.name, why)) from None
            arguments = {n: list(v) if parameters[n].kind is kinds.VAR_POSITIONAL else v for n, v in given.items()}
        if not isinstance(arguments, dict):
            raise TypeError("the arguments of %s are a JSON object, not %s" % (self.name, json.dumps(arguments)[:60]))
        takes = [p for p in parameters.values() if p.kind is not kinds.VAR_KEYWORD]
        others = next((p for p in parameters.values() if p.kind is kinds.VAR_KEYWORD), None)
        positional, keyword, left = [], {}, dict(arguments)
        for p in takes:
            if p.kind is kinds.VAR_POSITIONAL:
                values = left.pop(p.name, [])
                if not isinstance(values, list):
                    raise unfit(p.name, list, values)
                positional += [fit(v, self.hint(p), "%s[%d]" % (p.name, i)) for i, v in enumerate(values)]
            elif p.name in left:
                value = fit(left.pop(p.name), self.hint(p), p.name)
                if p.kind is kinds.KEYWORD_ONLY:
                    keyword[p.name] = value
                else:
                    positional.append(value)
            elif p.default is kinds.empty:
                raise TypeError("%s: the argument '%s' is missing" % (self.name, p.name))
            elif p.kind is not kinds.KEYWORD_ONLY:
                positional.append(p.default)
        if left and others is None:
            raise TypeError("%s has no argument '%s'; it takes %s"
                            % (self.name, next(iter(left)), ", ".join(p.name for p in takes) or "none"))
        keyword.update((n, fit(v, self.hint(others), n)) for n, v in left.items())
        return positional, keyword

    def describe(self):
        texts = parameter_texts(self.doc, self.signature.parameters)
        schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
        definitions, parameters = {}, []
        for p in self.signature.parameters.values():
            one = schema_of(self.hint(p), definitions)
            if p.kind is p.VAR_KEYWORD:
                schema["additionalProperties"] = one or True
            else:
                if p.kind is p.VAR_POSITIONAL:
                    one = {"type": "array", "items": one}
                elif p.default is p.empty:
                    schema["required"].append(p.name)
                if texts.get(p.name) and "description" not in one:
                    one["description"] = texts[p.name]
                schema["properties"][p.name] = one
            told = {"name": p.name, "kind": p.kind.name.lower()}
            if p.annotation is not p.empty:
                told["annotation"] = hint_name(p.annotation)
            if p.default is not p.empty:
                default = plain_default(p.default)
                told["optional"] = True
                if default is not None or p.default is None:
                    told["default"] = one["default"] = default
                    if type(p.default) is float:
                        told["literal"] = repr(p.default)
            parameters.append(told)
        schema.update({word: found for word, found in definitions.items() if found})
        told = {"name": self.name, "description": self.doc, "async": self.is_async, "schema": schema, "parameters": parameters}
        if self.signature.return_annotation is not inspect.Signature.empty:
            told["returns"] = hint_name(self.signature.return_annotation)
        return told


class Loop:
    """The event loop of the async functions: one for all, so that what a module made in it goes on."""

    def __init__(self):
        self.loop, self.lock = None, threading.Lock()

    def run(self, coroutine, call):
        with self.lock:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                threading.Thread(target=self.loop.run_forever, name="async", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        call.give_up = future.cancel
        try:
            return future.result()
        except GivenUp:
            future.cancel()
            raise


# ---- calls ----

class Closed(Exception):
    """The other end is gone, or said what does not belong."""


class Call:
    """One connection, in the thread that serves it."""

    def __init__(self, server, connection):
        self.server, self.connection = server, connection
        self.thread = threading.get_ident()
        self.running, self.give_up = False, None
        self.lock = threading.Lock()

    def receive(self, n):
        data = bytearray()
        while len(data) < n:
            piece = self.connection.recv(n - len(data))
            if not piece:
                raise Closed
            data += piece
        return bytes(data)

    def frame(self):
        length, stream, kind, zero, zeros = HEADER.unpack(self.receive(HEADER.size))
        if length > 65536 or stream or zero or zeros:
            raise Closed
        return kind, self.receive(length)

    def request(self):
        kind, name = self.frame()
        if kind != ord("A"):
            raise Closed
        data = bytearray()
        while True:
            kind, piece = self.frame()
            if kind == ord("G"):
                return name.decode("utf-8", "replace"), bytes(data)
            if kind != ord("D") or len(data) + len(piece) > REQUEST_MAX:
                raise Closed
            data += piece

    def answer(self, data, exit_status=0):
        view, out = memoryview(data), bytearray()
        for at in range(0, len(view), PIECE):
            piece = view[at:at + PIECE]
            out += HEADER.pack(len(piece) + 1, 0, ord("D"), 0, 0) + b"\x01" + piece
            if len(out) > 1 << 20:
                self.connection.sendall(out)
                out = bytearray()
        end = json.dumps({"errno": 0, "text": "", "exit": exit_status}).encode()
        self.connection.sendall(out + HEADER.pack(len(end), 0, ord("E"), 0, 0) + end)

    def abandon(self):
        """From another thread: nobody waits for it any more."""
        with self.lock:
            if not self.running:
                return
            if self.give_up:
                self.give_up()
            else:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), ctypes.py_object(GivenUp))

    def run(self, name, request):
        """(answer, whether it failed)"""
        function = self.server.functions.get(name)
        try:
            if function is None:
                raise NameError("the interface has no function '%s'; it has %s" % (name, ", ".join(self.server.functions) or "none"))
            arguments = json.loads(request) if request.strip() else {}
            positional, keyword = function.bind(arguments)
            with self.lock:
                self.running = True
            try:
                result = function.call(*positional, **keyword)
                if inspect.isawaitable(result):
                    result = self.server.loop.run(awaited(result), self)
            finally:
                with self.lock:
                    self.running = False
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), None)
            data = encode(result)
            if len(data) > RESULT_MAX:
                raise ValueError("the result is %d bytes of JSON; at most %d can be returned" % (len(data), RESULT_MAX))
            return data, False
        except GivenUp:
            raise
        except BaseException as why:
            return failure(why), True

    def serve(self):
        name, request = self.request()
        word, _, rest = name.partition(" ")
        if word == "call":
            # Whoever has not heard this may ask another process: it was not run here.
            self.connection.sendall(HEADER.pack(1, 0, ord("D"), 0, 0) + b"\x01")
            self.server.watch(self)
            try:
                data, failed = self.run(rest, request)
            finally:
                self.server.unwatch(self)
            self.answer(data, 1 if failed else 0)
        elif word == "describe":
            self.answer(json.dumps(self.server.describe()).encode())
        elif word == "ping":
            self.answer(b"")
        elif word == "quit":
            self.answer(b"")
            os._exit(0)
        else:
            raise Closed


async def awaited(thing):
    return await thing


class Server:
    def __init__(self, functions, doc):
        self.functions, self.doc = functions, doc
        self.loop = Loop()
        self.waiting = queue.SimpleQueue()
        self.idle, self.lock = 0, threading.Lock()
        self.poller, self.calls = select.epoll(), {}

    def describe(self):
        return {"pid": os.getpid(), "doc": self.doc, "functions": [f.describe() for f in self.functions.values()]}

    def watch(self, call):
        fd = call.connection.fileno()
        self.calls[fd] = call
        self.poller.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT)

    def unwatch(self, call):
        fd = call.connection.fileno()
        self.calls.pop(fd, None)
        try:
            self.poller.unregister(fd)
        except (OSError, ValueError):
            pass

    def work(self):
        while True:
            try:
                connection = self.waiting.get()
                with self.lock:
                    self.idle -= 1
                try:
                    Call(self, connection).serve()
                except (Closed, OSError):
                    pass
                finally:
                    connection.close()
                    with self.lock:
                        self.idle += 1
            except GivenUp:
                pass
            except BaseException:
                traceback.print_exc()

    def take(self, connection):
        with self.lock:
            more = self.idle - self.waiting.qsize() <= 0
            if more:
                self.idle += 1
        if more:
            threading.Thread(target=self.work, name="call", daemon=True).start()
        self.waiting.put(connection)

    def run(self, listener):
        self.poller.register(listener.fileno(), select.EPOLLIN)
        while True:
            for fd, _ in self.poller.poll():
                if fd != listener.fileno():
                    call = self.calls.get(fd)
                    if call:
                        call.abandon()
                    continue
                try:
                    connection, _ = listener.accept()
                except OSError:
                    continue
                connection.setblocking(True)
                self.take(connection)


# ---- the beginning ----

def load(config):
    """Runs interface.py; (its functions, its docstring)."""
    folder = config["folder"]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for name, text in config["files"].items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    # What -c put there is the folder it was started in.
    sys.path[0] = folder
    sys.argv = [os.path.join(folder, "interface.py")]
    MODELS.extend(config.get("models") or [])
    given = {"expose": expose, "get_model_path": get_model_path, "list_configured_models": list_configured_models}
    helper = types.ModuleType("interpfs", "What interface.py may use.")
    vars(helper).update(given)
    sys.modules["interpfs"] = helper
    module = types.ModuleType("interface")
    module.__file__ = sys.argv[0]
    sys.modules["interface"] = module
    vars(module).update(given)
    with open(module.__file__, "rb") as file:
        code = compile(file.read(), module.__file__, "exec", dont_inherit=True)
    exec(code, vars(module))
    return {name: Function(name, function) for name, function in EXPOSED.items()}, inspect.getdoc(module) or ""


def last_place(why, folder):
    """" (helpers.py, line 3)" for the innermost line of the user's own that failed."""
    if isinstance(why, SyntaxError) and why.filename and why.filename.startswith(folder):
        return " (%s, line %s)" % (os.path.basename(why.filename), why.lineno)
    own = [f for f in traceback.extract_tb(why.__traceback__) if f.filename.startswith(folder)]
    return " (%s, line %d)" % (os.path.basename(own[-1].filename), own[-1].lineno) if own else ""


def main():
    config = json.loads(sys.stdin.buffer.readline())
    # Standard output is for `ready` and `failed` alone; what functions print goes to the log.
    say = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        functions, doc = load(config)
        server = Server(functions, doc)
        json.dumps(server.describe())
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.unlink(config["socket"])
        except FileNotFoundError:
            pass
        listener.bind(config["socket"])
        os.chmod(config["socket"], 0o600)
        listener.listen(256)
    except BaseException as why:
        traceback.print_exception(type(why), why, why.__traceback__)
        text = traceback.format_exception_only(type(why), why)[-1].strip()
        if isinstance(why, SyntaxError):
            text = "%s: %s" % (type(why).__name__, why.msg)
        say.write("failed %s%s\n" % (" ".join(text.split()), last_place(why, config["folder"])))
        say.flush()
        sys.stderr.flush()
        os._exit(1)
    say.write("ready\n")
    server.run(listener)


if __name__ == "__main__":
    main()
