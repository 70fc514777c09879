"""Reward models as others publish them: transformers' own class says the same of a whole conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Gemma2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen3Config,
)

from burnish.chat.render import Renderer
from burnish.chat.tokenizer import TEMPLATE
from burnish.errors import ModelError
from burnish.models.quiet import quiet
from burnish.models.sources import resolve, scorer_folder
from burnish.models.tiny import CHATML, tiny_tokenizer, write_tiny
from burnish.rewards.model import EnsembleReward, LearnedReward
from burnish.rewards.published import is_published, load_published
from burnish.types import Completion, Message, Prompt, Silent, Stop

# peft 0.21 asks transformers for a name that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
SIZES: dict[str, Any] = {
    "vocab_size": tiny_tokenizer().vocab_size,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 258,
}
BARE = CHATML.replace("<|im_end|>\n", "<|im_end|>")
"""Ends with the marker that ends an answer."""
OPEN = CHATML.replace("<|im_end|>\n", "\n")
"""Writes nothing special after an answer."""
TOLD = "<|im_start|>system\nYou are a strict judge.<|im_end|>\n" + CHATML
"""Says something before anybody speaks."""
ASKED = (Message(role="user", content="Where is it?"),)
SAID = ("It left us.", "No.", "Yes!")


def publish(
    folder: Path, config: PretrainedConfig, *, template: str = CHATML, labels: int = 1, dtype: str = "float32"
) -> Any:
    """A random model that scores, as transformers saves one, and its tokenizer."""
    config.num_labels = labels
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(config).to(getattr(torch, dtype)).eval()
    model.save_pretrained(folder)
    tiny_tokenizer().save(folder)
    (folder / TEMPLATE).write_text(template)
    return model


def theirs(folder: Path, text: str) -> float:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    turns = [each.as_json() for each in (*ASKED, Message(role="assistant", content=text))]
    ids = tokenizer.apply_chat_template(turns, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        return float(model.eval()(input_ids=ids).logits)


def ours(folder: Path) -> list[float]:
    model, ids = load_published(folder, torch.float32)
    reward = LearnedReward(scorer=EnsembleReward((model,)), ids=ids, micro_tokens=512, anew=True)
    prompts = [Prompt(id="a", messages=ASKED)] * len(SAID)
    said = [Completion(text=text, stop=Stop.EOS, ids=(3, 4)) for text in SAID]  # another tokenizer's ids
    return [float(score) for score in reward.score(prompts, said).scores]


@pytest.mark.parametrize("pad_id", [None, 256, 258], ids=["no-pad", "pad", "pad-is-the-end"])
@pytest.mark.parametrize("template", [CHATML, BARE, OPEN, TOLD], ids=["chatml", "bare", "open", "told"])
def test_a_score_is_read_where_transformers_reads_it(template: str, pad_id: int | None, tmp_path: Path) -> None:
    publish(tmp_path / "rm", LlamaConfig(**SIZES, pad_token_id=pad_id), template=template)
    assert ours(tmp_path / "rm") == pytest.approx([theirs(tmp_path / "rm", text) for text in SAID], abs=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        Qwen3Config(**SIZES, tie_word_embeddings=True, pad_token_id=256),
        Gemma2Config(**SIZES, sliding_window=5, query_pre_attn_scalar=8, pad_token_id=256),
    ],
    ids=["qwen3", "gemma2"],
)
def test_of_other_families_and_in_bfloat16(config: PretrainedConfig, tmp_path: Path) -> None:
    publish(tmp_path / "rm", config, dtype="bfloat16")
    assert ours(tmp_path / "rm") == pytest.approx([theirs(tmp_path / "rm", text) for text in SAID], abs=1e-4)


def test_scores_are_not_all_the_same(tmp_path: Path) -> None:
    publish(tmp_path / "rm", LlamaConfig(**SIZES, pad_token_id=256))
    assert len({round(score, 3) for score in ours(tmp_path / "rm")}) == len(SAID)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architectures": ["LlamaForRewardModelWithGating"]}, "LlamaForRewardModelWithGating is code of its own"),
        (
            {"architectures": ["DebertaV2ForSequenceClassification"], "model_type": "deberta-v2"},
            "no score at a decoder's",
        ),
        ({"id2label": {"0": "bad", "1": "good"}}, r"tells 2 classes apart \(bad, good\): which of them is good"),
    ],
)
def test_what_gives_no_score_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    publish(tmp_path / "rm", LlamaConfig(**SIZES))
    path = tmp_path / "rm" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))
    assert is_published(tmp_path / "rm")
    with pytest.raises(ModelError, match=rf"{says}.*function of yours"):
        load_published(tmp_path / "rm", torch.float32)


def test_it_is_no_model_that_answers(tmp_path: Path) -> None:
    publish(tmp_path / "rm", LlamaConfig(**SIZES))
    with pytest.raises(ModelError, match="a reward model, which scores and does not answer"):
        resolve("rm", tmp_path, Silent())


def test_an_adapter_that_scores_is_merged_into_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As TRL's trainer leaves it: the head saved whole, the tokenizer beside it, what was padded with from there."""
    monkeypatch.setenv("BURNISH_CACHE", str(tmp_path / "cache"))
    base = write_tiny(tmp_path / "base")
    torch.manual_seed(1)
    with quiet():  # of the head, which the base lacks
        model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        model.config.pad_token_id = tiny_tokenizer().pad_id
        model = get_peft_model(model, PeftConfig(r=2, task_type="SEQ_CLS", target_modules=["q_proj", "up_proj"]))
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(tmp_path / "adapter")
    tiny_tokenizer().save(tmp_path / "adapter")
    turns = [(*ASKED, Message(role="assistant", content=text)) for text in SAID]
    renderer = Renderer(tiny_tokenizer())
    with torch.no_grad():
        theirs = [float(model.eval()(input_ids=torch.tensor([renderer.example(each).ids])).logits) for each in turns]
    folder = scorer_folder("adapter", tmp_path, Silent())
    assert ours(folder) == pytest.approx(theirs, abs=1e-5)
    assert scorer_folder("adapter", tmp_path, Silent()) == folder
    with pytest.raises(ModelError, match="scores and does not answer"):
        resolve("adapter", tmp_path, Silent())


def test_an_adapter_that_answers_scores_nothing(tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(write_tiny(tmp_path / "base"))
    model = get_peft_model(base, PeftConfig(task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match="an adapter of a model that answers"):
        scorer_folder("adapter", tmp_path, Silent())
