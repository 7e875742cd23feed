"""What people call the quantization of a file, at the end of its name or in a suite.

Names are read as phrases: ``_fp16``, ``_full_integer_quant_with_int16_act`` (onnx2tf),
``_dynamic_wi4b32_afp32`` (ai-edge-quantizer), ``-int8``. A phrase promises something of the file's
types, and the file's bytes hold it or do not; ``quant`` leaves most open.

Phrases are about schemes that are called by their types (``full_`` or ``dynamic_`` and a type,
``int16x8``). A framework that calls one otherwise says which of those it is (``same_as``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from orchestrator.frameworks import registry

#: What the bytes may be called, where a name promises it. A predicate of the scheme's name.
_Promise = Callable[[str], bool]

_FLOAT_SCHEMES = re.compile(r"(full_)?b?float(16|32|64)")
#: Of a file whose parts differ, nothing can be said to be absent.
_MIXED = "mixed"


def _float(scheme: str) -> bool:
    return bool(_FLOAT_SCHEMES.fullmatch(scheme))


def _any_of(pattern: str) -> _Promise:
    found = re.compile(pattern)
    return lambda scheme: scheme == _MIXED or bool(found.fullmatch(_by_types(scheme)))


def _exactly(*schemes: str) -> _Promise:
    return lambda scheme: scheme in schemes


def _integers(scheme: str) -> bool:
    return not _float(scheme)


def _float_of(bits: int) -> _Promise:
    return _own_name(f"float{bits}")


def _by_types(scheme: str) -> str:
    """Return what a scheme is called by its types, where it is called otherwise."""
    known = (scheme, *registry.same_as(scheme))
    return next((name for name in known if _SCHEME.fullmatch(name)), scheme)


def _own_name(scheme: str) -> _Promise:
    """Frameworks' names for one thing stand for each other."""
    return lambda found: found in (scheme, *registry.same_as(scheme))


_FULL = r"full_u?int\d+|u?int\d+x\d+"
#: A type alone is what a network without weights is called.
_INT8_WEIGHTS = r"(full|dynamic|weight_only)_int8|int16x8|uint8x8|int8"

_PHRASES: tuple[tuple[str, _Promise], ...] = (
    (r"float|fp", _float),
    (r"(float|fp|f)32", _float_of(32)),
    (r"(float|fp|f)16|half", _float_of(16)),
    (r"(bfloat|bf)16", _exactly("bfloat16", "full_bfloat16")),
    (r"dynamic_(fp|float)16", _exactly("dynamic_fp16")),
    (r"(u?int|[iu])8_float", _any_of(_INT8_WEIGHTS)),
    (r"(int|i)8", _any_of(_INT8_WEIGHTS)),
    (r"(uint|u)8", _any_of(r"(full|dynamic|weight_only)_uint8|uint8x\d+|uint8")),
    (r"(int|i|w)4", _any_of(r"(full|dynamic|weight_only)_u?int4|u?int\d+x4|u?int4")),
    (r"(int|i|w)2", _any_of(r"(full|dynamic|weight_only)_int2|u?int\d+x2|int2")),
    (r"(int|i)16", _any_of(r"full_int16|int16x\d+|int16")),
    (r"(int)?(16x8|a16w8|w8a16)", _any_of("int16x8")),
    (r"int8x4|a8w4|w4a8", _any_of("int8x4")),
    (r"int8x8|a8w8|w8a8", _any_of("(full_u?|dynamic_)int8")),
    (r"(full_)?integer(_quant(ized)?)?", _any_of(_FULL)),
    (r"(full_)?integer_quant_with_int16_act", _any_of(r"int16x8|full_int16")),
    (r"(static|qat)_quant(ized)?", _any_of(_FULL)),
    (r"dynamic_quant(ized)?", _any_of(r"dynamic_\w+")),
    (r"(weight_only|weightonly|wo)(_(quant(ized)?))?", _any_of(r"weight_only_\w+")),
    (r"quant(ized)?|q|ptq|qat", _integers),
)
#: ai-edge-quantizer's recipes: how, the weights' bits, blocks, the activations.
_RECIPE = re.compile(
    r"(?P<how>dynamic|weight_only|static)(_legacy)?_wi(?P<bits>\d+)(b\d+|c)?(_hr)?"
    r"_a(?P<activations>fp32|i8|i16)"
)
_SCHEME = re.compile(
    r"(full|dynamic|weight_only)_(u?int\d+)|u?int\d+x\d+|mixed|full_(b?float)16|dynamic_fp16"
)
#: Phrases that are the name of nothing else at the end of a file's name.
_ENDING_ONLY_WITH_MORE = frozenset(("q", "qat", "ptq", "fp", "w4", "w2", "i4", "i2", "half", "i8"))


def is_scheme_ending(text: str) -> bool:
    """Whether the end of a file's name, behind a separator, says how the file is quantized."""
    words = _words(text)
    return "_".join(words) not in _ENDING_ONLY_WITH_MORE and _parsed(words) is not None


def promises_floats(ending: str) -> bool:
    """Whether an ending says that nothing is quantized."""
    found = _parsed(_words(ending))
    return bool(found) and all(
        any(each(f"float{bits}") for bits in (32, 16)) for each in found or ()
    )


def promised(label: str) -> Callable[[str], bool] | None:
    """Whether a scheme is what a label promises; None for a label that promises nothing.

    A label that is the name of a scheme promises just that one. Of another one the longest phrase
    counts: ``int8_per_tensor`` and ``my_float16`` promise as ``int8`` and ``float16`` do.
    """
    if _is_scheme(label):
        return _own_name(label)
    words = _words(label)
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            part = words[start : start + length]
            found = _parsed(part)
            # one letter is not enough where it may stand for anything
            if found and not (length < len(words) and part[0] in _ENDING_ONLY_WITH_MORE):
                return _all_of(found)
    return None


def _is_scheme(text: str) -> bool:
    return bool(_SCHEME.fullmatch(text)) or any(text == each.name for each in registry.schemes())


def _all_of(promises: tuple[_Promise, ...]) -> _Promise:
    return lambda scheme: all(each(scheme) for each in promises)


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"[_.-]", text.lower()))


@cache
def _parsed(words: tuple[str, ...]) -> tuple[_Promise, ...] | None:
    """The promises of words that are phrases from first to last; None for other words."""
    if not words:
        return ()
    for length in range(len(words), 0, -1):
        found = _phrase("_".join(words[:length]))
        rest = _parsed(words[length:]) if found is not None else None
        if found is not None and rest is not None:
            return (found, *rest)
    return None


def _phrase(text: str) -> _Promise | None:
    recipe = _RECIPE.fullmatch(text)
    if recipe is not None:
        return _of_recipe(recipe)
    if _is_scheme(text):
        return _own_name(text)
    for each in registry.schemes():
        if each.words and re.fullmatch(each.words, text):
            return _any_of(_by_types(each.name))
    return next((promise for pattern, promise in _PHRASES if re.fullmatch(pattern, text)), None)


def _of_recipe(recipe: re.Match[str]) -> _Promise:
    bits, how = recipe["bits"], recipe["how"]
    if how != "static":
        return _any_of(f"{how}_int{bits}")
    full = f"full_int{bits}" if bits == "8" else f"int8x{bits}"
    return _exactly(_MIXED, f"int16x{bits}" if recipe["activations"] == "i16" else full)
