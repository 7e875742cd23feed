"""Feeding a TorchScript model given values and reading what it answers, without NumPy."""

from __future__ import annotations

import argparse
import array
import ctypes
from typing import Any, Callable, Dict, List, Sequence, Tuple

from orchestrate_agent.children.measuring import INPUT_SEED, ChildError
from orchestrate_agent.children.outputs import Output
from orchestrate_agent.children.samples import Shard


class Answering:
    """A model that is asked for its outputs.

    ``inputs`` say what it takes; ``draw`` draws values for one of them as for timing.
    """

    def __init__(
        self,
        torch: Any,
        model: Any,
        inputs: Sequence[Dict[str, Any]],
        processor: str,
        draw: Callable[[Any, Dict[str, Any]], Any],
    ) -> None:
        self._torch = torch
        self._model = model
        self._inputs = inputs
        self._processor = processor
        self._draw = draw
        self._fed: List[Any] = []

    def answer_seeded(self, bounds: Sequence[float]) -> Tuple[float, List[Output]]:
        """What it answers to the same values in every process; nothing is lost in feeding them."""
        torch = self._torch
        generator = torch.Generator().manual_seed(INPUT_SEED)
        self._fed = []
        for each in self._inputs:
            dtype = str(each.get("dtype") or "float32")
            if "float" in dtype and "low" not in each:
                values = torch.rand(each["shape"], generator=generator, dtype=torch.float32)
                values = (values * (bounds[1] - bounds[0]) + bounds[0]).to(getattr(torch, dtype))
            else:
                values = self._draw(generator, each)
            self._fed.append(values.to(self._processor))
        return 0.0, self._outputs(self._answer())

    def feed_samples(self, shard: Shard, args: argparse.Namespace, content: bytes) -> None:
        """Feed one batch of rows, less ``--mean`` and divided by ``--std``, channel by channel."""
        torch, (spec,) = self._torch, self._inputs
        shape = (args.batch, *shard.shape)
        held = torch.frombuffer(bytearray(content), dtype=getattr(torch, shard.dtype))
        values = held.reshape(shape)
        dtype = str(spec.get("dtype") or "float32")
        if "float" in dtype:
            values = values.to(torch.float32)
            if args.mean:
                values = values - torch.tensor(args.mean, dtype=torch.float32)
            if args.std:
                values = values / torch.tensor(args.std, dtype=torch.float32)
        values = _laid_out(values, spec["shape"])
        self._fed = [values.to(getattr(torch, dtype)).to(self._processor)]

    def answer_batch(self, batch: int) -> List[List[Output]]:
        """Run an inference; the outputs of each of the batch's samples."""
        tensors = self._answer()
        if batch == 1:
            return [self._outputs(tensors)]
        for tensor in tensors:
            if not tensor.dim() or tensor.shape[0] != batch:
                raise ChildError(
                    "incompatible",
                    "the graph makes an output of shape %s of %d items"
                    % (list(tensor.shape), batch),
                )
        return [self._outputs([t[place : place + 1] for t in tensors]) for place in range(batch)]

    def _answer(self) -> List[Any]:
        tensors = [_real(self._torch, each) for each in _tensors(self._model(*self._fed))]
        if not tensors:
            raise TypeError("the model returns nothing")
        return tensors

    def _outputs(self, tensors: Sequence[Any]) -> List[Output]:
        torch = self._torch
        return [_output(torch, "output %d" % place, each) for place, each in enumerate(tensors)]


def _tensors(answer: Any) -> List[Any]:
    """The tensors in what a model returns, in order; what it returns None for is left out.

    Raises TypeError for anything else.
    """
    if answer is None:
        return []
    if isinstance(answer, dict):
        answer = [answer[key] for key in sorted(answer, key=str)]
    if isinstance(answer, (list, tuple)):
        return [tensor for each in answer for tensor in _tensors(each)]
    if not hasattr(answer, "reshape"):
        raise TypeError("the model returns a %s, not a tensor" % type(answer).__name__)
    return [answer]


def _real(torch: Any, tensor: Any) -> Any:
    """The tensor on the CPU, with the real values of a quantized one; once it has been computed."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_complex():
        tensor = tensor.abs()
    if tensor.dtype not in (torch.float32, torch.float64) and tensor.is_floating_point():
        tensor = tensor.to(torch.float32)
    return tensor.detach().to("cpu")


def _output(torch: Any, name: str, tensor: Any) -> Output:
    held = tensor.contiguous()

    def values(every: int) -> Sequence[float]:
        # in a quarter of the memory that a list of them takes
        return array.array("d", _bytes_of(held.reshape(-1)[::every].to(torch.float64)))

    def levels(first: int, end: int) -> Tuple[bytes, float, float]:
        """As ``arrays.levels_of``."""
        part = held.reshape(-1)[first:end].to(torch.float64)
        if not part.numel():
            return b"", 0.0, 0.0
        low, high = float(part.min()), float(part.max())
        rounded = torch.round(torch.clamp(torch.nan_to_num(part), 0.0, 1.0) * 255.0)
        return _bytes_of(rounded.to(torch.uint8)), low, high

    return Output(
        name,
        tuple(int(size) for size in held.shape),
        str(held.dtype).replace("torch.", ""),
        _bytes_of(held),
        values,
        levels=levels,
    )


def _bytes_of(tensor: Any) -> bytes:
    held = tensor.contiguous()
    return ctypes.string_at(held.data_ptr(), held.numel() * held.element_size())


def _laid_out(values: Any, wanted: Sequence[int]) -> Any:
    """The values in the shape of the input: as they are, with the channels first, or with sides of
    1 added or left out. Raises ChildError."""
    have = [int(size) for size in values.shape]
    wanted = [int(size) for size in wanted]
    if have == wanted:
        return values
    if len(have) == 4 and len(wanted) == 3 and have[0] == 1:
        # a network of one image, without a dimension for the batch
        return _laid_out(values, [1, *wanted])[0]
    if len(have) == len(wanted) == 4:
        turned = values.permute(0, 3, 1, 2)
        if [int(size) for size in turned.shape] == wanted:
            return turned.contiguous()
    if have[0] == wanted[0] and [s for s in have[1:] if s != 1] == [
        s for s in wanted[1:] if s != 1
    ]:
        return values.reshape(wanted)
    raise ChildError(
        "incompatible",
        "the samples have shape %s, and the model takes %s; prepare them in the model's own size "
        "(`preprocessing:` in the suite)" % (have, wanted),
    )
