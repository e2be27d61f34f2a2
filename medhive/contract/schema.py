"""The JSON Schema of the study file, for editors. `medhive study check` remains the judge."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_args

from medhive.study import TUNING, Run, Strategy, Study

# editors for TOML know this draft best
DRAFT = "http://json-schema.org/draft-07/schema#"
IDENTITY = "urn:medhive:study"

_SILENT = frozenset({"$defs", "prefixItems", "title"})
_SCALAR = (bool, int, float, str)


def study_schema() -> dict[str, Any]:
    """Return the schema: every key with its description, values and bounds.

    What depends on two keys is there too: a strategy's own keys, and what belongs to which kind
    of feature. Uniqueness of names and of codes is not.
    """
    raw = Study.model_json_schema(by_alias=True)
    schema = _plain(raw, raw["$defs"])
    run, feature = schema["properties"]["run"], schema["properties"]["features"]["items"]
    run["allOf"] = _rules_of_run()
    feature["allOf"] = _rules_of_features()
    return {
        "$schema": DRAFT,
        "$id": IDENTITY,
        "title": "MedHive study file",
        "description": "The contract of a federated study: what is asked of every site.",
        **{key: value for key, value in schema.items() if key != "description"},
    }


def _plain(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Put definitions in their places, and leave out what says nothing: titles and null."""
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        named = definitions[node["$ref"].rsplit("/", 1)[1]]
        node = {**named, **{key: value for key, value in node.items() if key != "$ref"}}
    branches = [item for item in node.get("anyOf", ()) if item != {"type": "null"}]
    if len(branches) == 1:
        node = {**{key: value for key, value in node.items() if key != "anyOf"}, **branches[0]}
    if "prefixItems" in node:
        # a pair of equals, as older drafts say it
        node = {**node, "items": node["prefixItems"][0]}
    plain: dict[str, Any] = {}
    for key, value in node.items():
        if key in _SILENT or (key == "default" and not isinstance(value, _SCALAR)):
            continue
        if key == "properties":
            plain[key] = {name: _plain(item, definitions) for name, item in value.items()}
        elif key == "description":
            plain[key] = _first_paragraph(value)
        else:
            plain[key] = _plain(value, definitions)
    return plain


def _first_paragraph(text: str) -> str:
    """Return the first paragraph of a docstring, or a description as it is."""
    return inspect.cleandoc(text).split("\n\n")[0].replace("``", "")


def _rules_of_run() -> list[dict[str, Any]]:
    """Say which keys belong to which strategy, and l1-ratio to the elastic net."""
    rules = []
    for key in sorted({key for keys in TUNING.values() for key in keys}):
        users = [name for name in get_args(Strategy) if key in TUNING[name]]
        rules.append(_needs(str(Run.model_fields[key].alias), "strategy", users))
    rules.append(_needs("l1-ratio", "penalty", ["elasticnet"]))
    return rules


def _needs(key: str, other: str, values: list[str]) -> dict[str, Any]:
    return {
        "if": {"required": [key]},
        "then": {"required": [other], "properties": {other: {"enum": values}}},
    }


def _rules_of_features() -> list[dict[str, Any]]:
    """Say which keys belong to which kind."""
    levels = {"anyOf": [{"type": "object", "minProperties": 2}, {"type": "array", "minItems": 2}]}
    idle = {"continuous": ("levels", "reference"), "other": ("range", "unit")}
    return [
        {
            "if": {"properties": {"kind": {"const": "continuous"}}, "required": ["kind"]},
            "then": _without(idle["continuous"]),
            "else": _without(idle["other"]),
        },
        {
            "if": {"properties": {"kind": {"const": "categorical"}}, "required": ["kind"]},
            "then": {"required": ["levels"], "properties": {"levels": levels}},
        },
    ]


def _without(keys: tuple[str, ...]) -> dict[str, Any]:
    return {"not": {"anyOf": [{"required": [key]} for key in keys]}}
