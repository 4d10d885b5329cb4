"""What the server does with a request that is in order: steps, one a request.

A step is an object. An answer:
    {"content": [{"thinking": T}, {"redacted": T}, {"text": T}, {"tool": NAME, "input": {...} | "raw": TEXT}],
     "stop": REASON (default: tool_use or end_turn), "details": {...}}
or short {"text": T}, {"thinking": T, "text": T}, {"tool": NAME, "input": {...}}, {"empty": true}.
An answer may also have
    "chunk": N     characters in a delta (default 20)        "delay": S     seconds before each event
    "stall": S     seconds of silence, "after": N events (default 2); then it goes on
    "error": TYPE  an error event, "after": N events         "message": its sentence
    "cut": N       the connection is dropped after N bytes of the answer
    "end": N       the answer ends cleanly after N events, without what would follow
    "model": NAME  the model says that it is another than was asked
    "gzip": true   compressed, though nobody asked for that
A refusal: {"status": 429, "type": ..., "message": ..., "retry_after": S, "retry_after_ms": MS, "should_retry": "false",
    "headers": {...}}; with "body": TEXT that is the body, whatever the status.   {"close": true} drops the connection without an answer.

Or a string, for models named test:STEP;STEP (the model chooses its own steps) and for shells:
    text=HELLO  think=WHY,text=SO  tool=NAME,input={"a":1}  status=529  status=429,retry_after=1  empty  close
    refusal  max_tokens  pause_turn  error=overloaded_error,after=3  cut=200  stall=5  end=4
A tool named `*` is the first of the request's. `input` absent: made from the tool's schema.
"""
import json
import re

ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
               404: "not_found_error", 409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error",
               500: "api_error", 502: "api_error", 503: "api_error", 504: "timeout_error", 529: "overloaded_error"}
KEYS = {"content", "text", "thinking", "redacted", "tool", "input", "raw", "stop", "details", "empty", "chunk", "delay", "stall",
        "after", "error", "message", "cut", "end", "status", "type", "retry_after", "retry_after_ms", "should_retry",
        "headers", "close", "body", "gzip", "model"}
NUMBERS = {"chunk", "delay", "stall", "after", "cut", "end", "status", "retry_after", "retry_after_ms"}
WORDS = {"refusal": {"text": "I", "stop": "refusal", "details": {"type": "refusal", "category": "cyber",
                                                                "explanation": "This was refused for a test."}},
         "max_tokens": {"text": "It was longer than", "stop": "max_tokens"},
         "pause_turn": {"text": "One moment.", "stop": "pause_turn"},
         "empty": {"empty": True}, "close": {"close": True}, "text": {"text": "Done."}, "tool": {"tool": "*"}}


def parse_word(text):
    step = {}
    for part in re.split(r",(?=[a-z_]+(?:=|$))", text):
        key, equals, value = part.partition("=")
        if not equals:
            if key not in WORDS:
                raise ValueError(f"unknown step: {key}")
            step.update(WORDS[key])
            continue
        key = {"think": "thinking"}.get(key, key)
        if key not in KEYS:
            raise ValueError(f"unknown key in a step: {key}")
        step[key] = float(value) if key in NUMBERS else json.loads(value) if key == "input" else value
    return step


def parse(step):
    """A step as an object with content, or with status or close. ValueError when it is none."""
    if isinstance(step, str):
        step = parse_word(step)
    if not isinstance(step, dict) or set(step) - KEYS:
        raise ValueError(f"not a step: {json.dumps(step)}")
    step = dict(step)
    if "status" in step or "close" in step or "content" in step:
        return step
    content = []
    if "thinking" in step:
        content.append({"thinking": step.pop("thinking")})
    if "text" in step:
        content.append({"text": step.pop("text")})
    if "tool" in step:
        content.append({k: step.pop(k) for k in ("tool", "input", "raw") if k in step})
    if not content and not step.get("empty"):
        content.append({"text": "This answer does not arrive as it should."})
    step["content"] = content
    return step


def example(schema, name=""):
    """Something that fits a schema."""
    known = {"code": "print(6 * 7)", "command": "echo 42", "content": "# Note", "path": "note.txt"}
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    if kind == "object":
        return {k: example(schema.get("properties", {}).get(k, {}), k) for k in schema.get("required", [])}
    return {"string": known.get(name, "text"), "integer": max(1, schema.get("minimum", 1)),
            "number": max(1, schema.get("minimum", 1)), "boolean": True, "array": []}.get(kind)


def by_itself(body):
    """Without steps: a request with tools gets one call, then, behind its result, an answer."""
    content = body["messages"][-1]["content"]
    answered = isinstance(content, list) and any(b["type"] == "tool_result" for b in content)
    if not body.get("tools") or answered:
        return parse({"thinking": "The result is there.", "text": "Done."})
    return parse({"thinking": "I should look.", "text": "I will look.", "tool": "*"})
