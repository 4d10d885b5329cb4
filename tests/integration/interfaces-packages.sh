#!/bin/bash
# An interface uses the sandbox's own packages: pydantic's models as arguments and results.
# runs: root
. "$(dirname "$0")/../functions.sh"
mount_it
warm_up
lab=$M/sandboxes/lab
mkdir "$lab" && printf 'network: none\npython_packages: [pydantic]\n' >"$lab/config" && mkdir "$lab/interfaces/judge" || fail mkdir
judge=$lab/interfaces/judge
cat >"$judge/interface.py" <<'END'
from pydantic import BaseModel, Field

class Score(BaseModel):
    name: str
    value: int = Field(description="from 1 to 10", ge=1, le=10)

class Sheet(BaseModel):
    scores: list[Score]

@expose
def best(sheet: Sheet, least: int | None = None) -> Score:
    """The highest."""
    assert isinstance(sheet, Sheet)
    return max((s for s in sheet.scores if s.value >= (least or 0)), key=lambda s: s.value)
END
echo wait >"$judge/ctl" || fail "wait: $(cat "$judge/error" "$lab/error")"
same "a model" '{"name": "b", "value": 7}' "$(ask "$judge/functions/best" '{"sheet": {"scores": [{"name": "a", "value": 3}, {"name": "b", "value": 7}]}, "least": 1}')"
ask "$judge/functions/best" '{"sheet": {"scores": [{"name": "a", "value": 30}]}}' |
	jq -e '.error.type == "TypeError" and (.error.message | startswith("sheet: 1 validation error"))' >/dev/null || fail "a wrong model"
jq -e '.best["$defs"].Score.properties.value.description == "from 1 to 10" and .best.properties.least.anyOf == [{"type": "integer"}, {"type": "null"}]' \
	"$judge/schema.json" >/dev/null || fail "schema.json: $(cat "$judge/schema.json")"
