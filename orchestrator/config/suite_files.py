"""Where suites are found by name, and how one is read."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.problems import Problems, unknown_key
from orchestrator.config.suite import Suite
from orchestrator.config.text import hint, shown
from orchestrator.config.tree import read_mapping
from orchestrator.config.user_models import split_models
from orchestrator.config.values import is_path
from orchestrator.errors import ConfigError, UsageError
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Framework
from orchestrator.frameworks.parts import known_models

#: Fields of a suite that are not keys of its file.
NOT_WRITTEN = {"name", "user_models"}
_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_folder(name: str) -> Path:
    """A folder of files that come with the product: ``suites``, ``schemas``.

    In an installed wheel it lies in the package, in a source checkout beside it.
    """
    installed = _PACKAGE / name
    checkout = _PACKAGE.parent
    if not installed.is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / name
    return installed


def shipped_suites() -> dict[str, Path]:
    """The suites that come with the product, by name."""
    return _suites_in(shipped_folder("suites"))


def available_suites(relative_to: Path | None = None) -> dict[str, Path]:
    """Every suite that a name can mean, by name.

    Those in ``suites/`` beside ``relative_to`` (an inventory, or its folder) come before those in
    ``./suites``, and these before the shipped ones.
    """
    found = shipped_suites() | _suites_in(Path("suites"))
    if relative_to is not None:
        folder = relative_to if relative_to.is_dir() else relative_to.parent
        found |= _suites_in(folder / "suites")
    return found


def _suites_in(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml")) if path.is_file()}


def load_suite(name_or_path: str, *, relative_to: Path | None = None) -> Suite:
    """The suite of a name, or in a file. Its models are those that its runner's framework has.

    ``relative_to`` is the inventory beside which a name is looked for first; a path is relative to
    the working directory. Raises UsageError where no suite has that name, ConfigError with
    everything that is wrong with the file.
    """
    return _read(suite_path(name_or_path, relative_to=relative_to))


def suite_path(name_or_path: str, *, relative_to: Path | None = None) -> Path:
    """The file that a suite's name or path means. Raises UsageError where no suite is called so."""
    return Path(name_or_path) if is_path(name_or_path) else _find(name_or_path, relative_to)


def _find(name: str, relative_to: Path | None) -> Path:
    available = available_suites(relative_to)
    if name in available:
        return available[name]
    raise UsageError(
        f"no suite is called {shown(name)}; {hint(name, sorted(available), 'there are')}"
        " (a path ends in .yaml or holds a `/`)"
    )


def _read(path: Path) -> Suite:
    root = read_mapping(path, "a suite holds `models:` and `schemes:` (see suites/quick.yaml)")
    problems = Problems(path)
    for key in NOT_WRITTEN & root.entries.keys():
        fields = Suite.model_fields.items()
        keys = [field.alias or name for name, field in fields if name not in NOT_WRITTEN]
        problems.add(root.entries[key].key_mark, unknown_key(key, keys))
    data, tree, own = split_models(problems, path, root)
    data |= {"name": path.stem, "user_models": own}
    frameworks = _frameworks(root.data.get("runner"))
    # a run of several frameworks compares what each makes of one network
    shared = set.intersection(*(set(known_models(each.name)) for each in frameworks))
    models = {*shared, *(model.name for model in own)}
    schemes = dict.fromkeys(name for each in frameworks for name in each.scheme_names)
    suite = problems.validate(
        Suite,
        tree,
        data,
        models=models,
        schemes=tuple(schemes),
        folder=path.resolve().parent,
    )
    problems.raise_if_any()
    if suite is None:  # only for the type checker: a suite that is None left a problem behind
        raise ConfigError("is not a suite", path=path)
    return suite


def _frameworks(runner: object) -> tuple[Framework, ...]:
    """Whose models a suite with these runners names; a wrong runner is refused later."""
    names = runner if isinstance(runner, list | tuple) else [runner]
    known = [
        name
        for name in names
        if isinstance(name, str) and (name == registry.AUTO or registry.find_runner(name))
    ]
    return registry.frameworks_of(known) or (registry.default(),)
