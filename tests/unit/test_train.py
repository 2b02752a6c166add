"""The training loop: budgets, schedules, checkpoints that resume exactly, and failures."""

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.errors import UserError
from distill.networks import Encoder
from distill.training.history import Outcome, Window
from distill.training.loop import TrainingFailedError, make_accelerator, train
from distill.training.losses import mse
from distill.training.recipes import LossWeights, Recipe, Terms
from distill.training.settings import Settings

pytestmark = pytest.mark.numerical

SETTINGS = Settings(steps=40, batch=2, learning_rate=1e-2, schedule="cosine", warmup=0.1)


class Toy(Recipe):
    """Learns to invert images with a 1x1 convolution."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        super().__init__(Encoder("vgg16", (8,), 1), nn.Conv2d(3, 3, 1), LossWeights())

    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        return {"pixel": self.weights.pixel * mse(self.trainable(content), 1 - content)}

    def sample(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        return self.trainable(content)


def random_batches(
    *, start: int, batch: int, seed: int, rank: int, processes: int
) -> Iterator[tuple[Tensor, None]]:
    for step in itertools.count(start):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        yield torch.randint(0, 256, (batch, 3, 8, 8), generator=generator).to(torch.uint8), None


def run(folder: Path, settings: Settings = SETTINGS, batches=random_batches, **options) -> Outcome:
    options = {"log_every": 5, "checkpoint_every": 10, "recipe": Toy()} | options
    return train(
        options.pop("recipe"),
        batches,
        settings,
        folder,
        accelerator=make_accelerator("cpu"),
        **options,
    )


def stopping_at(step: int):
    """Batches that break off like a killed process."""

    def stream(**options) -> Iterator[tuple[Tensor, None]]:
        for index, batch in enumerate(random_batches(**options), start=options["start"]):
            if index == step:
                raise KeyboardInterrupt
            yield batch

    return stream


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, parts = Toy(), Toy()
    uninterrupted = run(tmp_path / "whole", recipe=whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", batches=stopping_at(27), recipe=parts)
    parts = Toy()
    resumed = run(tmp_path / "parts", recipe=parts, resume=True)
    assert torch.equal(whole.trainable.weight, parts.trainable.weight)
    assert torch.equal(whole.trainable.bias, parts.trainable.bias)
    assert [w.terms for w in resumed.windows] == [w.terms for w in uninterrupted.windows]
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts")]
    assert [len(log) for log in logs] == [9, 9]


def test_it_learns_and_counts(tmp_path: Path) -> None:
    outcome = run(tmp_path, replace(SETTINGS, steps=400, learning_rate=3e-2))
    assert (outcome.steps, outcome.images) == (400, 800)
    assert outcome.windows[-1].loss < 0.02 * outcome.windows[0].loss
    assert outcome.final_terms()["pixel"] < 0.02 * outcome.windows[0].loss


def test_budget_in_minutes_ends(tmp_path: Path) -> None:
    outcome = run(tmp_path, replace(SETTINGS, steps=None, minutes=0.005))
    assert outcome.seconds >= 0.3
    assert outcome.steps > 0
    assert (tmp_path / "checkpoint.pt").is_file()


def test_finished_training_is_not_prolonged_by_the_same_budget(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    outcome = run(tmp_path, resume=True)
    assert outcome.steps == 40
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_not_a_number_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    recipe = Failing(after=27, factor=float("nan"))
    with pytest.raises(TrainingFailedError, match=r"step 30: pixel is not a finite.*last good"):
        run(tmp_path, recipe=recipe)
    assert kept_steps(tmp_path) == 20
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(value.isfinite().all() for value in kept["trainable"].values())


class Failing(Toy):
    """Its loss is multiplied from a step on."""

    def __init__(self, after: int, factor: float) -> None:
        super().__init__()
        self.after, self.factor, self.steps = after, factor, 0

    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        self.steps += 1
        terms = super().forward(content)
        return {"pixel": terms["pixel"] * (self.factor if self.steps > self.after else 1)}


def kept_steps(folder: Path) -> int:
    (checkpoint,) = folder.glob("checkpoint*")
    return int(torch.load(checkpoint, weights_only=True)["outcome"]["steps"])


@pytest.mark.parametrize(("after", "kept"), [(16, 10), (22, 10), (27, 20), (31, 20), (37, 30)])
def test_divergence_stops_and_keeps_what_was_good_for_a_window(
    tmp_path: Path, after: int, kept: int
) -> None:
    with pytest.raises(TrainingFailedError, match=r"diverged at step \d+: .*last good"):
        run(tmp_path, recipe=Failing(after, 1000))
    assert kept_steps(tmp_path) == kept


@pytest.mark.parametrize("after", [7, 12])
def test_without_a_good_state_none_is_kept(tmp_path: Path, after: int) -> None:
    """At step 10 there was a checkpoint; the window after it ran away."""
    with pytest.raises(TrainingFailedError, match=r"diverged .*no checkpoint was saved yet"):
        run(tmp_path, recipe=Failing(after, 1000))
    assert not list(tmp_path.glob("checkpoint*"))


def test_what_another_training_left_is_not_called_the_last_good_state(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(TrainingFailedError, match="no checkpoint was saved yet"):
        run(tmp_path, recipe=Failing(7, 1000))
    assert kept_steps(tmp_path) == 40


def test_the_last_update_is_looked_at_too(tmp_path: Path) -> None:
    """No window would show it; 1e18 is finite, and so is its square."""
    one = replace(SETTINGS, schedule="constant", warmup=0.0, learning_rate=1e18)
    with pytest.raises(TrainingFailedError, match="diverged at step 1, its last"):
        run(tmp_path, replace(one, steps=1))
    assert not list(tmp_path.glob("checkpoint*"))


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    class Poisoned(Toy):
        def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
            terms = super().forward(content)
            if self.trainable.weight.grad is None:
                self.trainable.weight.register_hook(lambda gradient: gradient * float("inf"))
            return terms

    with pytest.raises(TrainingFailedError, match=r"step 1: the updated weights"):
        run(tmp_path, replace(SETTINGS, steps=1), recipe=Poisoned())
    assert not list(tmp_path.glob("checkpoint*"))


def test_from_the_last_good_state_on_another_rate_and_clip(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match=r"--resume and a --learning-rate below 0\.01"):
        run(tmp_path, recipe=Failing(27, 1000))
    notes: list[str] = []
    lower = replace(SETTINGS, learning_rate=1e-3, clip=1.0)
    outcome = run(tmp_path, lower, resume=True, note=notes.append)
    assert (outcome.steps, kept_steps(tmp_path)) == (40, 40)
    rates = [window.rate for window in outcome.windows]
    assert max(rates[:4]) > 5e-3
    assert max(rates[4:]) < 1e-3
    (note,) = notes
    assert "from step 20 with learning_rate 0.01 then, 0.001 now; clip None then, 1.0 now" in note


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    run(tmp_path, batches=random_batches, identity={"compressor": "scratch", "data": "a"})
    again = {"compressor": "pruned", "data": "a"}
    with pytest.raises(UserError, match=r"\(compressor scratch then, pruned now\); give the same"):
        run(tmp_path, identity=again, resume=True)


def test_a_checkpoint_of_another_shape_is_one_clear_line(tmp_path: Path) -> None:
    """Of an older version, which did not say what it was trained on."""
    run(tmp_path)
    path = tmp_path / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    del content["identity"]
    torch.save(content, path)
    wider = Toy()
    wider.trainable = nn.Conv2d(3, 3, 3)
    with pytest.raises(UserError, match=r"checkpoint\.pt: does not fit the network"):
        run(tmp_path, recipe=wider, resume=True)


def test_other_settings_do_not_resume(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match=r"seed 0 then, 1 now.*another --out"):
        run(tmp_path, replace(SETTINGS, seed=1), resume=True)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_broken_checkpoint_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be resumed"):
        run(tmp_path, resume=True)


class Interrupting(Toy):
    """Sends its process a signal in the middle of a step."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__()
        self.step, self.number, self.steps = step, number, 0

    def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
        self.steps += 1
        if self.steps == self.step:
            os.kill(os.getpid(), self.number)
        return super().forward(content)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", [3, 27, 30])
def test_a_request_to_end_keeps_the_state_of_that_step(
    tmp_path: Path, step: int, number: int
) -> None:
    """Within a window, too: what follows is as if it had never stopped."""
    whole, parts = Toy(), Toy()
    uninterrupted = run(tmp_path / "whole", recipe=whole)
    notes: list[str] = []
    before = signal.signal(number, signal.SIG_DFL)  # under nohup one of them is ignored, as asked
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", recipe=Interrupting(step, number), note=notes.append)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    state = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert state["outcome"]["steps"] == step
    assert f"asked to end at step {step}: " in notes[0]
    resumed = run(tmp_path / "parts", recipe=parts, resume=True)
    assert torch.equal(whole.trainable.weight, parts.trainable.weight)
    assert [w.terms for w in resumed.windows] == [w.terms for w in uninterrupted.windows]
    assert not (tmp_path / "parts" / "checkpoint-before.pt").exists()


@pytest.mark.parametrize("step", [23, 25])
def test_images_that_fail_cost_no_step(tmp_path: Path, step: int) -> None:
    """Such as one that cannot be read, or a process that decodes them and is killed."""

    def failing(**options) -> Iterator[tuple[Tensor, None]]:
        yield from itertools.islice(random_batches(**options), step)
        raise UserError("photo.jpg: cannot be read")

    whole, parts = Toy(), Toy()
    run(tmp_path / "whole", recipe=whole)
    with pytest.raises(UserError, match="photo"):
        run(tmp_path / "parts", batches=failing)
    state = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert state["outcome"]["steps"] == step
    run(tmp_path / "parts", recipe=parts, resume=True)
    assert torch.equal(whole.trainable.weight, parts.trainable.weight)


def test_a_request_to_end_keeps_no_state_that_has_run_away(tmp_path: Path) -> None:
    class Both(Interrupting):
        def forward(self, content: Tensor, style: Tensor | None = None) -> Terms:
            terms = super().forward(content)
            return {"pixel": terms["pixel"] * (1e4 if self.steps > 20 else 1)}

    with pytest.raises(TrainingFailedError, match="diverged at step 23"):
        run(tmp_path, recipe=Both(23, signal.SIGINT))
    assert kept_steps(tmp_path) == 10  # no window after 20 had shown that it was good


def test_divergence_in_the_first_window_is_one(tmp_path: Path) -> None:
    """Measured by the first step's loss: there is no earlier window."""
    wild = replace(SETTINGS, learning_rate=300.0, schedule="constant", warmup=0.0)
    with pytest.raises(TrainingFailedError, match="diverged at step 5"):
        run(tmp_path, wild)
    assert not list(tmp_path.glob("checkpoint*"))


def test_the_log_has_a_line_as_soon_as_a_window_has_passed(tmp_path: Path) -> None:
    lines = []

    def count(_: Window) -> None:
        lines.append(len((tmp_path / "log.csv").read_text().splitlines()))

    run(tmp_path, report=count, checkpoint_every=1000)
    assert lines == list(range(2, 10))
    run(tmp_path, replace(SETTINGS, steps=50), resume=True)
    steps = [line.partition(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert steps == ["step", *map(str, range(5, 51, 5))]


def test_more_steps_go_on_from_the_end(tmp_path: Path) -> None:
    constant = replace(SETTINGS, schedule="constant", warmup=0.0)
    whole, parts = Toy(), Toy()
    run(tmp_path / "whole", replace(constant, steps=67), recipe=whole)
    run(tmp_path / "parts", replace(constant, steps=33))
    notes: list[str] = []
    more = replace(constant, steps=67)
    outcome = run(tmp_path / "parts", more, recipe=parts, resume=True, note=notes.append)
    assert outcome.steps == 67
    assert "goes on from step 33 with steps 33 then, 67 now" in notes[0]
    assert torch.equal(whole.trainable.weight, parts.trainable.weight)
    # The short window at the first end counts as what it is.
    assert [window.step for window in outcome.windows][5:9] == [30, 33, 35, 40]


def test_an_encoder_that_went_on_lets_its_decoder_go_on(tmp_path: Path) -> None:
    """A decoder in the middle of its budget stays with its own."""
    run(tmp_path, identity={"encoder": "a"})
    more = replace(SETTINGS, steps=60)
    notes: list[str] = []
    run(tmp_path, more, resume=True, identity={"encoder": "b"}, note=notes.append)
    assert "encoder a then, b now" in notes[0]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "x", recipe=Interrupting(7, signal.SIGINT), identity={"encoder": "a"})
    with pytest.raises(UserError, match="encoder a then, b now"):
        run(tmp_path / "x", more, resume=True, identity={"encoder": "b"})


def test_the_loss_on_held_out_images_is_in_log_and_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe, black = Toy(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    white = torch.full_like(black, 255)
    held_out = [(black, None), (white, None)]
    outcome = run(tmp_path, recipe=recipe, held_out=held_out, tensorboard=True)
    assert [bool(window.held_out) for window in outcome.windows] == [False, True] * 4
    with torch.no_grad():
        right = [recipe(images.float() / 255)["pixel"] for images, _ in held_out]
    measured = outcome.windows[-1].held_out["pixel"]
    assert measured == pytest.approx(float(sum(right)) / 2, rel=1e-5)
    log = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert log[0][-1] == "held_out_loss"
    assert [line[-1] == "" for line in log[1:]] == [True, False] * 4
    assert float(log[-1][-1]) == pytest.approx(measured, rel=1e-4)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("held-out loss")] == [10, 20, 30, 40]


def test_tensorboard_shows_given_above_made_and_nothing_twice(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=stopping_at(27), tensorboard=True)
    run(tmp_path, resume=True, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for tag in ("loss", "learning rate", "images per second"):
        assert [event.step for event in events.Scalars(tag)] == list(range(5, 41, 5))
    (tag,) = events.Tags()["images"]
    pictures = events.Images(tag)
    assert [event.step for event in pictures] == [10, 20, 30, 40]
    assert {(picture.width, picture.height) for picture in pictures} == {(16, 16)}  # 2 x 2 of 8x8


def test_tensorboard_files_hold_curves_and_samples(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "loss/pixel" in events.Tags()["scalars"]
    assert [event.step for event in events.Scalars("loss")] == list(range(5, 41, 5))
    assert events.Tags()["images"] != []


def test_loss_weights_replace_the_recipes_own(tmp_path: Path) -> None:
    recipe = Toy()
    before = recipe.trainable.weight.detach().clone()
    outcome = run(tmp_path, replace(SETTINGS, loss_weights={"pixel": 0.0}), recipe=recipe)
    assert outcome.final_terms() == {"pixel": 0.0}
    assert torch.equal(recipe.trainable.weight, before)
    with pytest.raises(UserError, match="loss_weights"):
        run(tmp_path, SETTINGS, resume=True)


def test_a_checkpoint_from_before_a_setting_was_had_its_default(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=stopping_at(20))
    path = tmp_path / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    del content["settings"]["loss_weights"], content["identity"]
    torch.save(content, path)
    notes: list[str] = []
    now = {"compressor": "pruned"}
    outcome = run(tmp_path, resume=True, identity=now, note=notes.append)
    assert outcome.steps == SETTINGS.steps
    assert "cannot say what it was trained on" in notes[0]


def test_schedules() -> None:
    cosine = [SETTINGS.rate(p / 100) for p in range(101)]
    assert max(cosine) == pytest.approx(1e-2)
    assert cosine[5] == pytest.approx(5e-3)
    assert cosine[-1] == pytest.approx(1e-4)
    assert cosine[10:] == sorted(cosine[10:], reverse=True)
    constant = replace(SETTINGS, schedule="constant", warmup=0.0)
    assert {constant.rate(p / 10) for p in range(11)} == {1e-2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 1.0},
        {"steps": None},
        {"steps": 0},
        {"batch": 0},
        {"learning_rate": float("nan")},
        {"warmup": 1.0},
        {"weight_decay": -1.0},
        {"weight_decay": float("inf")},
        {"clip": 0.0},
        {"loss_weights": {"pixel": -1.0}},
        {"loss_weights": {"pixel": float("nan")}},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        replace(SETTINGS, **wrong)


def test_bfloat16_keeps_float32_weights(tmp_path: Path) -> None:
    recipe = Toy()

    def cast(content: Tensor, style: Tensor | None = None) -> Terms:
        assert content.dtype == torch.bfloat16
        layer = recipe.trainable
        made = nn.functional.conv2d(content, layer.weight.bfloat16(), layer.bias.bfloat16())
        return {"pixel": mse(made, 1 - content)}

    recipe.forward = cast
    run(tmp_path, replace(SETTINGS, precision="bf16"), recipe=recipe)
    assert recipe.trainable.weight.dtype == torch.float32
    assert recipe.loss_network.conv0.weight.dtype == torch.bfloat16
