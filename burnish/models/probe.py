"""What can be said of an architecture only when the model itself has tried it: whether it can be fed packed trees, and
how far its layers look. Knows one small tree.

transformers hands our attention to most decoders; some drop the argument without a word, never call the function, or
carry a state from token to token. So a small forest is run three ways: packed, packed with one branch and one document
changed (what does not see them must not move by one bit), and every path alone with the architecture's own attention
(which must agree to rounding).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from burnish.batches import Batch, Document, pack
from burnish.errors import ModelError, out_of_memory
from burnish.models.attention import NAME, DenseAttention, Rule, TreeAttention
from burnish.models.forward import Layout, Trainable
from burnish.models.layers import decoder_layers
from burnish.models.quiet import quiet

OWN = "sdpa"
"""The attention that a model has without us; all decoders of transformers have it or `eager`."""
_TOLERANCE = 1e-3
"""Largest difference of hidden states in fp32, as a share of their largest value. A wrong mask gives 0.3 and more."""

ROUTED = 1e-5
"""How far rounding moves what must not move where tokens are sent to experts, as a share of the largest value. A token
seen that must not be gives a hundredth and more; what is less is caught by comparing with separate runs."""


def probe(module: Trainable) -> tuple[Layout, str]:
    """The layout that is right for this architecture, and why where it is not TREE. Leaves the module as it was.

    Whether it hands attention on is asked with the attention that needs no compiler.
    """
    forests = [_forest(branch=5, document=7), _forest(branch=6, document=8)]
    with _still(module):
        try:
            tree_TC, moved_TC = (module.hidden(forest, TreeAttention(forest)) for forest in forests)
        except (ModelError, TypeError, ValueError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            return Layout.ROWS, _reason(f"it refuses trees ({str(error)[:200]})")
        with one_at_a_time(module):
            rows_TC = module.hidden(forests[0])
    return judge(tree_TC, moved_TC, rows_TC, routed=routed(module))


def judge(tree_TC: Tensor, moved_TC: Tensor, rows_TC: Tensor, *, routed: bool = False) -> tuple[Layout, str]:
    """Compare the three runs over the tokens of the forest. See `_forest` for which tokens see which."""
    slack = ROUTED * float(tree_TC.float().abs().max()) if routed else 0.0
    if not bool((tree_TC - moved_TC)[:_FIRST_BRANCH_END].abs().max() <= slack):
        return Layout.ROWS, _reason("a changed branch or document moves tokens that must not see it")
    difference = float((tree_TC.float() - rows_TC.float()).abs().max() / rows_TC.float().abs().max())
    if not difference <= _TOLERANCE:
        return Layout.ROWS, _reason(f"packed and separate runs differ by {difference:.2g}")
    return Layout.TREE, ""


def routed(module: Trainable) -> bool:
    """Whether tokens are sent to experts.

    Then other tokens decide how many rows stand in an expert's product of matrices, and so how it rounds: what must not
    move can move by the last bits.
    """
    backbone: Any = module.backbone
    stated: dict[str, Any] = backbone.config.to_dict()
    return any("expert" in name and type(value) is int and value > 1 for name, value in stated.items())


@torch.no_grad()
def near_ties(module: Trainable, ids: Sequence[int]) -> Tensor:
    """At which tokens of a sequence rounding may choose other experts: in some layer, the last that is chosen and the
    first that is not have nearly the same score (`ROUTED`). Shape T."""
    with _Choices(len(ids)) as seen:
        module.hidden(pack([Document(row="", ids=ids)]))
    return seen.near_T


class _Choices(TorchDispatchMode):
    """Looks on while experts are chosen: every router of transformers takes the best scores by torch's `topk`."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.near_T = torch.zeros(tokens, dtype=torch.bool)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.topk.default and args[1] < args[0].shape[-1]:
            best = args[0].topk(args[1] + 1).values
            near = best[..., -2] - best[..., -1] < ROUTED * best[..., 0].abs()
            self.near_T |= near.reshape(self.near_T.numel(), -1).any(-1).cpu()  # also where groups are chosen first
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def windows(module: Trainable) -> list[int]:
    """How far layers look that do not look all the way back, in tokens, the shortest first: each layer is asked.

    None of an architecture that takes one sequence at a time: its attention is its own.
    """
    found: set[int | None] = {None}
    batch = pack([Document(row="", ids=[1])])
    dense = DenseAttention(batch)

    def noting(layer: int, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        found.add(rule.window)
        return dense(layer, q, k, v, rule)

    if module.layout is Layout.TREE:
        module.hidden(batch, noting)
    return sorted(window for window in found if window is not None)


_FIRST_BRANCH_END = 4 + 3


def _forest(*, branch: int, document: int) -> Batch:
    """A prompt of 4 with two branches of 3, and a document of 4; `branch` begins the second branch, `document` that."""
    first = Document(row="first", ids=[1, 2, 3, 4], branches=[[5, 6, 7], [branch, 9, 10]])
    second = Document(row="second", ids=[document, 3, 2, 1], weights=[1.0] * 4)
    return pack([first, second])


@contextmanager
def one_at_a_time(module: Trainable) -> Generator[None]:
    """Inside, every sequence passes the model alone, with the attention that came with the architecture."""
    backbone: Any = module.backbone
    layout = module.layout
    module.layout = Layout.ROWS
    use_own_attention(module)
    try:
        yield
    finally:
        module.layout = layout
        if layout is Layout.TREE:
            with quiet():
                backbone.set_attn_implementation(NAME)


def use_own_attention(module: Trainable) -> None:
    """Give the backbone the attention that came with it.

    Architectures that take no attention function (bloom) ignore the setter, but their masks go by the configuration:
    under our name they would get none, and see what comes after.
    """
    backbone: Any = module.backbone
    own = OWN if backbone._supports_sdpa else "eager"
    with quiet():
        backbone.set_attn_implementation(own)
    backbone.config._attn_implementation = own


@contextmanager
def _still(module: Trainable) -> Generator[None]:
    """No dropout, no gradient and hidden states by fp32 weights inside; mode and weights are put back."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), _in_fp32(module):
            yield
    finally:
        module.train(training)


@contextmanager
def _in_fp32(module: Trainable) -> Generator[None]:
    """In bfloat16 two right kernels can differ by most of a hidden state's range at a token that draws all attention.

    A decoder layer's weights are fp32 while it is called, so that there is never a second whole model: what a device
    just holds could not be tried otherwise. Of embeddings the rows that were looked up become fp32. Where no decoder
    layers are found, all weights do at once.
    """
    try:
        layers = list(decoder_layers(module))
    except ModelError:
        layers = []
    within = {part for layer in layers for part in layer.modules()}
    others = [part for part in module.backbone.modules() if part not in within]
    tables = [part for part in others if isinstance(part, nn.Embedding)]
    with ExitStack() as undone:
        for table in tables:
            undone.callback(table.register_forward_hook(_widened).remove)
        for layer in layers:
            wide = _Wide(layer.modules())
            undone.callback(wide.off)
            undone.callback(layer.register_forward_pre_hook(wide.on).remove)
            undone.callback(layer.register_forward_hook(wide.off).remove)
        rest = _Wide(part for part in others if part not in tables)
        undone.callback(rest.off)
        rest.on()
        yield


def _widened(_table: nn.Module, _inputs: object, rows: Tensor) -> Tensor:
    return rows.float()


class _Wide:
    """Weights of 16 bits that modules have of their own, not by parts: fp32 copies stand in their place from `on` to
    `off`."""

    def __init__(self, modules: Iterable[Any]) -> None:
        self._narrow = [
            (part._parameters, name, weight)
            for part in modules
            for name, weight in part.named_parameters(recurse=False)
            if weight.dtype in (torch.bfloat16, torch.float16)
        ]

    def on(self, *_: Any) -> None:
        for own, name, weight in self._narrow:
            own[name] = weight.float()

    def off(self, *_: Any) -> None:
        for own, name, weight in self._narrow:
            own[name] = weight


def _reason(found: str) -> str:
    return f"this architecture is trained one sequence at a time, which is slower: {found}"
