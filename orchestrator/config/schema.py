"""The JSON Schemas of inventory and suite: what an editor completes and checks while one writes.

They are made of the models that read the files, so that they cannot tell of keys that there are
not. What two keys say together is here as far as a schema can say it; the reader refuses more, and
``tests/unit/config/test_schema.py`` lists what.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from orchestrator.config.accuracy import POSTPROCESS
from orchestrator.config.device import NOT_OVER_SSH, SSH_KEYS, Device
from orchestrator.config.inventory import InventoryFile
from orchestrator.config.suite import Suite
from orchestrator.config.suite_files import NOT_WRITTEN, shipped_folder
from orchestrator.config.user_models import ModelOfFiles, ModelOfOneFile
from orchestrator.factors import VARIED, Levels
from orchestrator.frameworks import registry
from orchestrator.frameworks.parts import known_models
from orchestrator.isa.levels import LEVELS, NATIVE
from orchestrator.runtimes import ANY

#: JSON, as a value.
Schema = dict[str, Any]

#: The one that editors' YAML servers understand.
_DRAFT = "http://json-schema.org/draft-07/schema#"


def inventory_schema() -> Schema:
    """Return the schema of ``inventory.yaml``."""
    found = _made_of(InventoryFile)
    device = _made_of(Device)
    definitions = device.pop("$defs", {})
    _written_binary(device, definitions)
    _written_lists(device)
    # what stands under `defaults` is looked at as a device over SSH
    of_one = {"name", "exec", "serial"}
    defaults = {
        **device,
        "description": "What every device has unless it says otherwise.",
        "properties": {k: v for k, v in device["properties"].items() if k not in of_one},
    }
    del defaults["required"]
    device["required"] = ["name"]
    device["allOf"] = [*_of_transports()]
    found["properties"]["defaults"] = {"anyOf": [{"$ref": "#/$defs/Defaults"}, {"type": "null"}]}
    found["properties"]["devices"]["items"] = {"$ref": "#/$defs/Device"}
    found["$defs"] = {"Device": device, "Defaults": defaults, **definitions}
    # a transport is the device's own, or inherited
    inherits = {
        "required": ["defaults"],
        "properties": {"defaults": {"type": "object", "required": ["transport"]}},
    }
    own = {"properties": {"devices": {"items": {"required": ["transport"]}}}}
    return _finished(found | {"if": inherits, "else": own}, "Which machines to measure on")


def suite_schema() -> Schema:
    """Return the schema of a suite."""
    found = _made_of(Suite)
    keys = {k: v for k, v in found["properties"].items() if k not in NOT_WRITTEN}
    definitions = found["$defs"]
    models = {
        each.__name__: _made_of(each) | {"description": f"{each.__doc__}"}
        for each in (ModelOfOneFile, ModelOfFiles)
    }
    for each in models.values():
        each["properties"]["input"] = _INPUT
        each.pop("$defs", None)
    names = [name for each in registry.FRAMEWORKS for name in known_models(each.name)]
    keys["models"] |= _list_of(
        {"anyOf": [_one_of(names), *({"$ref": f"#/$defs/{name}"} for name in models)]}
    )
    schemes = [name for each in registry.FRAMEWORKS for name in each.scheme_names]
    keys["schemes"] |= _list_of(_one_of(schemes))
    runner = _one_of((registry.AUTO, *registry.runner_names()))
    keys["runner"] |= {"anyOf": [runner, _list_of(runner)]}
    for key in ("type", "items", "maxItems"):
        keys["runner"].pop(key, None)
    keys["runtime"] |= {"anyOf": [_runtime(), {"type": "null"}]}
    _written_factors(definitions["Factors"])
    _written_accuracy(definitions)
    found |= {
        "properties": keys,
        "required": ["models"],
        "$defs": definitions | models,
        "allOf": [
            {  # a model of the catalogue has the schemes that the suite names
                "if": {"properties": {"models": {"contains": {"type": "string"}}}},
                "then": {"required": ["schemes"]},
            },
            {
                "if": {"required": ["compare"], "properties": {"compare": {"type": "string"}}},
                "then": {
                    "required": ["runner"],
                    "properties": {"runner": {"type": "array", "minItems": 2}},
                },
            },
        ],
    }
    return _finished(found, "What to measure, under which factors, by which protocol")


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "inventory": inventory_schema,
    "suite": suite_schema,
}


def schema_text(kind: str) -> str:
    """Return the schema of ``kind``, one of :data:`SCHEMAS`, as its file has it."""
    return json.dumps(SCHEMAS[kind](), indent=1, ensure_ascii=False) + "\n"


def shipped_schema(kind: str) -> Path:
    """Return the file that comes with the product."""
    return shipped_folder("schemas") / f"{kind}.json"


# -- what the models alone do not tell ------------------------------------------------------------


def _of_transports() -> Iterable[Schema]:
    """What a key means to the transport that the device itself names."""
    other = {"properties": {key: {"type": "null"} for key in sorted(SSH_KEYS)}}
    yield _if_transport({"enum": list(NOT_OVER_SSH)}, other)
    for transport, key in (("exec", "exec"), ("adb", "serial")):
        yield _if_transport({"const": transport}, {"required": [key]})
        yield _if_transport({"not": {"const": transport}}, {"properties": {key: {"type": "null"}}})
    yield _if_transport({"const": "adb"}, {"properties": {"tune": {"const": False}}})


def _if_transport(is_so: Schema, then: Schema) -> Schema:
    return {"if": {"required": ["transport"], "properties": {"transport": is_so}}, "then": then}


def _written_binary(device: Schema, definitions: Schema) -> None:
    """A path, an address or ``official`` stand for the mapping that they mean."""
    definitions["BinarySource"] |= {
        "minProperties": 1,
        "not": {"required": ["path", "url"]},
        "if": {"required": ["sha256"]},
        "then": {"anyOf": [{"required": ["path"]}, {"required": ["url"]}]},
    }
    key = device["properties"][registry.tool().name]
    text = {"type": "string", "pattern": r"^(?!ftp:).*\S"}
    key["anyOf"] = [text, *key["anyOf"]]


def _written_lists(device: Schema) -> None:
    """CPUs once each, and facts by their names."""
    device["properties"]["cpus"]["anyOf"][0] |= {"minItems": 1, "uniqueItems": True}
    device["properties"]["expect"] |= {
        "propertyNames": {"pattern": r"^[A-Za-z_][A-Za-z0-9_.]{0,62}$"},
        "properties": {"python": {"type": "string", "pattern": r"^3\.[0-9]{1,2}(\.[0-9]{1,2})?$"}},
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


def _written_factors(factors: Schema) -> None:
    """The words that each factor can be, and nothing twice."""
    for each in VARIED:
        key = factors["properties"][each.name]
        key |= {"minItems": 1, "uniqueItems": True}
        if each.levels is Levels.ISA:
            key["items"] = _one_of((NATIVE, *LEVELS))
        elif each.levels is Levels.RUNTIME:
            key["items"] = _runtime()
        elif each.levels is Levels.WORD:
            key["items"] = _one_of(registry.values_of(each.name))


def _written_accuracy(definitions: Schema) -> None:
    """The short forms of the section's keys."""
    keys = definitions["Accuracy"]["properties"]
    del keys["digest"]  # which a run's folder has, and no file of the user's
    definitions["Place"]["anyOf"] = [
        {"required": ["path"]},
        {"required": ["images", "annotations"]},
    ]
    nothing = {"type": "null"}
    path = {"type": "string", "pattern": r"\S"}
    keys["dataset"]["anyOf"] = [path, {"$ref": "#/$defs/Place"}, nothing]
    keys["outputs"]["anyOf"] = [{"const": POSTPROCESS}, {"$ref": "#/$defs/Outputs"}, nothing]
    own = {"$ref": "#/$defs/OwnPreprocessing"}
    keys["preprocessing"]["anyOf"] = [{"const": "auto"}, own, nothing]
    preprocessing = definitions["OwnPreprocessing"]["properties"]
    side = {"type": "integer", "minimum": 1}
    preprocessing["size"]["anyOf"] = [
        side, {"type": "array", "items": side, "minItems": 2, "maxItems": 2}, nothing
    ]  # fmt: skip
    for key, number in (("mean", {"type": "number"}),
                        ("std", {"type": "number", "exclusiveMinimum": 0})):  # fmt: skip
        values = {"type": "array", "items": number, "minItems": 1, "maxItems": 64}
        kept = {k: v for k, v in preprocessing[key].items() if k in ("description", "examples")}
        preprocessing[key] = kept | {"anyOf": [number, values]}


#: See ``config.inputs``: a shape, or what is known of each input.
_INPUT: Schema = {
    "description": "What its inputs are fed, where the file does not say it: the only input's "
    "shape, or `shape`, `dtype` and `range` of it, or of each by name.",
    "anyOf": [
        {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 1,
            "maxItems": 8,
        },
        {"type": "object", "minProperties": 1},
        {"type": "null"},
    ],
    "examples": ["input: [1, 3, 224, 224]"],
}


def _runtime() -> Schema:
    names = registry.runtime_names()
    pinned = "|".join(map(_escaped, names))
    return {
        "anyOf": [
            _one_of((ANY, *names)),
            {"type": "string", "pattern": f"^(?:{pinned})=={_VERSION}$"},
        ]
    }


#: A version in full, no pattern of several.
_VERSION = r"[0-9][A-Za-z0-9.!+_-]*"


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


def _one_of(words: Iterable[Any]) -> Schema:
    return {"enum": list(dict.fromkeys(words))}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": 64, "uniqueItems": True}


# -- pydantic's schema, tidied ---------------------------------------------------------------------


def _made_of(model: Any) -> Schema:
    return TypeAdapter(model).json_schema(by_alias=True, mode="validation")


def _finished(schema: Schema, title: str) -> Schema:
    tidy = _tidied(schema)
    used = _used(tidy)
    tidy["$defs"] = {name: tidy["$defs"][name] for name in sorted(used)}
    return {"$schema": _DRAFT, "title": title, **{k: v for k, v in tidy.items() if k != "title"}}


def _used(schema: Schema) -> set[str]:
    """The definitions that the schema leads to."""
    found: set[str] = set()
    left = [{k: v for k, v in schema.items() if k != "$defs"}]
    while left:
        for name in _references(left.pop()) - found:
            found.add(name)
            left.append(schema["$defs"][name])
    return found


def _references(node: Any) -> set[str]:
    if isinstance(node, Mapping):
        own = {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def _tidied(node: Any, *, keys: bool = False) -> Any:
    """Without titles that repeat a key, defaults that say "nothing", and formats that only pydantic
    knows; a line of YAML that is right as the value in it. ``keys``: the node's are a file's."""
    if isinstance(node, list):
        return [_tidied(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    if keys:
        return {name: _tidied(each) for name, each in node.items()}
    left_out = {"title", "format"} | ({"default"} if node.get("default") is None else set())
    found = {
        name: _tidied(each, keys=name in ("properties", "$defs"))
        for name, each in node.items()
        if name not in left_out
    }
    if "examples" in found:
        found["examples"] = [_value_of(line) for line in found["examples"]]
    if "description" in found:
        found["description"] = " ".join(str(found["description"]).split())
    return found


def _value_of(line: str) -> Any:
    """The value in ``key: value``."""
    (value,) = yaml.safe_load(line).values()
    return value
