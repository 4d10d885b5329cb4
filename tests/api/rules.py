"""What the Messages API refuses, as its documentation and its answers say. check() raises Refusal
for the first thing that is wrong with a request; history is conversations.py's concern."""
import base64
import binascii
import re
import struct

VERSIONS = ("2023-06-01", "2026-10-21")
FIELDS = {"model", "max_tokens", "messages", "system", "tools", "tool_choice", "stream", "stop_sequences", "thinking",
          "output_config", "cache_control", "metadata", "service_tier", "speed", "context_management", "container",
          "mcp_servers", "inference_geo", "temperature", "top_p", "top_k", "fallbacks", "diagnostics"}
TOOL_FIELDS = {"name", "description", "input_schema", "cache_control", "strict", "eager_input_streaming",
               "defer_loading", "type", "input_examples", "allowed_callers"}
USER_BLOCKS = {"text", "image", "document", "tool_result", "search_result"}
ASSISTANT_BLOCKS = {"text", "thinking", "redacted_thinking", "tool_use"}
RESULT_BLOCKS = {"text", "image", "document", "search_result"}
BLOCK_FIELDS = {
    "text": {"text", "cache_control", "citations"},
    "image": {"source", "cache_control"},
    "document": {"source", "title", "context", "citations", "cache_control"},
    "search_result": {"source", "title", "content", "citations", "cache_control"},
    "tool_result": {"tool_use_id", "content", "is_error", "cache_control"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "tool_use": {"id", "name", "input", "cache_control", "caller"},
}
PICTURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF"}
BODY_MAX = 32 << 20
IMAGE_MAX = 5 << 20
CACHE_MAX = 4


class Refusal(Exception):
    """An error answer: HTTP status, the error's type, the sentence."""

    def __init__(self, status, kind, message):
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


def invalid(message):
    return Refusal(400, "invalid_request_error", message)


class Model:
    """What a model does not take. A name that begins with "test" is like the newest."""

    def __init__(self, name):
        m = re.fullmatch(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d+)(?:-(\d))?(?:-\d{8}|-latest)?", name)
        if name.startswith("test"):
            family, version = "opus", (5, 5)
        elif m:
            family, version = m[1], (int(m[2]), int(m[3] or 0))
        else:
            raise Refusal(404, "not_found_error", f"model: {name}")
        newest = version >= (5, 1)
        self.no_sampling = version >= (5, 0) or (family == "opus" and version >= (4, 7))
        self.no_budget = self.no_prefill = self.no_sampling
        self.must_think = newest and family != "haiku" or family == "fable"
        self.no_forced_tool = newest and family != "haiku"
        self.max_tokens = 64000 if family == "haiku" and version < (5, 5) else 128000


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def check_cache_control(value, where):
    if value is None:
        return 0
    if not isinstance(value, dict) or value.get("type") != "ephemeral" or set(value) - {"type", "ttl", "scope"}:
        raise invalid(f"{where}.cache_control: Input should be {{'type': 'ephemeral'}}")
    if value.get("ttl", "5m") not in ("5m", "1h"):
        raise invalid(f"{where}.cache_control.ttl: Input should be '5m' or '1h'")
    return 1


def check_text(block, where):
    if not isinstance(block.get("text"), str):
        raise invalid(f"{where}.text: Field required")
    if not block["text"]:
        raise invalid("messages: text content blocks must be non-empty")
    if not block["text"].strip():
        raise invalid("messages: text content blocks must contain non-whitespace text")


def check_image(block, where):
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") not in ("base64", "url", "file"):
        raise invalid(f"{where}.source: Input should be a base64, url or file source")
    if source["type"] != "base64":
        return
    if source.get("media_type") not in PICTURES:
        raise invalid(f"{where}.source.base64.media_type: Input should be " + ", ".join(map(repr, PICTURES)))
    data = source.get("data")
    if not isinstance(data, str) or not data:
        raise invalid(f"{where}.source.base64.data: Field required")
    if len(data) > IMAGE_MAX:
        raise invalid(f"{where}.source.base64: image exceeds 5 MB maximum: {len(data)} bytes > {IMAGE_MAX} bytes")
    try:
        picture = base64.b64decode(data, validate=True)
    except binascii.Error as e:
        raise invalid(f"{where}.source.base64.data: Invalid base64 data") from e
    if not picture.startswith(PICTURES[source["media_type"]]):
        raise invalid(f"{where}.source.base64: The image was specified using the {source['media_type']} media type, but "
                      "the image appears to be another")
    if source["media_type"] == "image/png" and (len(picture) < 33 or picture[-8:-4] != b"IEND"):
        raise invalid(f"{where}: Could not process image")


def check_pictures(body):
    """More than 20 in a request may have no more than 2000 pixels on a side."""
    def find(value):
        if isinstance(value, list):
            return [i for v in value for i in find(v)]
        if not isinstance(value, dict):
            return []
        return [value["source"]] if value.get("type") == "image" else find(value.get("content"))

    sources = [s for m in body["messages"] for s in find(m["content"])]
    sizes = [struct.unpack(">II", base64.b64decode(s["data"])[16:24]) for s in sources if s.get("media_type") == "image/png"]
    if len(sources) > 100:
        raise invalid("messages: Too much media: 0 document pages + 101 images > 100")
    for size in sizes:
        if max(size) > (2000 if len(sources) > 20 else 8000):
            raise invalid("messages: At least one of the image dimensions exceed max allowed size for many-image requests: "
                          "2000 pixels")


def check_result(block, where):
    content = block.get("content", [])
    if not isinstance(block.get("tool_use_id"), str) or not re.fullmatch(r"[a-zA-Z0-9_-]+", block["tool_use_id"]):
        raise invalid(f"{where}.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(block.get("is_error", False), bool):
        raise invalid(f"{where}.is_error: Input should be a valid boolean")
    if isinstance(content, str):
        return 0
    if not isinstance(content, list):
        raise invalid(f"{where}.content: Input should be a string or a list of blocks")
    return sum(check_block(b, RESULT_BLOCKS, f"{where}.content.{i}") for i, b in enumerate(content))


def check_block(block, allowed, where):
    """Returns the number of cache breakpoints in it."""
    if not isinstance(block, dict):
        raise invalid(f"{where}: Input should be a valid dictionary")
    kind = block.get("type")
    if kind not in allowed:
        raise invalid(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: "
                      + ", ".join(map(repr, sorted(allowed))))
    for field in block:
        if field != "type" and field not in BLOCK_FIELDS[kind]:
            raise invalid(f"{where}.{kind}.{field}: Extra inputs are not permitted")
    markers = check_cache_control(block.get("cache_control"), f"{where}.{kind}")
    if kind == "text":
        check_text(block, where)
    elif kind == "image":
        check_image(block, where)
    elif kind == "tool_result":
        markers += check_result(block, where)
    elif kind == "tool_use":
        if not isinstance(block.get("id"), str) or not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
            raise invalid(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if not isinstance(block.get("name"), str) or not 1 <= len(block["name"]) <= 200:
            raise invalid(f"{where}.tool_use.name: String should have between 1 and 200 characters")
        if not isinstance(block.get("input"), dict):
            raise invalid(f"{where}.tool_use.input: Input should be a valid dictionary")
    elif kind == "thinking":
        for field in ("thinking", "signature"):
            if not isinstance(block.get(field), str):
                raise invalid(f"{where}.thinking.{field}: Field required")
    return markers


def blocks(content):
    """A string is short for one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_message(message, i):
    where = f"messages.{i}"
    if not isinstance(message, dict):
        raise invalid(f"{where}: Input should be a valid dictionary")
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{where}.role: Input should be 'user' or 'assistant'")
    # A system message may carry settings for the turns behind it, and then no text.
    extra = set(message) - {"role", "content"} - ({"output_config"} if role == "system" else set())
    if extra:
        raise invalid(f"{where}.{sorted(extra)[0]}: Extra inputs are not permitted")
    if not isinstance(content, (str, list)):
        raise invalid(f"{where}.content: Field required")
    if not content and role != "system":
        raise invalid(f"{where}: all messages must have non-empty content except for the optional final assistant message")
    allowed = {"user": USER_BLOCKS, "assistant": ASSISTANT_BLOCKS, "system": {"text"}}[role]
    return sum(check_block(b, allowed, f"{where}.content.{j}") for j, b in enumerate(blocks(content)))


def check_turns(messages, paused):
    """Tool results answer, all of them and at once, the tool uses of the message before."""
    seen = set()
    if messages[0]["role"] != "user":
        raise invalid("messages: first message must use the \"user\" role")
    for i, message in enumerate(messages):
        content = blocks(message["content"])
        before = messages[i - 1] if i else None
        if message["role"] == "system" and before["role"] == "assistant":
            raise invalid(f"messages.{i}: a \"system\" message must follow a \"user\" message")
        if message["role"] == "assistant":
            if before["role"] == "assistant" and not paused(before):
                raise invalid(f"messages.{i}: roles must alternate; two \"assistant\" messages follow each other")
            for block in content:
                if block["type"] == "tool_use":
                    if block["id"] in seen:
                        raise invalid(f"messages.{i}: `tool_use` ids must be unique: {block['id']}")
                    seen.add(block["id"])
            continue
        asked = [b["id"] for b in blocks(before["content"]) if b["type"] == "tool_use"] \
            if before and before["role"] == "assistant" else []
        answered = [b["tool_use_id"] for b in content if b["type"] == "tool_result"]
        for j, block in enumerate(content):
            if block["type"] != "tool_result":
                continue
            if block["tool_use_id"] not in asked:
                raise invalid(f"messages.{i}.content.{j}: unexpected `tool_use_id` found in `tool_result` blocks: "
                              f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` "
                              "block in the previous message.")
            if j and content[j - 1]["type"] != "tool_result":
                raise invalid(f"messages.{i}.content.{j}: `tool_result` blocks must come first in a message")
        if len(set(answered)) != len(answered):
            raise invalid(f"messages.{i}: each tool_use must have a single result. Found multiple `tool_result` blocks")
        missing = [a for a in asked if a not in answered]
        if missing:
            raise invalid(f"messages.{i - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                          f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in "
                          "the next message.")
    last = messages[-1]
    if last["role"] == "assistant" and any(b["type"] == "tool_use" for b in blocks(last["content"])):
        raise invalid(f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks")


def check_tools(tools):
    if not isinstance(tools, list):
        raise invalid("tools: Input should be a valid list")
    markers, names = 0, set()
    for i, tool in enumerate(tools):
        where = f"tools.{i}"
        if not isinstance(tool, dict):
            raise invalid(f"{where}: Input should be a valid dictionary")
        if tool.get("type", "custom") != "custom":
            raise invalid(f"{where}: this server knows no tool of type '{tool['type']}'")
        for field in tool:
            if field not in TOOL_FIELDS:
                raise invalid(f"{where}.custom.{field}: Extra inputs are not permitted")
        if not isinstance(tool.get("name"), str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]):
            raise invalid(f"{where}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool["name"] in names:
            raise invalid("tools: Tool names must be unique.")
        names.add(tool["name"])
        if not isinstance(tool.get("description", ""), str):
            raise invalid(f"{where}.custom.description: Input should be a valid string")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            raise invalid(f"{where}.custom.input_schema: Field required")
        if schema.get("type") != "object":
            raise invalid(f"{where}.custom.input_schema.type: Field required")
        markers += check_cache_control(tool.get("cache_control"), where)
    return markers


def check_system(system):
    if isinstance(system, str):
        return 0
    if not isinstance(system, list):
        raise invalid("system: Input should be a valid string or list")
    markers = 0
    for i, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            raise invalid(f"system.{i}: Input should be a text block")
        if not block["text"]:
            raise invalid("system: text content blocks must be non-empty")
        markers += check_cache_control(block.get("cache_control"), f"system.{i}")
    return markers


def check_thinking(body, model):
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("adaptive", "enabled", "disabled", "between_tools"):
        raise invalid("thinking.type: Input should be 'adaptive', 'enabled', 'disabled' or 'between_tools'")
    extra = set(thinking) - {"type", "display", "budget_tokens", "block_binding"}
    if extra:
        raise invalid(f"thinking.{kind}.{sorted(extra)[0]}: Extra inputs are not permitted")
    if thinking.get("display", "omitted") not in ("summarized", "omitted", "updates"):
        raise invalid("thinking.display: Input should be 'summarized', 'omitted' or 'updates'")
    if kind == "disabled" and model.must_think:
        raise invalid("thinking: this model does not support {\"type\": \"disabled\"}")
    if kind == "enabled" or "budget_tokens" in thinking:
        budget = thinking.get("budget_tokens")
        if model.no_budget:
            raise invalid("thinking.budget_tokens: this model takes {\"type\": \"adaptive\"} without a budget")
        if not is_int(budget) or budget < 1024:
            raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= body["max_tokens"]:
            raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`")


def check_tool_choice(body, model):
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise invalid("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
    if not body.get("tools"):
        raise invalid("tool_choice: may only be specified while providing tools")
    if kind in ("any", "tool"):
        thinks = body.get("thinking", {}).get("type") in ("adaptive", "enabled")
        if thinks or model.no_forced_tool:
            raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool" and choice.get("name") not in [t["name"] for t in body["tools"]]:
        raise invalid(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def check_headers(headers, key):
    """headers: a mapping of lower-case names."""
    given = headers.get("x-api-key")
    if given is None and headers.get("authorization", "").startswith("Bearer "):
        given = headers["authorization"][len("Bearer "):]
    if not given:
        raise Refusal(401, "authentication_error", "x-api-key header is required")
    if key is not None and given != key:
        raise Refusal(401, "authentication_error", "invalid x-api-key")
    if "anthropic-version" not in headers:
        raise invalid("anthropic-version: header is required")
    if headers["anthropic-version"] not in VERSIONS:
        raise invalid(f"anthropic-version: \"{headers['anthropic-version']}\" is not a valid version")
    if not headers.get("content-type", "").startswith("application/json"):
        raise invalid("content-type: application/json is required")


def check(body, version, counting=False, paused=lambda message: False):
    """A body of POST /v1/messages, or of count_tokens. paused: whether an assistant's message ended with pause_turn;
    such a one is sent back as the last, and the answer goes on from there."""
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary")
    for field in body:
        if field not in FIELDS:
            raise invalid(f"{field}: Extra inputs are not permitted")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise invalid("model: Field required")
    model = Model(body["model"])
    if not counting:
        if "max_tokens" not in body:
            raise invalid("max_tokens: Field required")
        if not is_int(body["max_tokens"]) or body["max_tokens"] < 1:
            raise invalid("max_tokens: Input should be greater than or equal to 1")
        if body["max_tokens"] > model.max_tokens:
            raise invalid(f"max_tokens: {body['max_tokens']} > {model.max_tokens}, which is the maximum allowed number "
                          f"of output tokens for {body['model']}")
    for field in ("temperature", "top_p", "top_k"):
        if field in body and (version >= "2026-10-21" or model.no_sampling):
            raise invalid(f"{field}: is not supported by this model or version")
    if not isinstance(body.get("stream", False), bool):
        raise invalid("stream: Input should be a valid boolean")
    for i, sequence in enumerate(body.get("stop_sequences", [])):
        if not isinstance(sequence, str) or not sequence.strip():
            raise invalid(f"stop_sequences.{i}: each stop sequence must contain non-whitespace")
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict) or set(metadata) - {"user_id"}:
        raise invalid("metadata: Extra inputs are not permitted")
    markers = check_cache_control(body.get("cache_control"), "cache_control")
    if "system" in body:
        markers += check_system(body["system"])
    if "tools" in body:
        markers += check_tools(body["tools"])
    if not isinstance(body.get("messages"), list):
        raise invalid("messages: Field required")
    if not body["messages"]:
        raise invalid("messages: at least one message is required")
    for i, message in enumerate(body["messages"]):
        markers += check_message(message, i)
    check_pictures(body)
    if markers > CACHE_MAX:
        raise invalid(f"A maximum of {CACHE_MAX} blocks with cache_control may be provided. Found {markers}.")
    if not counting:
        check_thinking(body, model)
    check_tool_choice(body, model)
    check_turns(body["messages"], paused)
    if body["messages"][-1]["role"] == "assistant" and model.no_prefill and not paused(body["messages"][-1]):
        raise invalid("This model does not support assistant message prefill. The conversation must end with a user message.")
