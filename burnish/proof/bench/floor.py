"""The least time that exact arithmetic takes: floating-point operations over the rate that this machine's matrix
products reach, and the optimiser's bytes over its memory's. Knows shapes and clocks; knows no trainer.

Counted is what a step cannot do without: each token of a packed tree once, the LM head on learned tokens alone, the
pairs of tokens that causal attention joins. One multiply-add is two operations. Norms, activations and the softmax are
left out, and so is all moving of data but the optimiser's: the floor is too low rather than too high. Linear layers are
counted as if each token passed all of them, so a mixture of experts has no floor here.

Suffixes: M rows, I inputs and O outputs of a layer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from burnish.batches import Document
from burnish.models.forward import Trainable
from burnish.models.lora import adapted

OPTIMIZER_BYTES = 28
"""AdamW in fp32, a parameter: weight, gradient and two moments are read, all but the gradient written."""
REPEATS = 5
"""Of a measurement; the fastest counts."""
_BUFFER = 2**25
"""Numbers of fp32 in a buffer of the memory measurement: 134 MB, far more than any cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a model's cost depends on."""

    layers: tuple[tuple[int, int], ...]
    """(outputs, inputs) of each linear layer of the backbone."""
    head: tuple[int, int]
    """Those of the LM head; (0, 0) where none is used."""
    attention: int
    """Operations for each pair of tokens that attention joins: A = 4 · layers · heads · width of a head."""
    adapter: int
    """Weights of adapters."""
    kept: int
    """Numbers that generation keeps of a token, and reads at each further one: its keys and values."""
    trained: int
    """Parameters that the optimiser moves."""

    @property
    def body(self) -> int:
        """Weights of the linear layers: N_b."""
        return sum(outputs * inputs for outputs, inputs in self.layers)


def sizes_of(module: Trainable) -> Sizes:
    """Read from the module's own layers and its configuration."""
    config: Any = module.backbone.config
    text: Any = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    shared = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    linear = [part for part in module.backbone.modules() if isinstance(part, nn.Linear)]
    return Sizes(
        layers=tuple((part.out_features, part.in_features) for part in linear),
        head=(0, 0) if module.lm is None else (module.lm.out_features, module.lm.in_features),
        attention=4 * text.num_hidden_layers * text.num_attention_heads * width,
        kept=2 * text.num_hidden_layers * shared * width,
        adapter=sum(part.lora_A.numel() + part.lora_B.numel() for part in adapted(module.backbone).values()),
        trained=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
    )


def forward_operations(sizes: Sizes, documents: Iterable[Document]) -> float:
    """Of one forward pass: F = 2 N_b T + 2 N_v T_out + A · pairs, adapters left out."""
    head = sizes.head[0] * sizes.head[1]
    return float(
        sum(2 * sizes.body * d.tokens + 2 * head * d.targets + sizes.attention * _joined(d) for d in documents)
    )


def training_operations(sizes: Sizes, documents: Iterable[Document], passes: int) -> float:
    """Of one training step: `passes` forward passes' worth, and three of the adapters' own."""
    given = list(documents)
    return passes * forward_operations(sizes, given) + 3 * 2.0 * sizes.adapter * sum(d.tokens for d in given)


def prefill_operations(sizes: Sizes, prompt: int) -> float:
    """Of a prompt of so many tokens, up to its last hidden state."""
    return 2.0 * sizes.body * prompt + sizes.attention * _triangle(prompt)


def decoding(sizes: Sizes, groups: Sequence[tuple[int, Sequence[int]]], width: int) -> list[tuple[float, float]]:
    """Operations and bytes of each step in which every answer that has not ended grows by a token, all at once.

    A step reads every weight once, the keys and values of each prompt once for all its answers, and those of each
    answer. The last token of an answer does not pass the backbone; the first comes of the prompt's last hidden state.

    Args: groups, of each prompt its tokens and those of its answers; width, bytes of a number.
    """
    head = sizes.head[0] * sizes.head[1]
    found: list[tuple[float, float]] = []
    for said in range(max((length for _, lengths in groups for length in lengths), default=0)):
        going = [(prompt, sum(length > said for length in lengths)) for prompt, lengths in groups]
        active = sum(count for _, count in going)
        operations, read = 2.0 * head * active, float(head)
        if said:
            joined = sum(count * (prompt + said) for prompt, count in going)
            operations += 2.0 * sizes.body * active + sizes.attention * joined
            read += sizes.body + sizes.kept * sum(prompt + count * said for prompt, count in going if count)
        found.append((operations, width * read))
    return found


def _joined(document: Document) -> int:
    """Pairs of tokens of which the later sees the earlier, itself included."""
    root = len(document.ids)
    return _triangle(root) + sum(root * len(branch) + _triangle(len(branch)) for branch in document.branches)


def _triangle(count: int) -> int:
    return count * (count + 1) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was measured of it."""

    operations: float
    """A second, in matrix products of the model's own shapes and number format."""
    bandwidth: float
    """Bytes a second between memory and processor."""

    def seconds(self, operations: float, trained: int) -> float:
        """The floor of one step."""
        return operations / self.operations + OPTIMIZER_BYTES * trained / self.bandwidth


def measure(sizes: Sizes, rows: int, head_rows: int, like: Tensor) -> Machine:
    """`rows`: tokens of a micro-batch; `head_rows`: those that the LM head turns into logits at once. `like` says on
    which device and in which number format.
    """
    return Machine(operations=operations_rate(sizes, rows, head_rows, like), bandwidth=_bandwidth(like.device))


def operations_rate(sizes: Sizes, rows: int, head_rows: int, like: Tensor, *, backward: bool = True) -> float:
    """A second, over the model's mix of shapes; of each the forward product, and the two of the backward pass."""
    shapes = Counter((rows, *shape) for shape in sizes.layers)
    if sizes.head[0] and head_rows:
        shapes[head_rows, *sizes.head] += 1
    counted = sum(count * (6.0 if backward else 2.0) * m * o * i for (m, o, i), count in shapes.items())
    return counted / sum(count * _products_seconds(*shape, like, backward) for shape, count in shapes.items())


def _products_seconds(rows: int, outputs: int, inputs: int, like: Tensor, backward: bool) -> float:
    input_MI, gradient_MO, weight_OI = (
        torch.randn(shape, device=like.device).to(like.dtype)
        for shape in ((rows, inputs), (rows, outputs), (outputs, inputs))
    )
    products: tuple[Callable[[], Any], ...] = (
        lambda: F.linear(input_MI, weight_OI),
        lambda: gradient_MO @ weight_OI,
        lambda: gradient_MO.T @ input_MI,
    )
    return sum(_fastest(product, like.device) for product in products[: 3 if backward else 1])


def _bandwidth(device: torch.device) -> float:
    """Of a sum in place, which reads two numbers and writes one over one that it read."""
    sum_M, added_M = torch.ones(_BUFFER, device=device), torch.ones(_BUFFER, device=device)
    return 3 * 4 * _BUFFER / _fastest(lambda: sum_M.add_(added_M), device)


@torch.no_grad()
def _fastest(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the fastest of some repetitions, after one that does not count."""
    seconds: list[float] = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
