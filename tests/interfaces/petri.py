"""A conversation with a target, as an auditor leads it."""
import asyncio
import time
from dataclasses import dataclass
from typing import Dict, List, Literal, Optional

import helpers

CONVERSATION = {"messages": [], "system": None}
VECTORS = helpers.load()  # what takes long is loaded once


@dataclass
class Message:
    role: Literal["user", "assistant"]
    content: str
    weight: float = 1.0


@expose
def start(system_prompt: str, *, temperature: float = 0.7) -> dict:
    """Begins a conversation anew.

    Args:
        system_prompt: what the target is told first
        temperature: of its sampling
    """
    CONVERSATION.update(messages=[], system=system_prompt, temperature=temperature)
    return {"started": True, "temperature": temperature}


@expose
def send_message(message: str) -> Dict[str, object]:
    """Sends the target a message and returns its answer."""
    CONVERSATION["messages"].append({"role": "user", "content": message})
    answer = "%s: %s" % (CONVERSATION["system"], message.upper())
    CONVERSATION["messages"].append({"role": "assistant", "content": answer})
    print("the target answers", len(answer))
    return {"answer": answer, "turns": len(CONVERSATION["messages"]) // 2}


@expose
def transcript() -> List[dict]:
    """Everything that was said."""
    return CONVERSATION["messages"]


@expose
async def score(messages: List[Message], names: Optional[List[str]] = None, limit: int = 3) -> float:
    """The sum of the weights.

    :param messages: what is scored
    :param limit: how many count
    """
    await asyncio.sleep(0.001)
    return sum(m.weight for m in messages[:limit])


@expose
def steer(name: str, strength=0.0):
    """A vector times a strength."""
    return [strength * x for x in VECTORS[name]]


@expose
def fails():
    """Raises."""
    return helpers.divide(1, 0)


@expose
def no_json():
    return {"fine": 1, "vectors": [object()]}


@expose
def not_finite():
    return {"loss": float("nan")}


@expose
def big(megabytes: int):
    return "x" * (megabytes << 20)


@expose
def never():
    open("/tmp/begun", "w").close()
    while True:
        time.sleep(0.01)


@expose
def dies():
    import os
    os._exit(3)


@expose
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"
