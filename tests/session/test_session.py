"""The agent loop as a process (`interpfs runner STATE session N`) against the strict Messages API and
stand-ins for notebooks: every fault of the API, limits, interrupts, crashes at every failpoint.
INTERPFS names a test build. Alone: INTERPFS=build/asan/interpfs python3 tests/session/test_session.py [-k PATTERN]"""
import base64
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from harness import CALL, KEY, WAIT, Case, fake_runner  # noqa: E402


class Turns(Case):
    def test_turn_with_a_call(self):
        self.api.steps(CALL, {"text": "It is two."}, {"text": "Yes."})
        s = self.with_notebook()
        s.write("prompt", "Be brief.\n")
        with open(f"{self.state}/notebooks/101/model_info.md", "w") as f:
            f.write("# Models\n")
        s.run("What is it?\n")
        self.done(s)
        shown = s.read("messages")
        for text in ("── user  ", "What is it?", "── thinking  ", "I should look.", "── assistant  ", "I will look.",
                     "── call 1 execute_code  ", "── result 1 (", "a\nb\n", "It is two."):
            self.assertIn(text, shown)
        self.assertEqual(s.read("result"), "It is two.\n")
        self.assertEqual(s.read("system"), "# Models\n\nBe brief.\n")
        self.assertEqual(s.read("calls/1/name"), "execute_code\n")
        self.assertEqual(s.read("calls/1/arguments"), '{"code":"print"}\n')
        self.assertEqual(s.read("calls/1/state"), "done\n")
        self.assertIn("a\nb", s.read("calls/1/result"))
        self.assertEqual(json.loads(s.read("requests/1.json")), self.api.bodies()[0])
        usage = json.loads(s.read("usage"))
        self.assertEqual(usage["turns"], 2)
        self.assertGreater(usage["cost"], 0)
        head = json.loads(s.read("info.json"))["head"].split()[0]
        self.assertEqual(int(head), len(s.events()))

        # The next turn extends the conversation; the frozen part stays and is marked for the cache.
        s.write("prompt", "Changed.\n")
        s.run("Sure?")
        self.done(s)
        first, second, third = self.api.bodies()
        for body in (first, second, third):
            self.assertEqual(body["system"], [{"type": "text", "text": "# Models\n\nBe brief.",
                                               "cache_control": {"type": "ephemeral"}}])
            self.assertEqual(body["messages"][-1]["content"][-1]["cache_control"], {"type": "ephemeral"})
            self.assertEqual(json.dumps(body).count("cache_control"), 2)
            self.assertEqual(body["thinking"], {"type": "adaptive", "display": "summarized"})
            self.assertNotIn("temperature", body)
        self.assertEqual([t["name"] for t in first["tools"]], sorted(t["name"] for t in first["tools"]))
        self.assertEqual([m["role"] for m in third["messages"]], ["user", "assistant", "user", "assistant", "user"])
        self.assertEqual(self.api.refusals(), [])
        self.assertGreater(json.loads(s.read("usage"))["cache_read_tokens"], 0)

    def test_texts_that_are_none(self):
        """Bytes that are no UTF-8 in what becomes the system prompt would spoil every request."""
        s = self.with_notebook()
        for name, data in ((f"{self.state}/notebooks/101/model_info.md", b"caf\xe9 \xe2\x82"), (s.folder + "/prompt", b"\xff!\n")):
            with open(name, "wb") as f:
                f.write(data)
        s.run("go")
        self.done(s)
        self.assertEqual(self.api.bodies()[0]["system"][0]["text"], "caf? ??\n\n?!")

    def test_queue(self):
        self.api.steps({"text": "One."}, {"text": "Two."})
        s = self.session()
        s.say("a")
        s.say("b")
        self.assertEqual(s.start().end(), "done")
        self.done(s)
        self.assertEqual([len(b["messages"]) for b in self.api.bodies()], [1, 3])
        self.assertEqual(os.listdir(s.folder + "/inbox"), [])

    def test_start_without_words(self):
        s = self.session()
        s.put({"kind": "start"})
        s.run()
        self.done(s)
        self.assertEqual(self.api.bodies()[0]["messages"][0]["content"][0]["text"], "(no content)")
        s.put({"kind": "start"})  # nothing waits for an answer
        self.assertEqual(s.run(), "done")
        self.assertEqual(len(self.api.bodies()), 1)

    def test_blocks(self):
        s = self.session()
        s.run([{"type": "text", "text": "See:"}, {"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": fake_runner.PNG}}])
        self.done(s)
        self.assertIn("See:\n[image]", s.read("messages"))
        # What the API would refuse for ever is told in its place.
        s.run([{"type": "text", "text": "x"}, {"type": "nonsense"}])
        self.done(s)
        self.assertIn("cannot be sent on: block 2: a message has blocks of type text, image and document, not nonsense", self.api.bodies()[-1]["messages"][-1]["content"][0]["text"])

    def test_picture(self):
        self.api.steps({"tool": "execute_code", "input": {"code": "png"}}, {"text": "A picture."})
        s = self.with_notebook()
        s.run("draw")
        self.done(s)
        with open(s.folder + "/outputs/call-1-1.png", "rb") as f:
            self.assertEqual(f.read(4), b"\x89PNG")
        self.assertIn("[picture: outputs/call-1-1.png]", s.read("messages"))
        kinds = [b["type"] for b in self.api.bodies()[1]["messages"][-1]["content"][0]["content"]]
        self.assertIn("image", kinds)
        os.unlink(s.folder + "/outputs/call-1-1.png")  # people may: the conversation does not need it
        s.run("again")
        self.done(s)

    def test_pictures_that_no_model_takes(self):
        """One in the conversation would have every later request refused."""
        jpeg = base64.b64encode(b"\xff\xd8\xff" + b"\0" * 60).decode()
        code = f"png:1:0:50 picture:image/png:nonsense! picture:image/png:{jpeg} picture:image/jpeg:{jpeg} png:9000:0:0 png:1:4000000:0"
        self.api.steps({"tool": "execute_code", "input": {"code": code}}, {"text": "No picture."})
        s = self.with_notebook()
        s.run("draw")
        self.done(s)
        self.assertEqual(self.api.refusals(), [])
        result = s.read("calls/1/result")
        for text in ("[image/png, not shown: it is broken or not whole]", "[image/png, not shown: it is not base64]",
                     "[image/png, not shown: it is image/jpeg, not image/png]", "[image/jpeg, not shown: it is broken or not whole]",
                     "[image/png, not shown: it has 9000 x 1 pixels, more than 8000 on a side]",
                     "[image/png, not shown: it is larger than 3932160 bytes]"):
            self.assertIn(text, result)

    def test_pictures_of_the_user(self):
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": fake_runner.PNG}}
        for bad, why in ((dict(picture["source"], data="nonsense!"), "it is not base64"),
                         (dict(picture["source"], data=fake_runner.PNG[:-40] + "===="), "it is not base64"),
                         (dict(picture["source"], media_type="image/jpeg"), "it is image/png, not image/jpeg"),
                         (dict(picture["source"], media_type="image/tiff"), "its type is image/tiff")):
            s = self.session()
            s.put({"kind": "message", "content": [{"type": "text", "text": "Look."}, {"type": "image", "source": bad}]})
            s.run()
            self.done(s)
            s.put({"kind": "message", "content": [{"type": "text", "text": "Look."}, picture]})
            s.run()
            self.done(s)
            sent = self.api.bodies()[-1]["messages"]
            self.assertIn(f"[The user sent what cannot be sent on: block 2: image: {why}", sent[0]["content"][0]["text"])
            self.assertEqual([b["type"] for b in sent[2]["content"]], ["text", "image"])
        self.assertEqual(self.api.refusals(), [])

    def test_too_many_pictures(self):
        """20 with a large one among them; all together of 20 MB. It holds in the next process, too."""
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": fake_runner.PNG}}
        self.api.steps(*[{"tool": "execute_code", "input": {"code": code}} for code in
                         ("png:2001:0:0 " + "png " * 18, "png png:9:0:0", "png:9:3900000:0 " * 3)],
                       {"text": "Seen."}, {"text": "No."}, {"tool": "execute_code", "input": {"code": "png"}}, {"text": "No."})
        s = self.with_notebook()
        s.run("draw")
        self.done(s)
        images = [len([b for b in e["content"] if b["type"] == "image"]) for e in s.events("result")]
        self.assertEqual(images, [19, 1, 0])
        text = "there are 20 pictures already, and one of them has more than 2000 pixels on a side"
        self.assertIn(text, json.dumps(s.events("result")[1]["content"]))
        self.assertEqual(len(os.listdir(s.folder + "/outputs")), 19 + 2 + 3)
        s.put({"kind": "message", "content": [picture]})
        s.run()
        self.done(s)
        self.assertIn(f"[A picture that cannot be sent: {text}.]", self.api.bodies()[-1]["messages"][-1]["content"][0]["text"])
        s.run("again")
        self.done(s)
        self.assertIn(text, s.read("messages"))
        self.api.steps(*[{"tool": "execute_code", "input": {"code": "png:9:3900000:0 " * 3}}] * 2, {"text": "Seen."})
        s = self.with_notebook()
        s.run("draw")
        self.done(s)
        self.assertEqual([len([b for b in e["content"] if b["type"] == "image"]) for e in s.events("result")], [3, 1])
        self.assertIn("all pictures together would be too large", s.read("messages"))
        self.assertEqual(self.api.refusals(), [])

    def test_picture_in_the_way(self):
        """The agent, too, makes what is in outputs/."""
        self.api.steps({"tool": "execute_code", "input": {"code": "png"}}, {"text": "A picture."})
        s = self.with_notebook()
        os.makedirs(s.folder + "/outputs/call-1-1.png/x")
        s.run("draw")
        self.done(s)

    def test_parallel_calls_in_order(self):
        self.api.steps({"content": [{"tool": "execute_code", "input": {"code": "second"}},
                                    {"tool": "execute_code", "input": {"code": "print"}},
                                    {"tool": "add_markdown", "input": {"content": "# x"}}]}, {"text": "Good."})
        s = self.with_notebook()
        s.run("go")
        self.done(s)
        self.assertEqual([e["call"] for e in s.events("result")], [1, 2, 3])
        self.assertEqual(len(self.api.bodies()[1]["messages"][-1]["content"]), 3)

    def test_pause(self):
        self.api.steps("pause_turn", {"text": "Now."})
        s = self.session()
        s.run("go")
        self.done(s)
        self.api.steps(*["pause_turn"] * 9)
        s.run("go on")
        self.assertEqual((s.status(), s.failure()), ("failed", "the model paused 6 times in a row"))
        self.assertEqual(self.api.refusals(), [])

    def test_options(self):
        s = self.session(options={"max_tokens": 123, "metadata": {"user_id": "u"}})
        s.run("go")
        self.done(s)
        self.assertEqual(self.api.bodies()[0]["max_tokens"], 123)
        s = self.session(options={"messages": []})
        s.run("go")
        self.assertIn("options may not hold messages", s.failure())

    def test_no_key(self):
        self.secrets = {}
        s = self.session()
        s.run("go")
        self.assertEqual(s.status(), "failed")
        self.assertIn("ANTHROPIC_API_KEY is not set", s.failure())

    def test_token(self):
        self.secrets = {"ANTHROPIC_AUTH_TOKEN": KEY, "ANTHROPIC_BASE_URL": self.api.url + "/"}
        s = self.session()
        s.run("go")
        self.done(s)


    def test_a_key_that_comes_back(self):
        """It stands in nothing that is written, however it is cut into pieces (check looks)."""
        for chunk in 1, 7, 20, 1000:
            self.api.steps({"thinking": f"{KEY}?", "text": f"It is {KEY} or {KEY[:-1]}.", "chunk": chunk})
            s = self.session()
            s.run("go")
            self.done(s)
            shown = f"It is ANTHROPIC_API_KEY or {KEY[:-1]}.\n"
            self.assertEqual(s.read("result"), shown)
            self.assertIn("ANTHROPIC_API_KEY?\n", s.read("messages"))
            self.assertIn(shown, s.read("messages"))
        self.api.steps({"text": KEY[:9], "chunk": 3})
        s = self.session()
        s.run("go")
        self.done(s)
        self.assertIn(f"\n{KEY[:9]}\n", s.read("messages"))
        self.api.steps({"status": 401, "type": "authentication_error", "message": f"{KEY} is not right"})
        s = self.session()
        s.run("go")
        self.assertIn("ANTHROPIC_API_KEY is not right", s.failure())
        self.check(s)


class Faults(Case):
    def retried(self, step, reason):
        self.api.steps(step, {"text": "It is two."})
        s = self.session()
        s.run("go")
        self.done(s)
        self.assertIn("── retry  ", s.read("messages"))
        self.assertIn(reason, s.read("messages"))
        self.assertEqual(len(s.events("retry")), 1)
        self.assertEqual(s.read("result"), "It is two.\n")
        # The request is the same, byte for byte.
        self.assertEqual(self.api.bodies()[0], self.api.bodies()[1])
        self.assertEqual(self.api.refusals(), [])
        return s

    def test_429(self):
        s = self.retried({"status": 429, "retry_after_ms": 10}, "429 rate_limit_error")
        self.assertEqual(s.events("retry")[0]["delay"], 0.01)

    def test_500(self):
        self.retried({"status": 500}, "500 api_error")

    def test_529(self):
        self.retried({"status": 529}, "529 overloaded_error")

    def test_asked_to_retry(self):
        self.retried({"status": 400, "should_retry": "true"}, "400 invalid_request_error")

    def test_closed(self):
        self.retried({"close": True}, "trying again")

    def test_cut(self):
        s = self.retried({"text": "It is two, and that is long enough to be cut.", "cut": 900}, "the stream was cut")
        self.assertEqual(len(s.events("aborted")), 1)

    def test_ends_early(self):
        s = self.retried({"text": "It is two, and more.", "end": 4}, "the stream was cut before its end")
        self.assertIn("It is two", s.events("aborted")[0]["text"])

    def test_error_in_the_stream(self):
        self.retried({"text": "It is two, and more.", "error": "overloaded_error", "after": 3},
                     "error in the stream: overloaded_error")

    def test_answers_nothing(self):
        self.retried({"empty": True}, "the model answered nothing")
        self.api.steps(*[{"empty": True}] * 4)
        s = self.session()
        s.run("go")
        self.assertEqual((s.status(), s.failure()), ("failed", "the model answered nothing"))
        self.check(s)

    def test_stalls(self):
        self.env["INTERPFS_STALL_SECONDS"] = "4"
        self.api.steps({"text": "It is two, and more.", "stall": 30, "after": 4}, {"text": "Two."})
        s = self.session()
        s.run("go")
        self.done(s)
        self.assertIn("── stalled  ", s.read("messages"))
        self.api.steps(*[{"text": "x", "stall": 30}] * 3)
        s = self.session(retry={"attempts": 1, "seconds": 900})
        s.run("go")
        self.assertEqual(s.status(), "stalled")
        self.assertIn("nothing came for", s.failure())

    def fails(self, step, text):
        self.api.steps(step, {"text": "never"})
        s = self.session()
        s.run("go")
        self.assertEqual(s.status(), "failed")
        self.assertIn(text, s.failure())
        self.assertIn(text, s.read("messages"))
        self.check(s)
        return s

    def test_400(self):
        s = self.fails({"status": 400, "message": "bad thing"}, "400 invalid_request_error: bad thing (request req_")
        # start asks again what has no answer yet
        self.api.steps({"text": "Better."})
        s.put({"kind": "start"})
        s.run()
        self.done(s)
        self.assertEqual(len(self.api.bodies()[-1]["messages"]), 1)

    def test_401(self):
        self.fails({"status": 401}, "401 authentication_error")

    def test_error_in_the_stream_that_stays(self):
        self.fails({"text": "x", "error": "invalid_request_error", "after": 1}, "invalid_request_error")

    def test_too_long_to_wait(self):
        self.fails({"status": 429, "retry_after": 5000}, "given up: the next attempt would come too late")

    def test_given_up(self):
        self.api.steps(*[{"status": 529, "retry_after_ms": 1}] * 5)
        s = self.session(retry={"attempts": 3, "seconds": 900})
        s.run("go")
        self.assertEqual(s.status(), "failed")
        self.assertEqual(len(self.api.bodies()), 4)
        self.assertIn("given up", s.failure())

    def test_nobody_listens(self):
        self.secrets["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:1"
        s = self.session(retry={"attempts": 1, "seconds": 900})
        s.run("go")
        self.assertEqual(s.status(), "failed")
        self.assertIn("Failed to connect", s.failure())

    def test_refusal(self):
        s = self.fails("refusal", "the model refused: cyber: This was refused for a test.")
        self.api.steps({"text": "Gladly."})
        s.run("Something else.")
        self.done(s)
        self.assertEqual([m["role"] for m in self.api.bodies()[-1]["messages"]], ["user", "user"])
        self.assertEqual(self.api.refusals(), [])

    def tool(self, step, text):
        self.api.steps(step, {"text": "I see."})
        s = self.with_notebook()
        s.run("go")
        self.done(s)
        result = self.api.bodies()[1]["messages"][-1]["content"][0]
        self.assertTrue(result["is_error"])
        self.assertIn(text, result["content"][0]["text"])
        self.assertIn(text, s.read("messages"))
        self.assertEqual(s.read("calls/1/state"), "error\n")
        self.assertEqual(self.api.refusals(), [])

    def test_no_such_tool(self):
        self.tool({"tool": "nosuch", "input": {}}, "there is no tool 'nosuch'; there are: add_markdown, ")

    def test_arguments_missing(self):
        self.tool({"tool": "execute_code", "input": {}}, "the arguments do not fit")

    def test_arguments_of_another_type(self):
        self.tool({"tool": "execute_code", "input": {"code": 7}}, "the arguments do not fit")

    def test_arguments_that_are_no_json(self):
        self.tool({"tool": "execute_code", "raw": '{"code": "x'}, "the arguments are not a JSON object")

    def test_cell_fails(self):
        self.tool({"tool": "execute_code", "input": {"code": "error"}}, "NameError")

    def test_notebook_refuses(self):
        self.tool({"tool": "execute_code", "input": {"code": "refused"}}, "the kernel has died")

    def test_cut_call_is_not_run(self):
        self.api.steps({"tool": "execute_code", "input": {"code": "print"}, "stop": "max_tokens"}, {"text": "I see."})
        s = self.with_notebook()
        s.run("go")
        self.done(s)
        self.assertIn("not run", s.read("calls/1/result"))
        self.assertEqual([n for n in self.notebook.notes if n.startswith("run ")], [])
        self.api.steps({"text": "It was", "stop": "max_tokens"})
        s.run("more")
        self.assertEqual(s.status(), "limited")
        self.assertIn("max_tokens", s.failure())
        self.assertEqual(self.api.refusals(), [])

    def test_cut_while_it_thinks(self):
        self.api.steps({"content": [{"thinking": "hm"}], "stop": "max_tokens"}, {"text": "Now."})
        s = self.session()
        s.run("go")
        self.assertEqual(s.status(), "limited")
        s.put({"kind": "start"})
        s.run()
        self.done(s)
        self.assertEqual([m["role"] for m in self.api.bodies()[1]["messages"]], ["user"])

    def test_start_goes_on(self):
        """After an answer that is complete in itself, but not the end: what error says that start does, it does."""
        for step, state in (({"text": "It was", "stop": "max_tokens"}, "limited"), ({"text": "It was", "stop": "odd"}, "failed")):
            self.api.steps(step, {"text": "Now."})
            s = self.session()
            s.run("go")
            self.assertEqual(s.status(), state)
            s.put({"kind": "start"})
            s.run()
            self.done(s)
            self.assertEqual(self.api.bodies()[-1]["messages"][-1]["content"][0]["text"], "Go on from where you stopped.")
            self.assertIn("Go on from where you stopped.", s.read("messages"))
        self.api.steps(*["pause_turn"] * 6, {"text": "Now."})
        s = self.session()
        s.run("go")
        self.assertEqual(s.status(), "failed")
        s.put({"kind": "start"})
        s.run()
        self.done(s)
        self.assertEqual([m["role"] for m in self.api.bodies()[-1]["messages"]], ["user"] + ["assistant"] * 6)
        self.assertEqual(self.api.refusals(), [])

    def test_nothing_but_thinking(self):
        self.api.steps({"thinking": "hm", "stop": "end_turn"}, {"text": "Now."})
        s = self.session()
        s.run("go")
        self.done(s)
        self.assertIn("the model answered nothing", s.read("messages"))
        self.assertEqual([m["role"] for m in self.api.bodies()[1]["messages"]], ["user"])
        self.api.steps({"thinking": "hm", "stop": "model_context_window_exceeded"}, {"text": "Now."})
        s.run("more")
        self.assertEqual(s.status(), "limited")
        s.run("less")
        self.done(s)
        self.assertEqual(self.api.refusals(), [])

    def test_window(self):
        self.api.steps({"text": "It was", "stop": "model_context_window_exceeded"})
        s = self.session()
        s.run("go")
        self.assertEqual((s.status(), s.failure()), ("limited", "the context window of claude-opus-5-5 is full"))

    def test_tool_timeout(self):
        self.api.steps({"tool": "execute_code", "input": {"code": "slow"}}, {"text": "Too slow."})
        s = self.with_notebook(tool_timeout=1)
        s.run("go")
        self.done(s)
        self.assertIn("timed out after 1 s", s.read("calls/1/result"))


class Wire(Case):
    """What comes back over HTTP and is no answer."""

    def fails(self, step, *texts, asked=1):
        self.api.steps(step, {"text": "never"})
        s = self.session()
        s.run("go")
        self.assertEqual(s.status(), "failed")
        for text in texts:
            self.assertIn(text, s.failure())
        self.assertEqual(len(self.api.bodies()), asked)
        self.check(s)

    def test_page_in_place_of_a_stream(self):
        self.fails({"status": 200, "body": "<html>Sign in, \u20ac" + "\u20ac" * 200, "headers": {"Content-Type": "text/html"}},
                   "200 with text/html in place of a stream of events: <html>Sign in, \u20ac")

    def test_huge_page(self):
        self.fails({"status": 200, "body": "<html>" * (3 << 20), "headers": {"Content-Type": "text/html"}},
                   "the answer is too long")

    def test_elsewhere(self):
        self.fails({"status": 307, "body": "", "headers": {"Location": self.api.url + "/other"}}, "307 without a body")

    def test_too_large(self):
        self.fails({"status": 413, "message": "Request exceeds the maximum size"}, "413 request_too_large: Request exceeds")

    def test_compressed_though_not_asked_for(self):
        self.api.steps({"text": "It is two.", "gzip": True})
        s = self.session()
        s.run("go")
        self.done(s)
        self.assertEqual(s.read("result"), "It is two.\n")

    def test_cut_anywhere(self):
        """In the middle of a character, of a string, of a line: what was shown is text, and it is asked again."""
        text = "\u20ac\U0001f600" * 12
        for at in range(560, 640, 7):
            self.api.steps({"text": text, "cut": at, "chunk": 3}, {"text": "It is two."})
            s = self.session(retry={"attempts": 1, "seconds": 900})
            s.run("go")
            self.done(s)
            self.assertEqual(len(s.events("retry")), 1)
            self.assertTrue(text.startswith(s.events("aborted")[0]["text"]))

    def test_addresses_that_never_work(self):
        for url, text in (("htp://127.0.0.1", "not supported"), ("http://127.0.0.1:99999", "bad/illegal format"),
                          ("https://127.0.0.1:%d" % self.tls(), "certificate")):
            self.secrets["ANTHROPIC_BASE_URL"] = url
            s = self.session()
            s.run("go")
            self.assertEqual(s.status(), "failed")
            self.assertIn(text, s.failure())
            self.assertEqual(s.events("retry"), [], "it was tried again")

    def serve(self, speak):
        """Has speak(connection) in a thread for each connection to the port that it returns."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def talk(connection):
            try:
                speak(connection)
            except OSError:
                pass
            connection.close()

        def accept():
            try:
                while True:
                    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    @staticmethod
    def pump(one, other):
        def copy(source, sink):
            try:
                for piece in iter(lambda: source.recv(65536), b""):
                    sink.sendall(piece)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        threading.Thread(target=copy, args=(one, other), daemon=True).start()
        copy(other, one)

    def tls(self):
        """A TLS server before the API whose certificate nobody has signed; it is in self.tmp/tls."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.tmp + "/key",
                        "-out", self.tmp + "/tls"], check=True, stderr=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tmp + "/tls", self.tmp + "/key")
        host, port = self.api.url.removeprefix("http://").split(":")
        return self.serve(lambda c: self.pump(context.wrap_socket(c, server_side=True), socket.create_connection((host, port))))

    def test_proxy_and_authority(self):
        """As behind a company's wall. What the proxy says is not what the server says."""
        asked = []

        def proxy(connection):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            asked.append(head.split()[:2])
            host, port = head.split()[1].decode().split(":")
            connection.sendall(b"HTTP/1.1 200 Connected\r\nretry-after: 600\r\ncontent-type: text/html\r\n\r\n")
            self.pump(connection, socket.create_connection((host, port)))

        port = self.tls()
        self.env.update(https_proxy=f"http://127.0.0.1:{self.serve(proxy)}", no_proxy="",
                        CURL_CA_BUNDLE="", SSL_CERT_FILE=self.tmp + "/tls")
        self.secrets["ANTHROPIC_BASE_URL"] = f"https://127.0.0.1:{port}"
        self.api.steps({"status": 529}, {"text": "It is two."})
        s = self.session()
        s.run("go")
        self.done(s)
        self.assertLess(s.events("retry")[0]["delay"], 1)
        self.assertEqual(asked[0], [b"CONNECT", f"127.0.0.1:{port}".encode()])

    def test_slow_line(self):
        """A large request on a line so slow that sending takes longer than a silence may."""
        asked = []

        def read_slowly(connection):
            asked.append(1)
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(1024)
            head, data = data.split(b"\r\n\r\n", 1)
            left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(data)
            while left > 0:
                time.sleep(0.02)
                left -= len(connection.recv(65536))
            body = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": "all of it came"}}).encode()
            connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        self.secrets["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{self.serve(read_slowly)}"
        self.env["INTERPFS_STALL_SECONDS"] = "5"
        s = self.session(retry={"attempts": 0, "seconds": 900})
        s.run("x" * (24 << 20))
        self.assertIn("all of it came", s.failure())
        self.assertEqual(len(asked), 1)


class Limits(Case):
    def test_turns(self):
        self.api.steps(CALL, {"text": "Done."})
        s = self.with_notebook(limits={"turns": 1, "usd": None})
        s.run("go")
        self.assertEqual(s.status(), "limited")
        self.assertIn("limits: turns is 1", s.failure())
        self.check(s)
        s.configure(limits={"turns": 2, "usd": None})
        s.put({"kind": "start"})
        s.run()
        self.done(s)
        self.assertEqual(self.api.refusals(), [])

    def test_dollars(self):
        self.api.steps(CALL, {"text": "Done."})
        s = self.with_notebook(limits={"turns": None, "usd": 0.000001})
        s.run("go")
        self.assertEqual(s.status(), "limited")
        self.assertEqual(len(self.api.bodies()), 1)

    def test_dollars_of_answers_that_broke_off(self):
        self.api.steps(*[{"text": "It is two.", "end": 4}] * 3, {"text": "never"})
        s = self.session(limits={"turns": None, "usd": 0.000001})
        s.run("go")
        self.assertEqual((s.status(), len(self.api.bodies())), ("limited", 1))
        self.assertGreater(json.loads(s.read("usage"))["cost"], 0)

    def test_dollars_of_a_gateway(self):
        """It answers in the name of a model whose price nobody knows: then it costs what was asked for."""
        self.api.steps({**CALL, "model": "my-gateway"}, {"text": "never"})
        s = self.with_notebook(limits={"turns": None, "usd": 0.000001})
        s.run("go")
        self.assertEqual((s.status(), len(self.api.bodies())), ("limited", 1))
        self.assertEqual(list(json.loads(s.read("usage"))["models"]), ["my-gateway"])

    def test_dollars_without_a_price(self):
        s = self.session(model="test:text=x", limits={"turns": None, "usd": 5})
        s.run("go")
        self.assertEqual(s.status(), "failed")
        self.assertIn("none is known for test:text=x", s.failure())
        self.assertEqual(self.api.events("request"), [])
        s.configure(limits={"turns": None, "usd": None})
        s.put({"kind": "start"})
        s.run()
        self.done(s)
        self.assertIsNone(json.loads(s.read("usage"))["cost"])


class Secrets(Case):
    def test_in_an_error(self):
        self.api.steps({"status": 500, "message": f"who is {KEY}?", "retry_after": 600})
        s = self.session()
        s.say("go")
        s.start().wait_for("failure", "who is ANTHROPIC_API_KEY?")
        self.check(s)
        s.command("interrupt")
        self.assertEqual(s.end(), "interrupted")

    def test_key_that_is_its_own_name(self):
        self.secrets["ANTHROPIC_API_KEY"] = "ANTHROPIC_API_KEY"
        self.api.steps({"status": 401})
        s = self.session()
        s.run("the ANTHROPIC_API_KEY is what?")
        self.assertIn("401 authentication_error", s.failure())
        self.assertIn("the ANTHROPIC_API_KEY is what?", s.read("messages"))

    def test_key_that_is_a_word(self):
        """As for servers of one's own that want any key: the word stays what it is."""
        self.secrets["ANTHROPIC_API_KEY"] = "anything"
        s = self.session()
        s.run("Say anything.")
        self.assertIn("Say anything.", s.read("messages"))
        self.assertEqual(s.events("user")[0]["content"][0]["text"], "Say anything.")


class Interrupts(Case):
    def test_while_it_streams(self):
        self.api.steps({"text": "It is a long answer of many words, and it takes its time.", "delay": 0.2, "chunk": 5},
                       {"text": "As you like."})
        s = self.session()
        s.say("go")
        s.start().wait_for("messages", "It is")
        self.assertEqual(s.command("interrupt")["errno"], 0)
        self.assertEqual(s.end(), "interrupted")
        self.check(s)
        self.assertIn("It is", s.events("aborted")[0]["text"])
        s.run("Shorter.")
        self.done(s)
        content = self.api.bodies()[-1]["messages"][-1]["content"]
        self.assertIn("interrupted this answer. It had said: It is", content[0]["text"])
        self.assertEqual(content[1]["text"], "Shorter.")
        self.assertEqual(self.api.refusals(), [])

    def test_while_a_tool_runs(self):
        self.api.steps({"content": [{"tool": "execute_code", "input": {"code": "while_running slow"}},
                                    {"tool": "execute_code", "input": {"code": "print"}}]}, {"text": "As you like."})
        s = self.with_notebook()
        s.say("go")
        s.start()
        self.assertTrue(self.notebook.wait_note("begun"))
        self.assertEqual(s.command("interrupt")["errno"], 0)
        self.assertEqual(s.end(), "interrupted")
        self.check(s)
        self.assertIn("command interrupt", self.notebook.notes)
        self.assertEqual(s.read("calls/1/state"), "interrupted\n")
        self.assertIn("not run", s.read("calls/2/result"))
        s.run("Again.")
        self.done(s)
        self.assertEqual(self.api.refusals(), [])

    def test_while_it_waits_to_retry(self):
        self.api.steps({"status": 529, "retry_after": 600})
        s = self.session()
        s.say("go")
        s.start().wait_for("status", "retrying")
        self.assertIn("529 overloaded_error: overloaded error; trying again at 20", s.failure())
        s.command("interrupt")
        self.assertEqual(s.end(), "interrupted")
        self.assertEqual(s.failure(), "")

    def test_at_any_moment(self):
        """At random: it ends soon and in order, the conversation stays right, the next message has its turn."""
        chance = random.Random(os.environ.get("SEED"))
        s = self.with_notebook()
        for n in range(12):
            self.api.steps({**CALL, "delay": 0.01}, {"status": 529, "retry_after_ms": 200},
                           {"content": [{"tool": "execute_code", "input": {"code": "second value"}}] * 2, "delay": 0.01},
                           {"text": "It is a long answer.", "delay": 0.05, "chunk": 5})
            s.say(f"go {n}")
            s.start()
            time.sleep(chance.random() * 1.5)
            try:
                s.command("interrupt")
            except OSError:
                pass  # it has ended
            self.assertIn(s.end(), ("interrupted", "done"))
            self.check(s)
        self.api.steps({"text": "Yes."})
        s.run("Still there?")
        self.done(s)
        self.assertEqual((s.read("result"), self.api.refusals()), ("Yes.\n", []))
        self.assertEqual(len([e for e in s.events("user") if not e.get("note")]), 13)

    def test_message_in_the_queue_comes_next(self):
        self.api.steps({"text": "It is a long answer of many words.", "delay": 0.2, "chunk": 5}, {"text": "Two."})
        s = self.session()
        s.say("one")
        s.start().wait_for("messages", "It is")
        s.say("two")
        s.poke()
        s.command("interrupt")
        self.assertEqual(s.end(), "done")
        self.done(s)

    def test_stop_keeps_the_queue(self):
        self.api.steps({"text": "It is a long answer of many words.", "delay": 0.2, "chunk": 5}, {"text": "Two."})
        s = self.session()
        s.say("one")
        s.start().wait_for("messages", "It is")
        s.say("two")
        s.want("stopped")
        s.poke()
        self.assertEqual(s.end(), "interrupted")
        self.assertEqual(len(os.listdir(s.folder + "/inbox")), 1)
        s.want("run")
        s.run()
        self.done(s)
        self.assertEqual(s.read("result"), "Two.\n")

    def test_removal(self):
        self.api.steps({"text": "It is a long answer of many words.", "delay": 0.2, "chunk": 5})
        s = self.session()
        s.say("one")
        s.start().wait_for("messages", "It is")
        s.want("removed")
        s.poke()
        s.p.wait(WAIT)
        self.assertFalse(os.path.exists(s.folder))

    def test_removal_while_a_tool_runs(self):
        """What the agent had begun in a notebook does not go on without it."""
        self.api.steps({"tool": "execute_code", "input": {"code": "while_running slow"}})
        s = self.with_notebook()
        s.say("go")
        s.start()
        self.assertTrue(self.notebook.wait_note("begun"))
        s.want("removed")
        s.poke()
        s.p.wait(WAIT)
        self.assertFalse(os.path.exists(s.folder))
        self.assertIn("command interrupt", self.notebook.notes)


class References(Case):
    def test_waits_for_the_notebook(self):
        s = self.with_notebook()
        with open(f"{self.notebook.folder}/status", "w") as f:
            f.write("1 starting 0\n")
        self.api.steps(CALL, {"text": "Done."})
        s.say("go")
        s.start().wait_for("status", "waiting")
        with open(f"{self.notebook.folder}/status", "w") as f:
            f.write("1 idle 0\n")
        self.assertEqual(s.end(), "done")
        self.done(s)

    def test_interrupted_while_it_waits(self):
        s = self.with_notebook()
        with open(f"{self.notebook.folder}/status", "w") as f:
            f.write("1 starting 0\n")
        s.say("go")
        s.start().wait_for("status", "waiting")
        self.assertEqual(s.command("interrupt")["errno"], 0)
        self.assertEqual(s.end(), "interrupted")
        self.assertEqual(self.api.bodies(), [])

    def test_tool_server_dies(self):
        self.api.steps({"content": [{"tool": "execute_code", "input": {"code": "while_running slow"}},
                                    {"tool": "execute_code", "input": {"code": "print"}}]}, {"text": "Good."})
        s = self.with_notebook(tool_timeout=0)
        s.say("go")
        s.start()
        self.assertTrue(self.notebook.wait_note("begun"))
        with open(f"/proc/{s.p.pid}/task/{s.p.pid}/children") as f:
            for child in f.read().split():
                os.kill(int(child), signal.SIGKILL)
        s.end()
        self.done(s)
        self.assertEqual([e["is_error"] for e in s.events("result")], [True, False])

    def test_fails_with_the_notebook(self):
        s = self.with_notebook()
        with open(f"{self.notebook.folder}/status", "w") as f:
            f.write("1 failed 0\n")
        with open(f"{self.notebook.folder}/failure", "w") as f:
            f.write("no such package: nump\n")
        s.run("go")
        self.assertEqual((s.status(), s.failure()), ("failed", "notebook probe: no such package: nump"))

    def with_sandbox(self, **fields):
        s = self.session(sandbox="lab", **fields)
        serial = 200 + self.count
        self.sandbox = fake_runner.FakeSandbox(f"{self.state}/sandboxes/{serial}")
        self.addCleanup(self.sandbox.stop)
        s.references = {"sandbox": {"kind": "sandbox", "serial": serial, "name": "lab"}}
        s.configure()
        return s

    def test_commands_while_the_sandbox_hangs(self):
        """The end of a turn waits for the sandbox's root, but not an interrupt, nor the removal."""
        for what in "interrupt", "removed":
            s = self.with_sandbox()
            self.sandbox.slow_root = 50
            self.api.steps({"text": "Done."})
            s.say("go")
            s.start()
            self.assertTrue(self.sandbox.wait_note("root"))
            begun = time.monotonic()
            if what == "interrupt":
                self.assertEqual(s.command(what)["errno"], 0)
                self.assertEqual(s.end(), "done")
            else:
                s.want(what)
                s.poke()
                s.p.wait(WAIT)
                self.assertFalse(os.path.exists(s.folder))
            self.assertLess(time.monotonic() - begun, 40)

    def reads(self, *names):
        """An answer that reads pipes, one a call, which end when the test writes into them."""
        os.makedirs(self.sandbox.folder + "/workspace", exist_ok=True)
        for name in names:
            os.mkfifo(f"{self.sandbox.folder}/workspace/{name}")
        return [{"tool": "read_file", "input": {"path": name}} for name in names]

    def feed(self, name):
        with open(f"{self.sandbox.folder}/workspace/{name}", "w") as f:
            f.write(f"this is {name}\n")

    def begun(self, n):
        with self.sandbox.noted:
            self.assertTrue(self.sandbox.noted.wait_for(
                lambda: len([x for x in self.sandbox.notes if x.startswith("run ")]) >= n, WAIT), f"{n} calls did not begin")
            self.assertEqual(len([x for x in self.sandbox.notes if x.startswith("run ")]), n)

    def test_what_only_reads_runs_at_once(self):
        s = self.with_sandbox()
        self.api.steps({"content": [*self.reads("a", "b", "c"), {"tool": "run_command", "input": {"command": "cat d"}},
                                    *self.reads("d", "e")]}, {"text": "Good."})
        s.say("go")
        s.start()
        self.begun(3)
        for name in "c", "b":
            self.feed(name)
        self.assertEqual(s.events("result"), [])  # in the order of the calls
        self.feed("a")
        self.begun(4)  # what writes waits for what reads, and is waited for
        self.assertEqual([e["call"] for e in s.events("result")], [1, 2, 3])
        self.feed("d")
        self.begun(6)
        self.feed("e")
        self.feed("d")
        self.assertEqual(s.end(), "done")
        self.done(s)
        self.assertEqual([s.read(f"calls/{n}/result").strip() for n in range(1, 7)], [f"this is {n}" for n in "abcdde"])
        self.assertEqual(self.api.refusals(), [])

    def test_crash_while_several_run(self):
        s = self.with_sandbox()
        self.api.steps({"content": self.reads("a", "b", "c")}, {"text": "Good."})
        s.say("go")
        s.start()
        self.begun(3)
        self.feed("b")
        s.p.kill()
        s.p.wait()
        s.start().end()
        self.done(s)
        for n in 1, 2, 3:
            self.assertIn("interrupted: the session's process ended while this ran", s.read(f"calls/{n}/result"))
        self.assertEqual(self.api.refusals(), [])

    def test_interrupt_and_time_limit_while_several_run(self):
        s = self.with_sandbox()
        self.api.steps({"content": self.reads("a", "b")}, {"text": "Good."})
        s.say("go")
        s.start()
        self.begun(2)
        self.assertEqual(s.command("interrupt")["errno"], 0)
        self.assertEqual(s.end(), "interrupted")
        self.check(s)
        self.assertEqual([s.read(f"calls/{n}/state") for n in (1, 2)], ["interrupted\n"] * 2)
        s = self.with_sandbox(tool_timeout=5)
        self.api.steps({"content": self.reads("a", "b")}, {"text": "Good."})
        s.run("go")
        self.done(s)
        asked = [n.split()[0] for n in self.sandbox.notes if n.split()[0] in ("run", "close")]
        self.assertEqual(asked[:2], ["run", "run"])  # neither waited for the other's end
        for n in 1, 2:
            self.assertIn("timed out after 5 s", s.read(f"calls/{n}/result"))
        self.assertEqual(self.api.refusals(), [])

    def test_without_the_sandbox_it_began_with(self):
        s = self.with_sandbox()
        self.api.steps({"text": "One."}, {"tool": "list_files", "input": {}}, {"text": "Two."})
        s.run("go")
        s.references = {}
        s.configure(sandbox=None)
        s.run("again")
        self.done(s)
        self.assertIn("has no notebook and no sandbox any more", s.read("calls/1/result"))

    def test_sandbox(self):
        s = self.with_sandbox()
        self.api.steps({"tool": "run_command", "input": {"command": "echo $((6*7))"}}, {"text": "42"})
        s.run("go")
        self.done(s)
        self.assertIn("42", s.read("calls/1/result"))


class Replays(Case):
    def record(self, *turns):
        path = self.tmp + "/recording.jsonl"
        with open(path, "w") as f:
            for content in turns:
                f.write(json.dumps({"role": "assistant", "content": content}) + "\n")
        return path

    def test_tools_run_for_real(self):
        path = self.record([{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "toolu_1",
                            "name": "execute_code", "input": {"code": "value"}}], [{"type": "text", "text": "End."}])
        s = self.with_notebook(provider="replay", model=None, replay=path)
        s.run("go")
        self.done(s)
        self.assertIn("array([1])", s.read("calls/1/result"))
        self.assertEqual(s.read("result"), "End.\n")
        self.assertEqual(json.loads(s.read("usage"))["cost"], 0)
        # A session is a recording too, and what its tools return is new.
        again = self.with_notebook(provider="replay", model=None, replay="s1")
        again.run("go")
        self.done(again)
        self.assertEqual([e["content"] for e in again.events("assistant")], [e["content"] for e in s.events("assistant")])
        folder = self.with_notebook(provider="replay", model=None, replay=self.tmp)
        folder.run("go")
        self.done(folder)
        folder.run("and then?")
        self.assertEqual((folder.status(), folder.failure()), ("failed", "the recording has ended: it has 2 turns"))

    def test_bad_recordings(self):
        for replay, text in ((self.tmp + "/none.jsonl", "No such file"), ("nobody", "there is no session 'nobody'"),
                             (self.tmp + "/state", "holds no messages.jsonl"), (None, "needs the field replay")):
            s = self.session(provider="replay", model=None, replay=replay)
            s.run("go")
            self.assertEqual(s.status(), "failed")
            self.assertIn(text, s.failure())

    def test_recording_that_ships(self):
        path = os.path.join(HERE, "..", "..", "share", "demo", "recording.jsonl")
        s = self.with_notebook(provider="replay", model=None, replay=os.path.abspath(path))
        s.run("Find what the vectors do.")
        self.done(s)
        self.assertGreaterEqual(len(s.events("call")), 3)
        self.assertTrue(all(e["name"] in ("execute_code", "add_markdown") for e in s.events("call")))


POINTS = ("session-inbox", "session-request", "session-answer", "session-answered", "session-call", "session-tool", "session-result",
          "session-end", "runner-append", "runner-appended")


class Crashes(Case):
    def never_rewritten(self, first):
        """Each request begins with the very bytes of the one before, but for the last one's cache marker."""
        before = ""
        for e in self.api.events("request")[first:]:
            now = "".join(e["raw"].rpartition(',"cache_control":{"type":"ephemeral"}')[::2])
            self.assertTrue(now.startswith(before), f"{before[-900:]}\n--- was rewritten to ---\n{now[-900:]}")
            before = now.removesuffix("]}]}")
        self.assertEqual(self.api.refusals(), [])

    def crash(self, point):
        self.api.steps(CALL, {"text": "It is two."}, {"text": "It is two."}, {"text": "It is two."})
        first = len(self.api.events("request"))
        flag = f"{self.tmp}/flag-{point}"
        self.env["INTERPFS_FAILPOINT"] = f"{point}:{flag}"
        s = self.with_notebook()
        s.say("What is it?")
        s.start()
        code = s.p.wait(WAIT)
        self.assertEqual(code, -signal.SIGKILL, f"{point} was not reached")
        s.start().end()
        self.done(s)
        self.assertEqual(s.read("result"), "It is two.\n")
        self.never_rewritten(first)
        users = [e for e in s.events("user") if not e.get("note")]
        self.assertEqual(len(users), 1, "the message was lost or taken twice")
        runs = [n for n in self.notebook.notes if n.startswith("run ")]
        self.assertLessEqual(len(runs), 1 if point != "session-answer" else 1, "a tool ran twice")
        return s

    def test_failpoints(self):
        for point in POINTS:
            with self.subTest(point=point):
                s = self.crash(point)
                if point == "session-tool":
                    self.assertIn("interrupted: the session's process ended while this ran", s.read("messages"))
                if point == "session-request":
                    self.assertEqual(s.events("aborted")[0]["reason"], "its process ended")

    def test_answer_whose_end_was_lost(self):
        """The turn's last answer is on the disk, its end is not: it ends, nothing is asked again."""
        self.api.steps({"text": "It is two."}, {"text": "never"})
        self.env["INTERPFS_FAILPOINT"] = f"session-answered:{self.tmp}/flag"
        s = self.session()
        s.say("What is it?")
        s.start()
        self.assertEqual(s.p.wait(WAIT), -signal.SIGKILL)
        s.start().end()
        self.done(s)
        self.assertEqual(len(self.api.bodies()), 1)
        self.assertEqual(s.read("result"), "It is two.\n")
        s.run("Sure?")
        self.done(s)
        self.assertEqual(self.api.refusals(), [])

    def test_killed_at_random(self):
        chance = random.Random(os.environ.get("SEED"))
        self.api.steps(*[{**CALL, "delay": 0.03}] * 8, {"text": "It is two."})
        s = self.with_notebook()
        s.say("go")
        for _ in range(8):
            s.start()
            try:
                s.p.wait(chance.random() * 0.8)
                break
            except subprocess.TimeoutExpired:
                s.p.kill()
                s.p.wait()
        else:
            s.start().end()
        self.done(s)
        self.never_rewritten(0)
        runs = [n for n in self.notebook.notes if n.startswith("run ")]
        self.assertLessEqual(len(runs), len(s.events("call")), "a call was run twice")
        self.assertEqual(len([e for e in s.events("user") if not e.get("note")]), 1)

    def test_killed_while_it_streams(self):
        self.api.steps({"text": "It is a long answer of many words.", "delay": 0.1, "chunk": 5}, {"text": "It is two."})
        s = self.session()
        s.say("go")
        s.start().wait_for("messages", "It is a")
        s.p.kill()
        s.p.wait()
        s.start().end()
        self.done(s)
        self.assertIn("It is a", s.events("aborted")[0]["text"])
        self.assertIn("[interrupted]", s.read("messages"))
        self.assertEqual(self.api.refusals(), [])

    def test_after_a_reboot(self):
        self.api.steps({"text": "It is a long answer of many words.", "delay": 0.1, "chunk": 5}, {"text": "New."})
        s = self.session()
        s.say("old")
        s.start().wait_for("messages", "It is a")
        s.p.kill()
        s.p.wait()
        s.write("status", "1 interrupted 5\n")  # as the mount does
        s.run("new")
        self.done(s)
        self.assertEqual(s.read("result"), "New.\n")
        self.assertEqual(len(self.api.bodies()), 2)
        self.assertEqual([b["text"] for m in self.api.bodies()[1]["messages"] for b in m["content"]],
                         ["old", "[This was interrupted: the machine was restarted.]", "new"])

    def test_torn_line(self):
        s = self.session()
        s.run("go")
        with open(s.folder + "/messages.jsonl", "a") as f:
            f.write('{"seq":99,"prev":"')
        s.run("again")
        self.done(s)

    def test_altered_history(self):
        s = self.session()
        s.run("go")
        text = s.read("messages.jsonl").replace('"text":"go"', '"text":"no"')
        s.write("messages.jsonl", text)
        s.say("again")
        s.start()
        s.p.wait(WAIT)
        self.assertEqual(s.status(), "failed")
        self.assertIn("does not continue the chain", s.failure())
        self.assertEqual(s.read("messages.jsonl"), text)

    def test_terminated(self):
        self.api.steps({"text": "It is a long answer of many words.", "delay": 0.1, "chunk": 5}, {"text": "It is two."})
        s = self.session()
        s.say("go")
        s.start().wait_for("messages", "It is a")
        s.p.terminate()
        self.assertEqual(s.end(), "running")
        s.start().end()
        self.done(s)


if __name__ == "__main__":
    unittest.main(verbosity=1)
