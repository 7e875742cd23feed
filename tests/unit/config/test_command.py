"""``runner: command`` in a suite: what it takes, and what is refused before anything runs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from orchestrator.artifacts.files import sha256_of
from orchestrator.campaign import Places, prepare
from orchestrator.config import Suite, load_inventory, load_suite
from orchestrator.errors import ArtifactError, ConfigError, UsageError
from orchestrator.trial import Variant
from orchestrator.zoo import find_program, keep, resolve

PLAIN = """
models: [{name: nap, variants: {float32: ["0.02"], int8: ["0.01"]}}]
runner: command
command:
  program: nap.sh
  argv: ["{program}", "{arguments}"]
  figures: {time: {json: /times, unit: ms}}
"""


def load(folder: Path, text: str = PLAIN, **changes: str) -> Suite:
    (folder / "nap.sh").write_text("#!/bin/sh\n")
    for old, new in changes.items():
        assert PLACES[old] in text
        text = text.replace(PLACES[old], new)
    path = folder / "naps.yaml"
    path.write_text(textwrap.dedent(text))
    return load_suite(str(path))


#: What a case replaces.
PLACES = {
    "models": '[{name: nap, variants: {float32: ["0.02"], int8: ["0.01"]}}]',
    "runner": "runner: command",
    "argv": '["{program}", "{arguments}"]',
    "figures": "{time: {json: /times, unit: ms}}",
    "program": "  program: nap.sh\n",
}


def test_variants_differ_by_arguments_and_have_no_file(tmp_path: Path) -> None:
    suite = load(tmp_path)
    own = resolve(suite)
    assert {v: a.size_bytes for v, a in own.artifacts.items()} == {
        Variant("nap", "float32"): 0,
        Variant("nap", "int8"): 0,
    }
    assert len({a.sha256 for a in own.artifacts.values()}) == 2
    program = own.suite.program
    assert program is not None
    assert program.arguments == {("nap", "float32"): ("0.02",), ("nap", "int8"): ("0.01",)}
    assert suite.trials_of("memory") == 0  # nobody can tell it, and nobody asked


def test_a_run_s_folder_has_the_program_by_name_and_hash(tmp_path: Path) -> None:
    own = resolve(load(tmp_path))
    kept = json.loads(json.dumps(own.suite.for_a_run()))
    assert kept["command"]["program"] == "nap.sh"
    revived = Suite.from_json(kept)
    assert revived.program == own.suite.program
    models = tmp_path / "models"
    with pytest.raises(ArtifactError, match="holds no program with SHA-256"):
        find_program(revived, models)
    keep(own, models)
    (tmp_path / "nap.sh").write_text("another one")
    blob = find_program(revived, models)
    assert blob is not None and blob.path.read_text() == "#!/bin/sh\n"
    assert sha256_of(blob.path) == blob.sha256


def test_files_of_any_kind_are_variants(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.bin").write_bytes(name.encode())
    suite = load(
        tmp_path,
        models="[{name: net, variants: {float32: a.bin, int8: b.bin}}]",
        argv='["{program}", "{model}"]',
    )
    own = resolve(suite)
    assert {v.scheme: a.path.name for v, a in own.artifacts.items()} == {
        "float32": "a.bin",
        "int8": "b.bin",
    }


def test_a_file_that_some_framework_knows_is_held_against_its_name(tmp_path: Path) -> None:
    data = Path(__file__).parents[2] / "data" / "zoo" / "float32.tflite"
    (tmp_path / "a.tflite").write_bytes(data.read_bytes())
    (tmp_path / "b.bin").write_bytes(b"b")
    suite = load(
        tmp_path,
        models="[{name: net, variants: {full_int8: a.tflite, float32: b.bin}}]",
        argv='["{program}", "{model}"]',
    )
    with pytest.raises(UsageError, match=r"full_int8 contradicts a\.tflite, which holds float32"):
        resolve(suite)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"argv": "[]"}, "`command.argv`: is empty"),
        ({"argv": '["{programme}"]'}, r"\{programme\} is not a placeholder; there are \{program\}"),
        ({"argv": '["{program}", "{"]'}, "a brace that is meant as such is written twice"),
        ({"argv": '["{program}", "-x{arguments}"]'}, "has to be one of its own"),
        ({"argv": '["{program}", "{{agent}}"]'}, "a place of the agent's own"),
        ({"argv": '["bench", "{arguments}"]'}, "`program` is pushed and never run"),
        ({"program": ""}, r"`argv` has \{program\}; name its file"),
        ({"program": "  program: no.sh\n"}, "there is no file .*A program of the device"),
        ({"argv": '["{program}", "--token=abc"]'}, "names a secret"),
        ({"figures": "{}"}, "`command.figures`: is empty"),
        ({"figures": "{time: {unit: ms}}"}, "is read from one place"),
        ({"figures": "{time: {json: /a, wall: true, unit: ms}}"}, "is read from one place"),
        ({"figures": "{time: {json: a, unit: ms}}"}, "is not a JSON pointer"),
        ({"figures": "{time: {json: /a}}"}, "in which unit"),
        ({"figures": "{time: {json: /a, unit: parsec}}"}, "in ns, us, µs, ms, s"),
        ({"figures": "{time: {json: /a, unit: ms, better: higher}}"}, "better where it is lower"),
        ({"figures": "{rate: {json: /a, unit: 1/s}}"}, "which way is better"),
        ({"figures": "{Rate: {json: /a, unit: 1/s, better: higher}}"}, "cannot be called `Rate`"),
        ({"figures": "{file_bytes: {json: /a, unit: B, better: lower}}"}, "cannot be called"),
        ({"figures": "{time: {regex: '(', unit: ms}}"}, "is not a regular expression"),
        ({"figures": "{time: {regex: '[0-9]+', unit: ms}}"}, "has no group that holds the figure"),
        ({"figures": "{time: {regex: '(?P<speed>.)', unit: ms}}"}, "names the group speed"),
        (
            {"figures": "{time: {regex: '(?P<value>.)(?P<unit>.)', unit: ms}}"},
            "and the expression has a group unit",
        ),
        ({"models": "[mobilenet_v1]"}, "`mobilenet_v1` is unknown"),
        ({"models": "[{file: a.bin}]"}, "write `{name: mine, variants:"),
        ({"models": "[{name: nap, variants: {float32: [1]}}]"}, "is not a list of text"),
        ({"runner": "runner: [command, litert]"}, "stands alone"),
        ({"runner": "runner: litert"}, "`float32` is a list"),
        ({"runner": "runner: command\nfactors: {threads: [1, 4]}"}, "would vary in name only"),
        ({"runner": "runner: command\nfactors: {batch: [2]}"}, r"holds \{batch\}"),
        ({"runner": "runner: command\nfactors: {delegate: [xnnpack]}"}, "means nothing to"),
    ],
)
def test_a_bad_suite_is_answered_with_place_and_remedy(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path, **changes)
    assert caught.value.line


def test_a_runner_of_its_own_needs_its_section_and_others_have_none(tmp_path: Path) -> None:
    head, _, section = PLAIN.partition("command:\n")
    with pytest.raises(ConfigError, match=r"`command`: `runner: command` runs what this section"):
        load(tmp_path, head)
    others = "models: [mobilenet_v1]\nschemes: [float32]\ncommand:\n" + section
    with pytest.raises(ConfigError, match="is run by `runner: command`, and this suite has"):
        load(tmp_path, others)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"argv": '["{program}", "{model}"]'}, r"told \{model\}, and the variant"),
        ({"runner": "runner: command\nfactors: {isa: [haswell]}"}, r"isa: \[native\]"),
        ({"runner": "runner: command\nbaseline: float16"}, "has no float16 to compare with"),
        (
            {"runner": "runner: command\nprotocol: {memory: {trials: 1}}"},
            "what runner command cannot tell: what a program's memory is spent on",
        ),
        ({"models": '[{name: nap, variants: {float32: nap.sh, int8: ["x"]}}]'}, "all in one way"),
    ],
)
def test_what_cannot_be_is_refused_before_a_device_is_touched(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("devices: [{name: here, transport: local}]\n")
    places = Places(tmp_path / "results", tmp_path / "models")
    with pytest.raises(UsageError, match=said):
        prepare(load_inventory(inventory).devices, load(tmp_path, **changes), places, seed=1)
