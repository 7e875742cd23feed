"""The user's own model files in a suite: ``{file: foo.tflite}``, or a name and its variants.

Only where the files are is settled here; what they hold is read by ``zoo.user_files``, before
anything is planned.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

from orchestrator.config.inputs import Inputs
from orchestrator.config.problems import Problems, Strict, unknown_key
from orchestrator.config.program import as_arguments
from orchestrator.config.scheme_names import is_scheme_ending, promises_floats
from orchestrator.config.source import Mark
from orchestrator.config.text import shown
from orchestrator.config.tree import Sequence, YamlMapping, YamlValue
from orchestrator.config.values import LocalPath, Name, Sha256, Text, check_name, local_path
from orchestrator.frameworks import registry

#: What endings are that have nothing to do with any framework, and what to do.
_FOREIGN: Mapping[str, str] = {
    ".gz": "compressed; unpack it first",
    ".zip": "compressed; unpack it first",
}


def _example_variants() -> str:
    """Return how variants are written: the default framework's baseline, and its first scheme that
    has to be calibrated."""
    of = registry.default()
    calibrated = next((each.name for each in of.schemes if each.needs), of.scheme_names[-1])
    return f"variants: {{{of.scheme_names[0]}: a{_ENDING}, {calibrated}: b{_ENDING}}}"


_ENDING = registry.default().endings[0]
_EXAMPLE_FILE = f"file: my{_ENDING}"
_EXAMPLE_VARIANTS = _example_variants()

_SEPARATORS = "_-."
_NOT_THERE = "there is no file {}; a path is relative to the suite's folder"


def split_name(path: Path) -> tuple[str, str | None]:
    """``foo_quant.tflite`` → (``foo``, ``quant``); the ending is None where there is none."""
    # the shortest stem whose whole rest is an ending: foo_full_int8 is not a foo_full in int8
    for cut in range(1, len(path.stem)):
        if path.stem[cut] in _SEPARATORS and is_scheme_ending(path.stem[cut + 1 :]):
            return path.stem[:cut], path.stem[cut + 1 :]
    return path.stem, None


class UserFile(Strict):
    """One file. ``label`` is what the suite calls the variant, None where nobody said.

    ``scheme`` (the variant's name) and ``sha256`` are known once the file has been read; from then
    on ``path`` is its name alone. A variant that differs by ``arguments`` of the suite's program
    has no file: its ``path`` is its label.
    """

    path: LocalPath
    label: Text | None = None
    arguments: tuple[str, ...] | None = Field(default=None, strict=False)
    scheme: Text | None = None
    sha256: Sha256 | None = None


class UserModel(Strict):
    """A model whose variants are files of the user's. ``place`` is where the suite says so."""

    name: Name
    files: Annotated[tuple[UserFile, ...], Field(strict=False, min_length=1)]
    #: What its inputs are fed, where the files do not say it themselves, or the suite knows better.
    input: Inputs | None = None
    #: How a ``.tflite`` file is called that can be called in several ways.
    signature: Text | None = None
    place: Text = ""

    @property
    def schemes(self) -> tuple[str, ...]:
        """Its variants' names, as far as they are known."""
        return tuple(file.scheme for file in self.files if file.scheme is not None)

    @property
    def arguments(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """The arguments of each of its variants that differ by them, by model and scheme."""
        return {
            (self.name, file.label): file.arguments
            for file in self.files
            if file.arguments is not None and file.label is not None
        }


def _file_or_arguments(value: object, info: ValidationInfo) -> object:
    """A path, or the arguments of a variant that differs by them."""
    if isinstance(value, str):
        return local_path(value, (info.context or {}).get("folder", Path()))
    return as_arguments(value)


FileOrArguments = Annotated[Any, BeforeValidator(_file_or_arguments)]


_INPUT = (
    "What its inputs are fed, where the files do not say it or you know better: a shape, or for "
    "each input by name a shape, or keys `shape`, `dtype` and `range`."
)
_SIGNATURE = "Which of its signatures is measured, of a file that can be called in several ways."


class ModelOfOneFile(Strict):
    """A model by one of its files; those beside it that are called alike are its other schemes."""

    file: LocalPath = Field(
        description="The model's file; those beside it that are named for another scheme of it "
        "belong to it. A path is relative to the suite's folder.",
        examples=[_EXAMPLE_FILE],
    )
    name: Name | None = Field(
        default=None,
        description="What reports call it. Left out: the file's name without its scheme.",
        examples=["name: mine"],
    )
    input: Inputs | None = Field(
        default=None, description=_INPUT, examples=["input: [1, 3, 224, 224]"]
    )
    signature: Text | None = Field(
        default=None, description=_SIGNATURE, examples=["signature: serving_default"]
    )


class ModelOfFiles(Strict):
    """A model by its files, each under the name that its variant is to have."""

    name: Name = Field(description="What reports call it.", examples=["name: mine"])
    variants: dict[Name, FileOrArguments] = Field(
        description="The file of each scheme. Which scheme a file has is read from its bytes, and "
        "a name that contradicts them is refused. Under `runner: command` a list stands for the "
        "program's own arguments.",
        examples=[_EXAMPLE_VARIANTS],
    )
    input: Inputs | None = Field(
        default=None, description=_INPUT, examples=["input: [1, 3, 224, 224]"]
    )
    signature: Text | None = Field(
        default=None, description=_SIGNATURE, examples=["signature: serving_default"]
    )


def read_models(
    problems: Problems, path: Path, node: Sequence, *, any_file: bool = False
) -> tuple[Sequence, tuple[UserModel, ...]]:
    """Return the list ``models`` with a name in the place of each model of files, and those models.

    A file that belongs to a model listed before is not a model of its own. ``any_file``: the
    suite's runner takes files of any kind, and variants that differ by arguments.
    """
    kept: list[YamlValue] = []
    models: dict[str, UserModel] = {}
    for item in node.items:
        if not isinstance(item, YamlMapping):
            kept.append(item)
            continue
        model = _read_one(problems, path, item, any_file=any_file)
        if model is None:
            # keeps its place in the list; its problem ends the reading
            name = f"the model in line {item.mark.line}, column {item.mark.column}"
            model = UserModel.model_construct(name=name, files=())
        known = models.get(model.name)
        if known is not None and _is_part(model, known):
            continue
        models[model.name] = model
        kept.append(YamlValue(item.mark, model.name, text=model.name))
    names = Sequence(node.mark, [each.data for each in kept], items=tuple(kept))
    return names, tuple(models.values())


def _is_part(model: UserModel, known: UserModel) -> bool:
    return {file.path for file in model.files} <= {file.path for file in known.files}


def _read_one(
    problems: Problems, path: Path, node: YamlMapping, *, any_file: bool
) -> UserModel | None:
    place = f"{path}:{node.mark.line}:{node.mark.column}"
    folder = path.resolve().parent
    if "variants" in node.entries:
        return _explicit(problems, place, node, folder, any_file=any_file)
    if "file" in node.entries:
        if any_file:
            problems.add(
                node.entries["file"].key_mark,
                "the files of a program of your own are told apart by what you call them; write "
                f"`{{name: mine, variants: {{{registry.default().scheme_names[0]}: a.bin, …}}}}`",
            )
            return None
        return _by_name(problems, place, node, folder)
    for key, entry in node.entries.items():
        if key not in ("name", "input", "signature"):
            known = ["file", "input", "name", "signature", "variants"]
            problems.add(entry.key_mark, unknown_key(key, known))
            return None
    problems.add(
        node.mark,
        f"a model of your own is written `{{{_EXAMPLE_FILE}}}`, or"
        f" `{{name: mine, {_EXAMPLE_VARIANTS}}}`",
    )
    return None


def _explicit(
    problems: Problems, place: str, node: YamlMapping, folder: Path, *, any_file: bool
) -> UserModel | None:
    found = problems.validate(ModelOfFiles, node, folder=folder)
    if found is None:
        return None
    written = node.entries["variants"].node
    if not found.variants:
        problems.add(written.mark, "`variants`: is empty; list at least one")
        return None
    marks = {label: _mark_in(written, label) for label in found.variants}
    files = [_variant(label, written) for label, written in found.variants.items()]
    whole = [_check_variant(problems, marks[str(f.label)], f, any_file=any_file) for f in files]
    if not all(whole):
        return None
    return UserModel(
        name=found.name,
        files=tuple(files),
        input=found.input,
        signature=found.signature,
        place=place,
    )


def _variant(label: str, written: Any) -> UserFile:
    if isinstance(written, Path):
        return UserFile(path=written, label=label)
    return UserFile(path=Path(label), label=label, arguments=written)


def _check_variant(problems: Problems, mark: Mark, file: UserFile, *, any_file: bool) -> bool:
    if file.arguments is not None and not any_file:
        able = registry.runners_where(lambda each: each.program)
        problems.add(
            mark,
            f"{shown(str(file.label))} is a list, and a file is its path; arguments are of "
            f"variants of `runner: {' or '.join(able)}`",
        )
        return False
    if file.arguments is not None:
        return True
    if any_file:
        return _check_there(problems, mark, file.path)
    return _check_file(problems, mark, file.path)


def _check_there(problems: Problems, mark: Mark, path: Path) -> bool:
    if not path.is_file():
        problems.add(mark, _NOT_THERE.format(shown(str(path))))
        return False
    return True


def _by_name(problems: Problems, place: str, node: YamlMapping, folder: Path) -> UserModel | None:
    found = problems.validate(ModelOfOneFile, node, folder=folder)
    if found is None:
        return None
    mark = _mark_in(node, "file")
    if not _check_file(problems, mark, found.file):
        return None
    stem, _ = split_name(found.file)
    try:
        name = check_name(found.name or stem)
    except ValueError as exc:
        problems.add(mark, f"`file`: {exc}; or add a `name`")
        return None
    files = tuple(UserFile(path=path) for path in _family(found.file, stem))
    return UserModel(
        name=name, files=files, input=found.input, signature=found.signature, place=place
    )


def _family(path: Path, stem: str) -> list[Path]:
    """The file and those beside it that are called like other schemes of the same model: the one
    without an ending first, then by name."""
    try:
        there = sorted(path.parent.iterdir())
    except OSError:
        there = []
    beside = [
        each
        for each in there
        if each.suffix == path.suffix and split_name(each)[0] == stem and each.is_file()
    ]
    found = {each.name: path if each.name == path.name else each for each in [*beside, path]}
    return sorted(found.values(), key=lambda each: (each.stem != stem, _order(each), each.name))


def _order(path: Path) -> int:
    """Floats before integers: a baseline is found at the beginning of a list."""
    return 0 if promises_floats(split_name(path)[1] or "") else 1


def _check_file(problems: Problems, mark: Mark, path: Path) -> bool:
    problem = None
    suffix = path.suffix.lower()
    if suffix not in registry.endings():
        foreign = registry.foreign_ending(suffix) or _FOREIGN.get(suffix)
        endings = " or ".join(registry.endings())
        problem = f"{shown(path.name)} is not a model file" + (
            f" that a runner takes: {foreign}" if foreign else f"; its name ends in {endings}"
        )
    if problem is not None:
        problems.add(mark, problem)
        return False
    return _check_there(problems, mark, path)


def _mark_in(node: YamlValue, key: str) -> Mark:
    if isinstance(node, YamlMapping) and key in node.entries:
        return node.entries[key].node.mark
    return node.mark


def split_models(
    problems: Problems, path: Path, root: YamlMapping
) -> tuple[dict[str, Any], YamlValue, tuple[UserModel, ...]]:
    """Return what of a suite goes to its own fields: plain data, the tree it stands in, own
    models."""
    entry = root.entries.get("models")
    if entry is None or not isinstance(entry.node, Sequence):
        return dict(root.data), root, ()
    any_file = _takes_any_file(root.data.get("runner"))
    names, models = read_models(problems, path, entry.node, any_file=any_file)
    entries = {**root.entries, "models": type(entry)(entry.key_mark, names)}
    tree = YamlMapping(root.mark, {**root.data, "models": names.data}, entries=entries)
    return dict(tree.data), tree, models


def _takes_any_file(runner: object) -> bool:
    """Whether a suite with these runners describes what is run; a wrong one is refused later."""
    names = runner if isinstance(runner, list | tuple) else [runner]
    found = (registry.find_runner(name) for name in names if isinstance(name, str))
    return any(each is not None and each.program for each in found)
