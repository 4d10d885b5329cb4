"""The tests' API server: what is right passes, each refusal is triggered, each fault arrives as it
should. The last test compares the refusals that were seen with those that stand in the source.
Alone: python3 tests/api/test_server.py [-k PATTERN]"""
import ast
import base64
import copy
import http.client
import json
import os
import struct
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import conversations  # noqa: E402
import rules  # noqa: E402
import server as api  # noqa: E402
import steps  # noqa: E402

raised = set()  # (file, line) of every refusal that was made


class Watched(rules.Refusal):
    def __init__(self, *args):
        super().__init__(*args)
        frame = sys._getframe(1)
        if frame.f_code.co_name == "invalid":
            frame = frame.f_back
        raised.add((os.path.basename(frame.f_code.co_filename), frame.f_lineno))


rules.Refusal = Watched

TOOL = {"name": "run", "description": "Runs.", "input_schema": {
    "type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}}
BODY = {"model": "claude-opus-5-5", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}


def png(width=1):
    """As far as the server looks at it."""
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, 1) + b"\0" * 13 + b"IEND" * 2).decode()


PNG = png()


def image(**source):
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG, **source}}


class Case(unittest.TestCase):
    def setUp(self):
        self.file = tempfile.NamedTemporaryFile()
        self.addCleanup(self.file.close)
        self.server = api.Server(key="right", log=self.file.name)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def steps(self, *given):
        status, answer, _ = self.post({"steps": given}, "/control")
        self.assertEqual((status, answer), (200, {"steps": len(given)}))

    def connect(self):
        connection = http.client.HTTPConnection(*self.server.server_address, timeout=60)
        self.addCleanup(connection.close)
        return connection

    def request(self, body, path="/v1/messages", **headers):
        """Headers as keywords, with _ for -; None leaves one out."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content_type": "application/json", "x_api_key": "right", "anthropic_version": "2023-06-01", **headers}
        connection = self.connect()
        connection.request("POST", path, data, {k.replace("_", "-"): v for k, v in given.items() if v is not None})
        return connection.getresponse()

    def post(self, body, path="/v1/messages", **headers):
        response = self.request(body, path, **headers)
        return response.status, json.loads(response.read()), response.headers

    def ok(self, body, **more):
        status, answer, _ = self.post(body, **more)
        self.assertEqual(status, 200, answer)
        return answer

    def refused(self, body, words, status=400, kind="invalid_request_error", **more):
        got, answer, headers = self.post(body, **more)
        self.assertEqual((got, answer["type"], answer["error"]["type"]), (status, "error", kind), answer)
        self.assertIn(words, answer["error"]["message"])
        self.assertTrue(headers["request-id"])

    def with_body(self, **fields):
        body = copy.deepcopy({**BODY, **fields})
        return {k: v for k, v in body.items() if v is not ...}

    def stream(self, body, **headers):
        """The events; and whether the answer ended as HTTP wants it."""
        response = self.request({**body, "stream": True}, **headers)
        self.assertEqual(response.status, 200)
        data, whole = b"", True
        try:
            while piece := response.read1():
                data += piece
        except (http.client.HTTPException, OSError):
            whole = False
        events = []
        for part in data.decode().split("\n\n")[:-1]:
            name, text = part.split("\n")
            event = json.loads(text[len("data: "):])
            self.assertEqual(name, "event: " + event["type"])
            events.append(event)
        return events, whole, data


def assemble(events):
    message = copy.deepcopy(events[0]["message"])
    for event in events:
        if event["type"] == "content_block_start":
            message["content"].append({**event["content_block"]})
            raw = ""
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], message["content"][-1]
            for field in ("text", "thinking", "signature"):
                if field in delta:
                    block[field] += delta[field]
            raw += delta.get("partial_json", "")
        elif event["type"] == "content_block_stop" and raw:
            message["content"][-1]["input"] = json.loads(raw)
        elif event["type"] == "message_delta":
            message.update(event["delta"])
    return message


class Right(Case):
    def test_text(self):
        answer = self.ok(BODY)
        self.assertEqual((answer["role"], answer["stop_reason"]), ("assistant", "end_turn"))
        self.assertEqual([b["type"] for b in answer["content"]], ["thinking", "text"])

    def test_stream_is_the_same(self):
        self.steps(*[{"content": [{"thinking": "Why " * 20}, {"redacted": "x"}, {"text": "Because " * 20},
                                  {"tool": "run", "input": {"code": "1\n" * 20}}, {"tool": "run", "input": {}}]}] * 2)
        body = self.with_body(tools=[TOOL], thinking={"type": "adaptive", "display": "summarized"})
        whole, (events, ended, _) = self.ok(body), self.stream(body)
        self.assertTrue(ended)
        self.assertEqual((events[0]["type"], events[1]["type"], events[-1]["type"]),
                         ("message_start", "ping", "message_stop"))
        told = assemble(events)
        for message in (whole, told):
            for block in message["content"]:
                block.pop("id", None)
        self.assertEqual(told["content"], whole["content"])
        self.assertEqual((told["stop_reason"], events[-2]["usage"]["output_tokens"]),
                         ("tool_use", whole["usage"]["output_tokens"]))

    def test_a_turn_with_a_tool(self):
        body = self.with_body(tools=[TOOL], system=[{"type": "text", "text": "Be kind.",
                                                     "cache_control": {"type": "ephemeral"}}])
        first = assemble(self.stream(body)[0])
        use = first["content"][-1]
        self.assertEqual((use["name"], use["input"], first["stop_reason"]), ("run", {"code": "print(6 * 7)"}, "tool_use"))
        body["messages"] += [{"role": "assistant", "content": first["content"]},
                             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": [
                                 {"type": "text", "text": "42"}, image()], "cache_control": {"type": "ephemeral"}},
                                 {"type": "text", "text": "And?"}]}]
        second = self.ok(body)
        self.assertEqual(second["stop_reason"], "end_turn")
        self.assertGreater(second["usage"]["cache_read_input_tokens"], 0)
        # The marker moves, a string becomes a block: still the same conversation.
        del body["messages"][2]["content"][0]["cache_control"]
        body["messages"][0]["content"] = [{"type": "text", "text": "Hello"}]
        body["messages"] += [{"role": "assistant", "content": second["content"]}, {"role": "user", "content": "Bye"}]
        self.ok(body)
        # A branch: back to an earlier point, and on from there.
        del body["messages"][3:]
        body["messages"][2]["content"][1]["text"] = "Or?"
        self.ok(body)

    def test_what_else_is_taken(self):
        self.ok(BODY, x_api_key=None, authorization="Bearer right")
        self.ok(BODY, anthropic_version="2026-10-21")
        self.ok(self.with_body(model="claude-haiku-4-5-20251001", temperature=0.5, tools=[TOOL],
                               thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000))
        self.ok(self.with_body(model="claude-haiku-4-5", tools=[TOOL], tool_choice={"type": "tool", "name": "run"}))
        self.ok(self.with_body(model="claude-haiku-4-5", messages=BODY["messages"] + [
            {"role": "assistant", "content": "Hi"}]), path="/v1/messages/count_tokens")
        self.ok(self.with_body(messages=BODY["messages"] + [
            {"role": "system", "content": [], "output_config": {"effort": "low"}}]))
        self.assertIn("input_tokens", self.ok(self.with_body(max_tokens=...), path="/v1/messages/count_tokens"))

    def test_other_methods(self):
        connection = self.connect()
        for method, path, status in (("HEAD", "/api/hello", 200), ("GET", "/anything", 200),
                                     ("GET", "/v1/models/claude-opus-5-5", 200), ("GET", "/v1/models/gpt", 404)):
            connection.request(method, path)
            response = connection.getresponse()
            self.assertEqual(response.status, status)
            response.read()

    def test_log(self):
        self.ok(BODY)
        self.refused({}, "model")
        with open(self.file.name) as f:
            events = [json.loads(line) for line in f]
        self.assertEqual([e["event"] for e in events], ["request", "answer"] * 2)
        self.assertEqual((events[0]["body"], events[1]["status"], events[1]["delivered"]), (BODY, 200, True))
        self.assertEqual((events[3]["status"], events[3]["refusal"]), (400, "model: Field required"))
        self.assertNotIn("right", json.dumps(events))


class Refused(Case):
    def test_headers(self):
        self.refused(BODY, "required", 401, "authentication_error", x_api_key=None)
        self.refused(BODY, "invalid", 401, "authentication_error", x_api_key="wrong")
        self.refused(BODY, "anthropic-version", anthropic_version=None)
        self.refused(BODY, "anthropic-version", anthropic_version="2020-01-01")
        self.refused(BODY, "content-type", content_type="text/plain")
        self.refused(BODY, "Not found", 404, "not_found_error", path="/v1/nothing")
        self.refused(b"{", "not valid JSON")
        connection = self.connect()
        connection.putrequest("POST", "/v1/messages")
        connection.putheader("Content-Length", str(rules.BODY_MAX + 1))
        connection.endheaders()
        self.assertEqual(connection.getresponse().status, 413)

    def test_fields(self):
        for words, fields in (
                ("wrong: Extra inputs", {"wrong": 1}), ("model: Field required", {"model": ...}),
                ("max_tokens: Field required", {"max_tokens": ...}), ("max_tokens: Input", {"max_tokens": 0}),
                ("max_tokens: Input", {"max_tokens": True}), ("max_tokens: 128001", {"max_tokens": 128001}),
                ("messages: Field required", {"messages": ...}), ("at least one", {"messages": []}),
                ("temperature", {"temperature": 0.5}), ("top_k", {"top_k": 5}), ("stream", {"stream": "yes"}),
                ("stop_sequences.0", {"stop_sequences": [" "]}), ("metadata", {"metadata": {"name": "x"}})):
            self.refused(self.with_body(**fields), words)
        self.refused([], "valid dictionary")
        self.refused(self.with_body(model="gpt-4"), "model: gpt-4", 404, "not_found_error")
        self.refused(self.with_body(model="claude-haiku-4-5", temperature=0.5), "temperature",
                     anthropic_version="2026-10-21")

    def test_system_and_cache(self):
        marked = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
        for words, fields in (
                ("system: Input", {"system": 5}), ("system.0", {"system": ["x"]}),
                ("system: text content blocks must be non-empty", {"system": [{"type": "text", "text": ""}]}),
                ("cache_control: Input", {"system": [{**marked, "cache_control": {"type": "forever"}}]}),
                ("ttl", {"system": [{**marked, "cache_control": {"type": "ephemeral", "ttl": "2h"}}]}),
                ("Found 5", {"system": [marked] * 3, "messages": [{"role": "user", "content": [marked] * 2}]})):
            self.refused(self.with_body(**fields), words)
        self.ok(self.with_body(system=[marked] * 2, messages=[{"role": "user", "content": [marked] * 2}]))

    def test_tools(self):
        for words, tools in (
                ("tools: Input", {}), ("tools.0: Input", [5]), ("no tool of type", [{"type": "bash_1", "name": "bash"}]),
                ("Extra inputs", [{**TOOL, "inputSchema": {}}]), ("should match pattern", [{**TOOL, "name": "a.b"}]),
                ("should match pattern", [{**TOOL, "name": ""}]), ("should match pattern", [{**TOOL, "name": "a" * 129}]),
                ("must be unique", [TOOL, TOOL]), ("description", [{**TOOL, "description": None}]),
                ("input_schema: Field required", [{"name": "run"}]),
                ("input_schema.type", [{**TOOL, "input_schema": {"properties": {}}}])):
            self.refused(self.with_body(tools=tools), words)
        old = "claude-haiku-4-5"
        for words, fields in (
                ("tool_choice.type", {"tools": [TOOL], "tool_choice": {"type": "some"}}),
                ("while providing tools", {"tool_choice": {"type": "auto"}}),
                ("forces tool use", {"tools": [TOOL], "tool_choice": {"type": "any"}}),
                ("forces tool use", {"model": old, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "run"},
                                     "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}),
                ("not found", {"model": old, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "walk"}})):
            self.refused(self.with_body(**fields), words)

    def test_thinking(self):
        for words, model, thinking in (
                ("thinking.type", "claude-opus-5-5", {"type": "much"}), ("thinking.type", "claude-opus-5-5", []),
                ("Extra inputs", "claude-opus-5-5", {"type": "adaptive", "depth": 3}),
                ("display", "claude-opus-5-5", {"type": "adaptive", "display": "all"}),
                ("does not support", "claude-opus-5-5", {"type": "disabled"}),
                ("without a budget", "claude-opus-5-5", {"type": "enabled", "budget_tokens": 2000}),
                ("greater than or equal to 1024", "claude-haiku-4-5", {"type": "enabled"}),
                ("greater than `thinking", "claude-haiku-4-5", {"type": "enabled", "budget_tokens": 1024})):
            self.refused(self.with_body(model=model, thinking=thinking), words)

    def test_messages(self):
        def user(*content):
            return {"role": "user", "content": list(content)}

        text = {"type": "text", "text": "x"}
        for words, messages in (
                ("messages.0: Input", [5]), ("role", [{"role": "tool", "content": "x"}]),
                ("name: Extra inputs", [{"role": "user", "content": "x", "name": "y"}]),
                ("content: Field required", [{"role": "user"}]), ("non-empty content", [{"role": "user", "content": []}]),
                ("non-empty content", [{"role": "user", "content": ""}]),
                ("must be non-empty", [user({"type": "text", "text": ""})]), ("non-whitespace", [user({"type": "text", "text": " \n"})]),
                ("text: Field required", [user({"type": "text"})]), ("valid dictionary", [user("x")]),
                ("Input tag 'audio'", [user({"type": "audio"})]),
                ("Input tag 'thinking'", [user({"type": "thinking", "thinking": "x", "signature": "y"})]),
                ("Extra inputs", [user({**text, "partial": True})]),
                ("source: Input", [user({"type": "image"})]), ("media_type", [user(image(media_type="image/bmp"))]),
                ("data: Field required", [user(image(data=""))]), ("Invalid base64", [user(image(data="????"))]),
                ("appears to be another", [user(image(media_type="image/gif"))]),
                ("Could not process", [user(image(data=base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()))]),
                ("max allowed size", [user(image(data=png(8001)))]), ("max allowed size", [user(image(data=png(2001)), *[image()] * 20)]),
                ("Too much media", [user(*[image()] * 101)]),
                ("exceeds 5 MB", [user(image(data="A" * (rules.IMAGE_MAX + 4)))]),
                ("first message", [{"role": "assistant", "content": "x"}, user(text)]),
                ("roles must alternate", [user(text), {"role": "assistant", "content": "x"},
                                          {"role": "assistant", "content": "x"}, user(text)]),
                ("must follow", [user(text), {"role": "assistant", "content": "x"}, {"role": "system", "content": "x"}]),
                ("prefill", [user(text), {"role": "assistant", "content": "x"}])):
            self.refused(self.with_body(messages=messages), words)
        self.ok(self.with_body(messages=[user({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})]))

    def test_assistant_blocks(self):
        def said(*content):
            return self.with_body(messages=BODY["messages"] + [{"role": "assistant", "content": list(content)},
                                                               {"role": "user", "content": "x"}])

        use = {"type": "tool_use", "id": "t1", "name": "run", "input": {}}
        self.refused(said({**use, "id": "a b"}), "tool_use.id")
        self.refused(said({**use, "name": ""}), "tool_use.name")
        self.refused(said({**use, "input": "{}"}), "tool_use.input")
        self.refused(said({"type": "thinking", "thinking": "x"}), "signature: Field required")
        self.refused(said(image()), "Input tag 'image'")

    def test_results(self):
        use = [{"type": "tool_use", "id": f"t{i}", "name": "run", "input": {}} for i in (1, 2)]
        result = [{"type": "tool_result", "tool_use_id": f"t{i}", "content": "x"} for i in (1, 2)]
        text = {"type": "text", "text": "x"}
        for words, content in (
                ("ids were found without", [text]), ("ids were found without `tool_result` blocks immediately after: t2",
                                                     [result[0]]),
                ("unexpected `tool_use_id`", result + [{**result[0], "tool_use_id": "t3"}]),
                ("single result", result + [result[0]]), ("come first", [result[0], text, result[1]]),
                ("tool_use_id: String", [{**result[0], "tool_use_id": None}]),
                ("is_error", [{**result[0], "is_error": "no"}]), ("content: Input", [{**result[0], "content": 5}]),
                ("must be non-empty", [{**result[0], "content": [{"type": "text", "text": ""}]}]),
                ("Input tag 'tool_use'", [{**result[0], "content": [use[0]]}])):
            self.refused(self.with_body(messages=BODY["messages"] + [
                {"role": "assistant", "content": use}, {"role": "user", "content": content}]), words)
        two = [{"role": "assistant", "content": use}, {"role": "user", "content": result}]
        self.refused(self.with_body(messages=BODY["messages"] + two + two), "must be unique")
        self.refused(self.with_body(messages=BODY["messages"] + two[:1]), "without `tool_result` blocks")
        self.refused(self.with_body(messages=[{"role": "user", "content": result}]), "unexpected `tool_use_id`")
        # One message for all of them, at once.
        self.refused(self.with_body(messages=BODY["messages"] + two[:1] + [
            {"role": "user", "content": result[:1]}, {"role": "user", "content": result[1:]}]), "ids were found without")


class History(Case):
    def setUp(self):
        super().setUp()
        self.steps({"thinking": "Think.", "text": "Look.", "tool": "run"})
        self.body = self.with_body(tools=[TOOL], system="Be kind.", thinking={"type": "adaptive", "display": "summarized"})
        self.first = self.ok(self.body)
        self.body["messages"] += [
            {"role": "assistant", "content": self.first["content"]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": self.first["content"][2]["id"]}]}]

    def changed(self, change, words):
        body = copy.deepcopy(self.body)
        change(body)
        self.refused(body, words)

    def test_right(self):
        self.ok(self.body)

    def test_rewritten(self):
        content = self.first["content"]
        for change, words in (
                (lambda b: b["messages"][0].update(content="Hallo"), "cannot be rewritten"),
                (lambda b: b.update(system="Be rude."), "the system prompt or the tools have changed"),
                (lambda b: b["tools"].append({**TOOL, "name": "more"}), "the system prompt or the tools have changed"),
                (lambda b: b["messages"][1]["content"][1].update(text="Looked."), "cannot be rewritten"),
                (lambda b: b["messages"][1]["content"][2].update(input={"code": "2"}), "cannot be rewritten"),
                (lambda b: b["messages"][1]["content"].pop(1), "cannot be rewritten"),
                (lambda b: b["messages"][1]["content"].pop(0), "cannot be modified"),
                (lambda b: b["messages"][1]["content"][0].update(thinking="Thought."), "cannot be modified"),
                (lambda b: b["messages"][1]["content"][0].update(signature="abc"), "Invalid `signature`"),
                (lambda b: b["messages"][1].update(content=[content[1], content[0], content[2]]), "cannot be rewritten"),
                (lambda b: b["messages"][1]["content"].insert(0, content[0]), "cannot be modified")):
            self.changed(change, words)

    def test_later_rewritten(self):
        second = self.ok(self.body)
        self.body["messages"] += [{"role": "assistant", "content": second["content"]}, {"role": "user", "content": "x"}]
        self.ok(self.body)
        self.changed(lambda b: b["messages"][2]["content"][0].update(content="else"), "messages.3: the messages before")
        self.changed(lambda b: b["messages"].pop(1) and b["messages"].pop(1), "Invalid `signature`")

    def test_half_an_answer(self):
        # A stream that broke off: its text may be quoted as far as it came, no more and no less of the thinking.
        body = self.with_body(thinking={"type": "adaptive", "display": "summarized"})
        self.steps({"thinking": "Think.", "text": "One two three", "end": 6, "chunk": 4})
        sent = assemble(self.stream(body)[0])["content"]
        self.assertEqual([b["type"] for b in sent], ["thinking"])
        sent.append({"type": "text", "text": "One t"})
        body["messages"] += [{"role": "assistant", "content": sent}, {"role": "user", "content": "Go on"}]
        self.ok(body)
        sent[1]["text"] = "One x"
        self.refused(body, "cannot be rewritten")
        sent[0]["thinking"] = "Thi"
        self.refused(body, "cannot be modified")

    def test_broken_arguments(self):
        body = self.with_body(tools=[TOOL])
        self.steps({"tool": "run", "raw": "{\"code\": "})
        use = [e for e in self.stream(body)[0] if e["type"] == "content_block_start"][0]["content_block"]
        body["messages"] += [{"role": "assistant", "content": [{**use, "input": {"anything": 1}}]},
                             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "is_error": True}]}]
        self.ok(body)


class Faults(Case):
    def test_statuses(self):
        for status, kind in steps.ERROR_TYPES.items():
            self.steps({"status": status})
            got, answer, _ = self.post(BODY)
            self.assertEqual((got, answer["error"]["type"]), (status, kind))
        self.steps({"status": 429, "retry_after": 2, "retry_after_ms": 1500, "should_retry": "false", "message": "slow down",
                    "headers": {"anthropic-ratelimit-requests-remaining": "0"}})
        _, answer, headers = self.post(BODY)
        self.assertEqual(answer["error"]["message"], "slow down")
        self.assertEqual((headers["retry-after"], headers["retry-after-ms"], headers["x-should-retry"]), ("2", "1500", "false"))
        self.assertEqual(headers["anthropic-ratelimit-requests-remaining"], "0")
        self.ok(BODY)  # and then by itself again

    def test_cut(self):
        for n in (0, 1, 100, 700):
            self.steps({"text": "word " * 100, "cut": n})
            _, whole, data = self.stream(BODY)
            self.assertEqual((whole, len(data)), (False, n))
        self.steps({"text": "word", "cut": 10})
        with self.assertRaises((http.client.HTTPException, OSError)):
            self.request(BODY).read()
        self.steps({"close": True})
        with self.assertRaises((http.client.HTTPException, OSError)):
            self.request(BODY)

    def test_end(self):
        self.steps({"text": "word", "end": 4}, {"text": "word", "end": 0})
        events, whole, _ = self.stream(BODY)
        self.assertEqual((len(events), whole), (4, True))
        self.assertEqual(self.stream(BODY)[:2], ([], True))

    def test_error_event(self):
        self.steps({"error": "overloaded_error", "after": 3, "message": "busy"})
        events, whole, _ = self.stream(BODY)
        self.assertTrue(whole)
        self.assertEqual((len(events), events[3]), (4, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}))
        self.steps({"error": "overloaded_error"}, {"error": "api_error"})
        self.refused(BODY, "overloaded", 529, "overloaded_error")
        self.refused(BODY, "api_error", 500, "api_error")

    def test_stall(self):
        self.steps({"text": "x", "stall": 0.5}, {"text": "x", "stall": 0.5}, {"text": "abcd", "chunk": 1, "delay": 0.05})
        begun = time.monotonic()
        self.assertEqual(self.stream(BODY)[0][-1]["type"], "message_stop")
        self.assertGreater(time.monotonic() - begun, 0.45)
        begun = time.monotonic()
        self.ok(BODY)
        self.assertGreater(time.monotonic() - begun, 0.45)
        begun = time.monotonic()
        self.stream(BODY)
        self.assertGreater(time.monotonic() - begun, 0.4)

    def test_client_goes_away(self):
        self.steps({"text": "x", "stall": 30})
        response = self.request({**BODY, "stream": True})
        response.read1()
        response.close()
        for connection in (c[0].__self__ for c in self._cleanups if getattr(c[0], "__name__", "") == "close"):
            if isinstance(connection, http.client.HTTPConnection):
                connection.close()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with open(self.file.name) as f:
                events = [json.loads(line) for line in f]
            if events[-1]["event"] == "answer":
                break
            time.sleep(0.02)
        self.assertIs(events[-1]["delivered"], False)

    def test_odd_answers(self):
        self.steps("empty", "refusal", "max_tokens", "pause_turn", "tool=nosuch,input={\"a\":[1,2]}",
                   "think=Why,text=So, then")
        answers = [self.ok(BODY) for _ in range(6)]
        self.assertEqual([a["stop_reason"] for a in answers],
                         ["end_turn", "refusal", "max_tokens", "pause_turn", "tool_use", "end_turn"])
        self.assertEqual(answers[0]["content"], [])
        self.assertEqual(answers[1]["stop_details"]["category"], "cyber")
        self.assertEqual((answers[4]["content"][0]["name"], answers[4]["content"][0]["input"]), ("nosuch", {"a": [1, 2]}))
        self.assertEqual(answers[5]["content"][1]["text"], "So, then")
        self.steps("refusal")
        self.assertEqual(self.stream(BODY)[0][-2]["delta"]["stop_details"]["category"], "cyber")

    def test_model_names(self):
        body = self.with_body(model="test:status=529;status=429,retry_after=1;text=at last", messages=[
            {"role": "user", "content": "one"}])
        self.assertEqual([self.post(body)[0] for _ in range(2)], [529, 429])
        self.assertEqual(self.ok(body)["content"][0]["text"], "at last")
        self.assertEqual(self.ok(body)["content"][1]["text"], "Done.")
        body["messages"] = [{"role": "user", "content": "two"}]
        self.assertEqual(self.post(body)[0], 529)

    def test_control(self):
        for wrong in (b"{", b"{}", b'{"steps": ["dance"]}', b'{"steps": [{"dance": 1}]}', b'{"steps": ["text=x,dance=1"]}'):
            self.assertEqual(self.post(wrong, "/control")[0], 400, wrong)
        self.steps("text")
        self.assertEqual(self.post({"steps": ["tool"], "append": True}, "/control")[1], {"steps": 2})
        connection = self.connect()
        connection.request("GET", "/control")
        self.assertEqual(json.loads(connection.getresponse().read())["steps"], 2)


class Zz(unittest.TestCase):
    """Runs last: unittest takes the classes by name."""

    def test_each_refusal_was_triggered(self):
        if len(sys.argv) > 1:
            self.skipTest("only when all tests run")
        written = set()
        for module in (rules, conversations, api):
            with open(module.__file__) as f:
                tree = ast.parse(f.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    name = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
                    if name in ("invalid", "Refusal"):
                        written.add((os.path.basename(module.__file__), node.lineno, node.end_lineno))
        self.assertGreater(len(written), 60)
        missing = [w for w in written if not any(w[0] == f and w[1] <= line <= w[2] for f, line in raised)]
        self.assertEqual(sorted(missing), [])


if __name__ == "__main__":
    unittest.main(warnings="ignore")
