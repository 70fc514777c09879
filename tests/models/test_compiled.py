"""Compiled formulas: values at points worked out by hand and beside torch's own, written-out derivatives against
autograd's, and code that depends on a kind of tensors alone: not on how many rows came first, nor on what was asked of
them.

Suffixes as in `burnish.models.compiled`; the first call of a kind compiles, so widths are few.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from compiling import OF_THE_COMPILER, compile_here
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn import functional
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from burnish.errors import MachineError
from burnish.losses import tokens
from burnish.models import arithmetic, compiled
from burnish.models.compiled import _FEW, _Gate, _gelu, _norm, _Rotation, _silu, target_logprobs

pytestmark = OF_THE_COMPILER
WIDTH, VOCABULARY, MANY = 8, 24, 40
Function = Callable[..., Tensor]
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
formats = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
amounts = pytest.mark.parametrize("rows", [3, MANY])


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_here(monkeypatch)


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def gradients(function: Function, given: Sequence[Tensor], upstream: Tensor) -> list[Tensor]:
    """The result, and the gradient of each tensor of floats."""
    learned = [each.detach().clone().requires_grad_(each.is_floating_point()) for each in given]
    found = function(*learned)
    return [found.detach(), *torch.autograd.grad(found, [each for each in learned if each.requires_grad], upstream)]


def alike(ours: Sequence[Tensor], theirs: Sequence[Tensor], dtype: torch.dtype) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype is other.dtype
        assert float((one - other).abs().max()) <= TOLERANCES[dtype] * float(other.abs().max())


def norm(x: Tensor, weight_C: Tensor) -> Tensor:
    return _norm(x, weight_C, eps=1e-5, offset=0.0, casting_mode="llama")


def gate(gate_RI: Tensor, up_RI: Tensor) -> Tensor:
    return _Gate.apply(_silu, gate_RI, up_RI)


def target(rows: int) -> Tensor:
    return torch.randint(VOCABULARY, (rows,), generator=torch.Generator().manual_seed(9))


@pytest.mark.usefixtures("compiler")
def test_a_norm_by_hand() -> None:
    """(3, 4, 0, 0) has a mean square of 25/4, so a root of 2.5; 2, 1, 1, 1 and 1 + those are the factors."""
    x_RC = torch.tensor([3.0, 4.0, 0.0, 0.0]).expand(_FEW, 4)
    weight_C = torch.tensor([2.0, 1.0, 1.0, 1.0])
    for offset, wanted in ((0.0, [2.4, 1.6, 0, 0]), (1.0, [3.6, 3.2, 0, 0])):
        for rows in (1, _FEW):
            found = _norm(x_RC[:rows], weight_C, eps=0.0, offset=offset, casting_mode="llama")
            torch.testing.assert_close(found, torch.tensor(wanted).expand(rows, 4))


@formats
@amounts
@pytest.mark.usefixtures("compiler")
def test_a_norm_is_torchs(dtype: torch.dtype, rows: int) -> None:
    given = [drawn(rows, WIDTH, dtype=dtype), drawn(WIDTH, seed=1, dtype=dtype)]
    upstream = drawn(rows, WIDTH, seed=2, dtype=dtype)

    def own(x_RC: Tensor, weight_C: Tensor) -> Tensor:
        return functional.rms_norm(x_RC.float(), (WIDTH,), weight_C.float(), 1e-5).to(dtype)

    alike(gradients(norm, given, upstream), gradients(own, given, upstream), dtype)


@pytest.mark.usefixtures("compiler")
def test_a_norm_that_is_not_learned_hands_on_the_same_gradient() -> None:
    x_RC, weight_C, upstream_RC = drawn(MANY, WIDTH), drawn(WIDTH, seed=1), drawn(MANY, WIDTH, seed=2)
    _, both, _ = gradients(norm, [x_RC, weight_C], upstream_RC)
    _, alone = gradients(partial(norm, weight_C=weight_C), [x_RC], upstream_RC)
    torch.testing.assert_close(alone, both)


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        (_silu, (1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-1)) * (1 + 1 / (1 + math.e)))),
        (_gelu, (0.8411920, 1.0829641)),
    ],
)
def test_an_activation_and_its_slope_by_hand(
    activation: Callable[[Tensor], tuple[Tensor, Tensor]], wanted: tuple[float, float]
) -> None:
    """At 1. σ(1) = 1/(1 + 1/e), and its slope σ(1) (1 + 1 - σ(1)). Of GELU, with u = √(2/π) · 1.044715 = 0.833560 and
    tanh u = 0.682384: ½ (1 + 0.682384), and that + ½ (1 - 0.682384²) √(2/π) · 1.134145."""
    assert [float(each) for each in activation(torch.tensor(1.0))] == pytest.approx(wanted, abs=1e-6)


@formats
@amounts
@pytest.mark.parametrize("activation", [_silu, _gelu])
@pytest.mark.usefixtures("compiler")
def test_a_gated_layer_is_torchs(activation: Function, dtype: torch.dtype, rows: int) -> None:
    if activation is _gelu and dtype is torch.bfloat16:
        pytest.skip("rounding is shared, and each kind takes seconds to compile")
    given = [drawn(rows, WIDTH, seed=seed, dtype=dtype) for seed in (0, 1)]
    upstream = drawn(rows, WIDTH, seed=2, dtype=dtype)
    theirs = functional.silu if activation is _silu else partial(functional.gelu, approximate="tanh")

    def own(gate_RI: Tensor, up_RI: Tensor) -> Tensor:
        return (theirs(gate_RI.float()) * up_RI.float()).to(dtype)

    alike(gradients(partial(_Gate.apply, activation), given, upstream), gradients(own, given, upstream), dtype)


@pytest.mark.usefixtures("compiler")
def test_halves_of_one_tensor_are_what_two_tensors_are() -> None:
    """Rows of a wider tensor, as the joint linear layer makes them, are read where they lie."""
    joint_RI, upstream_RI = drawn(MANY, 2 * WIDTH), drawn(MANY, WIDTH, seed=2)
    found, slope = gradients(lambda joint: gate(*joint.chunk(2, -1)), [joint_RI], upstream_RI)
    wanted, *slopes = gradients(gate, [each.contiguous() for each in joint_RI.chunk(2, -1)], upstream_RI)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(slope, torch.cat(slopes, -1))


@pytest.mark.usefixtures("compiler")
def test_a_gradient_without_memory_of_its_own() -> None:
    """That of a sum is one number, seen as all of them; of few rows and of many."""
    for function, given in ((norm, [drawn(MANY, WIDTH), drawn(WIDTH, seed=1)]), (gate, [drawn(MANY, WIDTH)] * 2)):
        dense = gradients(function, given, torch.ones(MANY, WIDTH))
        seen = gradients(lambda *each, f=function: f(*each).sum(), given, torch.tensor(1.0))
        assert all(torch.equal(a, b) for a, b in zip(seen[1:], dense[1:], strict=True))


def rotations(heads: bool, width: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """q of 4 and k of 2 heads over 10 positions of 2 sequences, in memory heads last or, as projections leave them,
    positions first; cos and sin of angles."""
    q, k = (drawn(2, 10, count, WIDTH, seed=count).transpose(1, 2) for count in (4, 2))
    if heads:
        q, k = q.contiguous(), k.contiguous()
    angles = drawn(1, 10, width // 2, seed=3).repeat(1, 1, 2)
    return [q, k], angles.cos(), angles.sin()


def both(rotation: Callable[..., tuple[Tensor, Tensor]], cos: Tensor, sin: Tensor) -> Function:
    """Queries and keys beside each other, for one result."""
    return lambda q, k: torch.cat([each.flatten() for each in rotation(q, k, cos, sin)])


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("heads", [False, True], ids=["positions first", "heads first"])
def test_a_rotation_is_transformers(heads: bool) -> None:
    given, cos, sin = rotations(heads, WIDTH)
    upstream = drawn(2 * 10 * 6 * WIDTH, seed=5)
    found = gradients(both(_Rotation.apply, cos, sin), given, upstream)
    alike(found, gradients(both(apply_rotary_pos_emb, cos, sin), given, upstream), torch.float32)
    few = [each[:1, :, :3] for each in given]
    for ours, theirs in zip(
        _Rotation.apply(*few, cos[:, :3], sin[:, :3]),
        apply_rotary_pos_emb(*few, cos[:, :3], sin[:, :3]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("compiler")
def test_what_is_not_turned_stays() -> None:
    """cos and sin of half the width: a quarter turn takes (a, b) to (-b, a)."""
    q = drawn(1, 1, _FEW, WIDTH)
    angle = torch.full((1, _FEW, WIDTH // 2), math.pi / 2)
    found, _ = _Rotation.apply(q, q, angle.cos(), angle.sin())
    a, b, rest = q.split([WIDTH // 4, WIDTH // 4, WIDTH // 2], -1)
    torch.testing.assert_close(found, torch.cat([-b, a, rest], -1))


@pytest.mark.usefixtures("compiler")
def test_a_likelihood_by_hand() -> None:
    """Of 0 and 23 times -∞ all is at the first; of 24 equal ones each has 1/24, and the target's slope is 23/24."""
    logits_NV = torch.zeros(_FEW, VOCABULARY)
    logits_NV[0, 1:] = -math.inf
    found_N, slope_NV = gradients(target_logprobs, [logits_NV, torch.zeros(_FEW, dtype=torch.long)], torch.ones(_FEW))
    assert found_N[0] == 0
    assert found_N[1:].tolist() == pytest.approx([-math.log(24)] * (_FEW - 1))
    assert slope_NV[0].tolist() == [0.0] * VOCABULARY
    assert slope_NV[1].tolist() == pytest.approx([23 / 24, *[-1 / 24] * 23])


@formats
@amounts
@pytest.mark.usefixtures("compiler")
def test_a_likelihood_is_that_of_the_losses(dtype: torch.dtype, rows: int) -> None:
    given = [3 * drawn(rows, VOCABULARY, dtype=dtype), target(rows)]
    upstream_N = drawn(rows, seed=2)
    ours, theirs = (gradients(each, given, upstream_N) for each in (target_logprobs, tokens.target_logprobs))
    alike(ours, theirs, dtype)
    alike(ours[:1], theirs[:1], torch.float32)


def cases(rows: int) -> dict[str, tuple[Function, list[Tensor]]]:
    return {
        "norm": (norm, [drawn(rows, WIDTH), drawn(WIDTH, seed=1)]),
        "gate": (gate, [drawn(rows, WIDTH), drawn(rows, WIDTH, seed=1)]),
        "likelihood": (target_logprobs, [drawn(rows, VOCABULARY), target(rows)]),
    }


@pytest.mark.parametrize("name", cases(1))
@pytest.mark.usefixtures("compiler")
def test_a_pass_without_gradients_has_the_same_bits(name: str) -> None:
    """Nor does it make code of its own, whatever is settled meanwhile."""
    function, given = cases(MANY)[name]
    wanted, *_ = gradients(function, given, torch.ones_like(function(*given)))
    made = counters["stats"]["unique_graphs"]
    with torch.no_grad():
        assert torch.equal(function(*given), wanted)
    with torch.inference_mode():
        assert torch.equal(function(*(each.clone() for each in given)), wanted)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(not before)
    try:
        assert torch.equal(function(*given), wanted)
    finally:
        torch.use_deterministic_algorithms(before)
    assert counters["stats"]["unique_graphs"] == made


@pytest.mark.parametrize("name", cases(1))
@pytest.mark.usefixtures("compiler")
def test_rows_are_in_no_code_and_which_came_first_is_in_no_bit(name: str) -> None:
    """Each time anew: another number first, and another width before. A run that is resumed begins with what it had
    not begun with."""
    found: list[list[Tensor]] = []
    for first in (MANY, _FEW, 1000):
        compiled._code.cache_clear()
        if first == 1000:
            narrow = drawn(MANY, WIDTH // 2)
            gradients(norm, [narrow, narrow[0]], narrow)
        function, given = cases(first)[name]
        gradients(function, given, torch.ones_like(function(*given)))
        made, graphs = compiled._code.cache_info().misses, counters["stats"]["unique_graphs"]
        function, given = cases(MANY)[name]
        found.append(gradients(function, given, torch.ones_like(function(*given))))
        assert compiled._code.cache_info().misses == made
        assert counters["stats"]["unique_graphs"] == graphs
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


def test_widths_are_in_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them do not make torch leave the width open: code would depend on what came before."""
    seen: list[torch.Size] = []
    compile_ = torch.compile

    def backend(graph: torch.fx.GraphModule, given: Sequence[object]) -> Callable[..., object]:
        found = [each.meta["example_value"] for each in graph.graph.find_nodes(op="placeholder")]
        seen.extend(each.shape for each in found if isinstance(each, Tensor))
        return graph.forward

    def watched(function: Function, **how: object) -> object:
        assert how.pop("options")
        return compile_(function, backend=backend, **how)

    monkeypatch.setattr(torch, "compile", watched)
    for width in (WIDTH, WIDTH // 2):
        kinds = (compiled._Kind(torch.Size([width]), width, torch.float32),)
        compiled._code.__wrapped__(compiled._twice, (), kinds, torch.device("cpu"), 1)
    assert [shape[1] for shape in seen] == [WIDTH, WIDTH // 2]
    assert all(isinstance(shape[0], torch.SymInt) and type(shape[1]) is int for shape in seen)


def test_rows_that_lie_far_apart_and_strided_vectors_are_copied() -> None:
    """How far could be the batch's own, and every batch would have code of its own."""
    dense = compiled._dense
    near, far = torch.zeros(4, 2 * WIDTH)[:, :WIDTH], torch.zeros(4, 100 * WIDTH)[:, :WIDTH]
    assert dense(near) is near
    assert dense(far).stride() == (WIDTH, 1)
    assert dense(torch.zeros(1, WIDTH).expand(4, -1)).stride() == (WIDTH, 1)
    assert dense(torch.zeros(2 * WIDTH)[::2]).stride() == (1,)


def test_where_there_is_no_compiler_the_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(arithmetic._chosen, "kernels", "torch")
    monkeypatch.setattr(arithmetic, "refusal", lambda place: "no g++")
    with pytest.raises(MachineError, match=r"kernels: compiled, which needs a C\+\+ compiler .*: no g\+\+") as raised:
        arithmetic.choose("cpu", "compiled")
    assert raised.value.problems[0].mend == "Try: apt install g++ python3-dev, or set kernels to torch."
    assert arithmetic.chosen_kernels() == "torch"


def test_a_real_machine_without_a_compiler(tmp_path: Path) -> None:
    code = """
from burnish.errors import MachineError
from burnish.models import arithmetic
try:
    arithmetic.choose("cpu", "compiled")
except MachineError as error:
    print(error)
"""
    environment = {
        **os.environ,
        "PATH": str(tmp_path),
        "CXX": "/nonexistent",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "code"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith(
        "kernels: compiled, which needs a C++ compiler and Python's headers: No working C++ compiler"
    )
    assert line.endswith("Try: apt install g++ python3-dev, or set kernels to torch.")
