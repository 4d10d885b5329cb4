"""The memory that makes the server strict: what it was asked and what it answered. A request that
carries an assistant's message must carry it as it was given, behind exactly what was asked for it;
the vendor's API finds the same out by its signatures of thinking blocks."""
import hashlib
import hmac
import json
import os
import threading

from rules import blocks, invalid

SECRET = os.urandom(16)


def plain(value):
    """Without cache_control, which moves from request to request."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "cache_control"}
    return [plain(v) for v in value] if isinstance(value, list) else value


def fingerprint(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def frozen(body):
    """What may not change under a conversation. A client's billing line is no part of it."""
    system = [b for b in blocks(body.get("system", [])) if not b["text"].startswith("x-anthropic-billing-header")]
    return [plain(system), plain(body.get("tools", []))]


def normal(message):
    return {"role": message["role"], "content": plain(blocks(message["content"]))}


def prefix(body, n):
    """Names the conversation up to its n-th message."""
    return fingerprint([frozen(body), [normal(m) for m in body["messages"][:n]]])


def sign(thinking, place):
    """place: the prefix that the thinking answered."""
    return hmac.new(SECRET, json.dumps([thinking, place]).encode(), hashlib.sha256).hexdigest() * 2


def same_block(given, sent, whole):
    if given == {k: v for k, v in sent.items() if not k.startswith("_")}:
        return True
    if sent["type"] == "tool_use" and sent.get("_broken"):  # its arguments could not be read
        return {**given, "input": None} == {"type": "tool_use", "id": sent["id"], "name": sent["name"], "input": None}
    return not whole and given["type"] == sent["type"] == "text" and sent["text"].startswith(given["text"])


class Memory:
    def __init__(self):
        self.lock = threading.Lock()
        self.asked = {}   # prefix -> list of [content, whole]
        self.paused = set()  # assistants' messages that ended with pause_turn
        self.places = {}  # (number of messages, messages alone) -> prefix

    def has_paused(self, message):
        with self.lock:
            return fingerprint(normal(message)) in self.paused

    def remember(self, body, content, whole, stop=None):
        if stop == "pause_turn":
            with self.lock:
                self.paused.add(fingerprint({"role": "assistant", "content": content}))
        place = prefix(body, len(body["messages"]))
        with self.lock:
            self.asked.setdefault(place, []).append([content, whole])
            self.places[fingerprint([normal(m) for m in body["messages"]])] = place

    def check(self, body):
        messages = body["messages"]
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            with self.lock:
                answers = list(self.asked.get(prefix(body, i), ()))
                known = fingerprint([normal(m) for m in messages[:i]]) in self.places
            if not answers:
                if known:
                    raise invalid(f"messages.{i}: the system prompt or the tools have changed since this message was "
                                  "given; thinking blocks are bound to them")
                raise invalid(f"messages.{i}: the messages before this one are not those that it answered; the history "
                              "of a conversation cannot be rewritten")
            self.check_answer(normal(message)["content"], answers, i)

    @staticmethod
    def check_answer(given, answers, i):
        for sent, whole in answers:
            if len(given) > len(sent) or (whole and len(given) != len(sent)):
                continue
            if all(same_block(g, s, whole) for g, s in zip(given, sent)):
                return
        thoughts = [[b for b in sent if b["type"] in ("thinking", "redacted_thinking")] for sent, _ in answers]
        mine = [b for b in given if b["type"] in ("thinking", "redacted_thinking")]
        signatures = {b.get("signature", b.get("data")) for t in thoughts for b in t}
        for j, block in enumerate(given):
            if block["type"] == "thinking" and block["signature"] not in signatures:
                raise invalid(f"messages.{i}.content.{j}: Invalid `signature` in `thinking` block")
        if mine not in thoughts:
            raise invalid(f"messages.{i}.content: `thinking` or `redacted_thinking` blocks in the assistant message "
                          "cannot be modified. These blocks must remain as they were in the original response.")
        raise invalid(f"messages.{i}: this is not the message that was given here; the history of a conversation cannot "
                      "be rewritten")
