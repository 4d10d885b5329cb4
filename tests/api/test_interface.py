"""Type hints to JSON Schema and back, docstrings, results: share/interface.py without a sandbox."""
import dataclasses
import enum
import json
import os
import sys
import types
import typing
import unittest
from typing import Any, Dict, List, Literal, NewType, Optional, Tuple, Union

HERE = os.path.dirname(os.path.abspath(__file__))
served = types.ModuleType("served")
with open(os.path.join(HERE, "../../share/interface.py")) as f:
    exec(compile(f.read(), "interpfs", "exec"), vars(served))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Message:
    role: Literal["user", "assistant"]
    content: str
    weight: float = 1.0
    parts: List["Message"] = dataclasses.field(default_factory=list)


class Options(typing.TypedDict, total=False):
    temperature: float


Name = NewType("Name", str)


def schema(hint):
    return served.schema_of(hint, {})


def function(f):
    return served.Function(f.__name__, f)


class Hints(unittest.TestCase):
    def test_schema(self):
        for hint, expected in (
                (int, {"type": "integer"}), (float, {"type": "number"}), (bool, {"type": "boolean"}), (str, {"type": "string"}),
                (None, {"type": "null"}), (dict, {"type": "object"}), (list, {"type": "array"}), (Any, {}), (object, {}),
                (List[int], {"type": "array", "items": {"type": "integer"}}), (List, {"type": "array"}),
                (Dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
                (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
                (Union[int, List[str]], {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]}),
                (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}), (Literal["a", 1], {"enum": ["a", 1]}),
                (Tuple[int, str], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2}),
                (Tuple[int, ...], {"type": "array", "items": {"type": "integer"}}), (Colour, {"enum": ["red", "blue"]}),
                (Name, {"type": "string"}), (Options, {"type": "object", "properties": {"temperature": {"type": "number"}},
                                                       "required": [], "additionalProperties": False})):
            self.assertEqual(schema(hint), expected, hint)
        if sys.version_info >= (3, 10):
            self.assertEqual(schema(eval("list[int] | None")), schema(Optional[List[int]]))
        if sys.version_info >= (3, 9):
            self.assertEqual(schema(typing.Annotated[int, "how many"]), {"type": "integer", "description": "how many"})
        message = schema(Message)
        self.assertEqual((message["required"], message["properties"]["weight"]), (["role", "content"], {"type": "number", "default": 1.0}))
        json.dumps(message)  # though it refers to itself

    def test_fit(self):
        for value, hint in ((1, int), (1.0, int), (1, float), (True, bool), ("a", str), (None, Optional[int]), ([1, 2], List[int]),
                            ({"a": 1}, Dict[str, int]), ([1], list), ("x", Any), ("x", Union[int, str]), ("b", Literal["a", "b"]),
                            ({"temperature": 1}, Options)):
            self.assertEqual(served.fit(value, hint, "x"), value)
        self.assertIs(type(served.fit(1, float, "x")), float)
        self.assertIs(served.fit("red", Colour, "x"), Colour.RED)
        self.assertEqual(served.fit([1, "a"], Tuple[int, str], "x"), (1, "a"))
        self.assertEqual(served.fit({"1": 2}, Dict[int, int], "x"), {1: 2})
        self.assertEqual(served.fit([{"role": "user", "content": "a"}], List[Message], "x"), [Message("user", "a")])
        for value, hint, why in (("1", int, 'x must be int, not "1"'), (True, int, "x must be int, not true"), (1.5, int, "x must be int, not 1.5"),
                                 (None, int, "x must be int, not null"), (["a"], List[int], 'x[0] must be int, not "a"'),
                                 ({"a": "b"}, Dict[str, int], 'x["a"] must be int, not "b"'), ("c", Literal["a", "b"], 'x must be one of "a", "b", not "c"'),
                                 ("pink", Colour, "x must be one of 'red', 'blue', not \"pink\""), ([1], Tuple[int, str], "x must have 2 items, not 1"),
                                 ({"role": "user"}, Message, "x.content is missing"), ({"roll": 1}, Message, "x has no member 'roll'; it has role, content, weight, parts"),
                                 ([], Message, "x must be Message, not []"), ("a", Optional[int], 'x must be int, not "a"')):
            with self.assertRaises(TypeError) as caught:
                served.fit(value, hint, "x")
            self.assertEqual(str(caught.exception), why)


class Functions(unittest.TestCase):
    def test_bind(self):
        def f(a, b: int = 2, *args: int, c: str, d=None, **others: float):
            pass
        for arguments, bound in (({"a": 1, "c": "x"}, ([1, 2], {"c": "x"})),
                                 ({"a": 1, "b": 3, "args": [4, 5], "c": "x", "e": 1}, ([1, 3, 4, 5], {"c": "x", "e": 1.0}))):
            self.assertEqual(function(f).bind(arguments), bound)
        for arguments, why in (({"c": "x"}, "f: the argument 'a' is missing"), ({"a": 1}, "f: the argument 'c' is missing"),
                               ({"a": 1, "c": 2}, "c must be str, not 2"), ({"a": 1, "c": "", "e": "x"}, 'e must be float, not "x"'),
                               (5, "the arguments of f are a JSON object, not 5")):
            with self.assertRaises(TypeError) as caught:
                function(f).bind(arguments)
            self.assertEqual(str(caught.exception), why)

        def g(x, /, y=1):
            pass
        self.assertEqual(function(g).bind([1]), ([1, 1], {}))
        with self.assertRaises(TypeError):
            function(g).bind([1, 2, 3])

    def test_describe(self):
        def f(a: "Later", b: Optional[List[int]] = None, *, c: float = 1.0, d=object()):
            """Does it.

            Args:
                a: the first,
                    which is long
                b (list): the second
                unknown: none of it

            Returns:
                c: not a parameter
            """
        told = function(f).describe()
        self.assertEqual(told["schema"]["required"], ["a"])
        self.assertEqual(told["schema"]["properties"]["a"], {"description": "the first, which is long"})
        self.assertEqual(told["schema"]["properties"]["b"]["description"], "the second")
        self.assertEqual(told["schema"]["properties"]["c"], {"type": "number", "default": 1.0})
        self.assertEqual([p["kind"] for p in told["parameters"]], ["positional_or_keyword"] * 2 + ["keyword_only"] * 2)
        self.assertEqual(told["parameters"][2]["literal"], "1.0")
        self.assertNotIn("default", told["parameters"][3])
        numpy = "Does.\n\nParameters\n----------\na : int\n    the first\nb : str\n    the second\n\nReturns\n-------\nint"
        sphinx = "Does.\n\n:param a: the first\n:param str b: the second\n:returns: nothing"
        for text in numpy, sphinx:
            self.assertEqual(served.parameter_texts(text, ["a", "b"]), {"a": "the first", "b": "the second"})

    def test_expose(self):
        served.EXPOSED.clear()

        @served.expose
        def one():
            pass

        @served.expose()
        def two():
            pass
        self.assertEqual(list(served.EXPOSED), ["one", "two"])
        for wrong in 5, lambda: 1:
            self.assertRaises((TypeError, ValueError), served.expose, wrong)

    def test_models(self):
        served.MODELS[:] = [{"var_name": "model", "name": "org/base"}, {"var_name": "hidden"}]
        self.assertEqual(served.list_configured_models(), ["org/base", "hidden"])
        self.assertEqual([served.get_model_path(n) for n in ("org/base", "model", "hidden")], ["/models/model"] * 2 + ["/models/hidden"])
        os.environ["MODEL_HIDDEN_PATH"] = "/elsewhere"
        self.assertEqual(served.get_model_path("hidden"), "/elsewhere")
        with self.assertRaises(KeyError) as caught:
            served.get_model_path("org/other")
        self.assertIn("it has: org/base, hidden", str(caught.exception))


class Results(unittest.TestCase):
    def test_encode(self):
        for value, expected in ((Message("user", "a"), {"role": "user", "content": "a", "weight": 1.0, "parts": []}),
                                ({"c": Colour.RED, 1: (1, 2)}, {"c": "red", "1": [1, 2]}), ("\ud800", "\ud800"), (None, None)):
            self.assertEqual(json.loads(served.encode(value)), expected)
        loop = []
        loop.append(loop)
        deep = []
        for _ in range(100000):
            deep = [deep]
        for value, why in ((object(), "result is of the type object, which JSON cannot hold"), ({"a": [1, {2, 3}]}, "result['a'][1] is of the type set, which JSON cannot hold"),
                           ({(1, 2): 3}, "result has a key of the type tuple; keys of JSON are strings"), ([float("inf")], "result[0] is inf, which is no number of JSON"),
                           (loop, "result[0] refers to itself"), (b"x", "result is of the type bytes, which JSON cannot hold")):
            with self.assertRaises(TypeError) as caught:
                served.encode(value)
            self.assertEqual(str(caught.exception), why)
        with self.assertRaises(TypeError):
            served.encode(deep)
        while deep:
            deep = deep[0]


if __name__ == "__main__":
    unittest.main()
