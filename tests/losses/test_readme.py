"""The README's examples of a large vocabulary train as the losses of all logits do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from squall.losses import squentropy_loss

README = Path(__file__).parents[2] / "README.md"
VOCABULARY = 300


def _examples() -> list[str]:
    text = README.read_text(encoding="utf-8")
    section = text.partition("### Large vocabularies")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def _example(word: str) -> str:
    (found,) = (example for example in _examples() if word in example)
    return found


def _run(example: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """The names of a namespace after an example ran in it."""
    exec(example, namespace)  # noqa: S102  (our own text)
    return namespace


def _ids(rows: int) -> Tensor:
    return torch.randint(VOCABULARY, (rows, 9), generator=torch.Generator().manual_seed(1))


def _body_and_head() -> tuple[torch.nn.Module, torch.nn.Linear]:
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Embedding(VOCABULARY, 16), torch.nn.Linear(16, 16))
    return body, torch.nn.Linear(16, VOCABULARY, bias=False)


def test_there_is_an_example_for_each_way_to_train() -> None:
    assert len(_examples()) == 3


def test_the_loop_steps_as_one_batch_of_all_logits_does() -> None:
    ids = _ids(12)
    labels = ids.clone()
    labels[::2, :4] = -100
    body, head = _body_and_head()
    optimiser = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.5)
    batches = list(zip(ids.split([2, 3, 7]), labels.split([2, 3, 7]), strict=True))
    _run(_example("optimiser.step"), locals())

    other_body, other_head = _body_and_head()
    logits = other_head(other_body(ids))[:, :-1]
    squentropy_loss(logits, labels[:, 1:], class_dim=-1).backward()
    for ours, other in zip(
        [*body.parameters(), head.weight],
        [*other_body.parameters(), other_head.weight],
        strict=True,
    ):
        assert other.grad is not None
        torch.testing.assert_close(ours.detach(), (other - 0.5 * other.grad).detach())


def _causal(kind: str) -> Any:
    import transformers

    torch.manual_seed(0)
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "GPT2":  # tied to its embedding
        dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = transformers.GPT2Config(
            n_embd=16, n_layer=1, n_head=2, n_positions=16, **dropout, **tokens
        )
        return transformers.GPT2LMHeadModel(config)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, **heads, **tokens))


def _losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_the_trainer_trains_as_with_all_logits(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", minversion="5")
    arguments = transformers.TrainingArguments(
        str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=3, max_steps=4,
        learning_rate=1e-2, logging_steps=1, use_cpu=True, seed=0, save_strategy="no",
        report_to=[], disable_tqdm=True,
    )  # fmt: skip
    rows = [
        {"input_ids": ids, "labels": [-100] * (number % 4) + ids[number % 4 :]}
        for number, ids in enumerate(_ids(24).tolist())
    ]
    made: list[int] = []

    def squentropy(outputs: Any, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
        loss = squentropy_loss(outputs.logits[:, :-1], labels[:, 1:], class_dim=-1, reduction="sum")
        return loss / num_items_in_batch

    model = _causal(kind)
    plain = transformers.Trainer(
        model, arguments, train_dataset=rows, compute_loss_func=squentropy,
        data_collator=transformers.default_data_collator,
    )  # fmt: skip
    plain.train()
    model = _causal(kind)
    model.lm_head.register_forward_hook(lambda *args: made.append(args[-1].shape[1]))
    given = {"model": model, "arguments": arguments, "rows": rows}
    fused = _run(_example("transformers"), given)["trainer"]

    assert _losses(plain)[-1] < _losses(plain)[0]
    assert _losses(fused) == pytest.approx(_losses(plain), rel=1e-5)
    assert made == [1] * 12  # steps x accumulated batches, in each the logits of one position


@pytest.mark.slow
def test_the_lightning_module_trains(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    ids = _ids(8)
    body, head = _body_and_head()
    model = _run(_example("lightning"), {})["LanguageModel"](body, head)

    def of_logits() -> float:
        with torch.no_grad():
            logits = head(body(ids))[:, :-1]
            return float(squentropy_loss(logits, ids[:, 1:], class_dim=-1))

    before = of_logits()
    assert float(model.training_step(ids).detach()) == pytest.approx(before, rel=1e-5)
    trainer = lightning.Trainer(
        max_epochs=20, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, torch.utils.data.DataLoader(ids, batch_size=4))
    assert of_logits() < before - 0.1
