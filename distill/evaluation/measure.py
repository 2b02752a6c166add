"""Measure compressed models against their teacher on pictures none of them was trained on.

What is computed of each model, on images of ``size x size`` pixels (see :func:`square`):

- reconstruction PSNR of each stage, ``decoder(encoder(x))`` clamped to 0..1, of each photograph;
- content kept (:mod:`distill.content_kept`) of the stylised output;
- content and style loss of the stylised output (:mod:`distill.reference_losses`), full style;
- LPIPS (:mod:`distill.perceptual`) and PSNR between its output and the teacher's.

All in float32 on whole images. Pairs are the outer loop, so that what belongs to a picture alone,
such as the teacher's output, is computed once and held no longer than all models need it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from distill.cascades import load_cascade
from distill.content_kept import ContentKept
from distill.errors import UserError
from distill.evaluation.candidates import Candidate, find_candidates
from distill.inference import Layout
from distill.pairs import draw_pairs
from distill.perceptual import LEAST_SIDE, Lpips
from distill.reference_losses import ImageFeatures, ReferenceLosses
from distill.stages import Stage, StyleCode, build_stages, encode_style, rebuild, stylize_whole
from distill.training.data import ImageSet

RANDOM = "random weights, whose quality says nothing"
Row = dict[str, Any]
Report = Callable[[int, int], None]
"""Told the pairs that are done, and how many there are."""


@dataclass(frozen=True)
class Settings:
    """On what, and with what, quality is measured."""

    size: int = 512
    """Side of the square images, pixels."""
    pairs: int | None = None
    """Pairs of a photograph and a style; None for every photograph with one style."""
    seed: int = 0
    """Of the pairs (and of the bootstrap)."""
    network: str = "vgg16-normalised"
    """Registered weights on which the losses are computed."""
    lpips_backbone: str = "cache"
    """``cache``, ``embedded``, ``download`` or a file; see :class:`distill.perceptual.Lpips`."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.size < LEAST_SIDE:
            raise UserError(f"size: {self.size} pixels; LPIPS needs at least {LEAST_SIDE}")
        if self.pairs is not None and self.pairs < 1:
            raise UserError(f"pairs: {self.pairs}; at least 1 is needed")


@dataclass
class Evaluation:
    """What was found."""

    settings: Settings
    models: list[Candidate]
    """Teachers that were named apart come first."""
    random: set[str]
    """Names of the models without trained weights."""
    teachers: dict[str, str]
    """From method and family (``wct-vgg16``) to the name of the teacher."""
    rows: list[Row] = field(default_factory=list)
    """One for each model and pair; ``problem`` says why one has no values."""
    enlarged: int = 0
    """Images that were smaller than the size."""
    lpips_backbone: str = ""
    """Where its AlexNet was found (:attr:`distill.perceptual.Lpips.backbone`)."""
    stopped: str = ""
    """Where it ended before its end; empty if it did not."""
    lpips_absent: str = ""
    """Why there is no LPIPS; empty if there is."""


@dataclass(frozen=True)
class _Loaded:
    candidate: Candidate
    stages: tuple[Stage, ...]


def evaluate(
    models: Sequence[str],
    content: ImageSet,
    style: ImageSet,
    settings: Settings,
    *,
    teachers: Sequence[str] = (),
    report: Report | None = None,
    keep: Callable[[Evaluation], object] | None = None,
) -> Evaluation:
    """Measure models on pairs of photographs and styles.

    Args:
        models: names or folders, see :func:`distill.evaluation.candidates.find_candidates`.
        content: photographs.
        style: paintings and other styles.
        settings: sizes, pairs, networks, device.
        teachers: models to compare with, one at most of each method and family; without one, the
            first model of ratio 1 with trained weights is.
        report: told of the progress.
        keep: given what is finished where an error or Ctrl-C ends it before its end.

    Raises:
        UserError: for models, images or settings that cannot be used.
    """
    named, others = find_candidates(teachers), find_candidates(models)
    candidates = [*named, *(one for one in others if one not in named)]
    most = len(content) * len(style)
    wanted = settings.pairs or len(content)
    if wanted > most:
        raise UserError(f"pairs: {wanted} of {len(content)} x {len(style)} images; {most} at most")
    layout = Layout.of(settings.device, torch.float32)
    loaded, random = _load(candidates, layout)
    found = Evaluation(settings, candidates, random, _choose_teachers(named, others, random))
    if not loaded:
        return found
    pairs = draw_pairs(len(content), len(style), wanted, seed=settings.seed)
    # In float32 proper, whatever PyTorch's default for convolutions is.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        try:
            _measure(found, loaded, content, style, pairs, layout, report)
        except BaseException:
            done = len(found.rows) // len(loaded)
            found.stopped = f"stopped after {done} of {len(pairs)} pairs"
            if done and keep is not None:
                keep(found)
            raise
    return found


def _measure(
    found: Evaluation,
    loaded: Sequence[_Loaded],
    contents: ImageSet,
    styles: ImageSet,
    pairs: Sequence[tuple[int, int]],
    layout: Layout,
    report: Report | None,
) -> None:
    """Fill an evaluation's rows; the pairs of one style follow each other."""
    size = found.settings.size
    losses = ReferenceLosses(found.settings.network, found.settings.device)
    kept = ContentKept(found.settings.device)
    lpips = _lpips(found)
    found.lpips_backbone = "" if lpips is None else lpips.backbone
    rebuilt: dict[tuple[str, int], Row] = {}
    small: set[str] = set()

    def image(images: ImageSet, index: int) -> Tensor:
        opened = images.open(index)
        if min(opened.size) < size:
            small.add(images.name(index))
        return layout.place(square(opened, size))

    done = 0
    for style_index, group in groupby(pairs, key=lambda pair: pair[1]):
        style = image(styles, style_index)
        style_features = losses.features(style)
        codes = {one.candidate.name: encode_style(one.stages, style) for one in loaded}
        for content_index, _ in group:
            content = image(contents, content_index)
            names = {"content": contents.name(content_index), "style": styles.name(style_index)}
            rows = _measure_pair(
                loaded, content, codes, style_features, losses, kept, lpips, found.teachers
            )
            whole = []
            for one, values in zip(loaded, rows, strict=True):
                name = one.candidate.name
                if (name, content_index) not in rebuilt:
                    rebuilt[name, content_index] = _reconstruction(one.stages, content)
                whole.append({"model": name, **names, **rebuilt[name, content_index], **values})
            found.rows += whole  # all models of a pair, or none
            done += 1
            if report is not None:
                report(done, len(pairs))
    found.enlarged = len(small)


def square(image: Image.Image, size: int) -> Tensor:
    """A picture as (1, 3, size, size), float32, 0..1.

    Resized (Lanczos) so that its shorter side is ``size``, and cropped at the centre.
    """
    fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)[None].float().div_(255)


def psnr(first: Tensor, second: Tensor) -> float:
    """Peak signal-to-noise ratio of two images in 0..1, in dB; infinite for equal ones."""
    error = torch.mean((first.double() - second.double()) ** 2).item()
    return math.inf if error == 0 else -10 * math.log10(error)


def _load(candidates: Sequence[Candidate], layout: Layout) -> tuple[list[_Loaded], set[str]]:
    loaded, random = [], set()
    for candidate in candidates:
        networks = load_cascade(candidate.spec)
        if networks.weights == "random":
            random.add(candidate.name)
        else:
            stages = build_stages(networks, candidate.spec.method, layout)
            loaded.append(_Loaded(candidate, stages))
    return loaded, random


def _choose_teachers(
    named: Sequence[Candidate], others: Sequence[Candidate], random: set[str]
) -> dict[str, str]:
    """The named ones; without one, the first of ratio 1 that is trained."""
    chosen: dict[str, str] = {}
    kinds = sorted({one.kind for one in others})
    for one in named:
        if one.name in random:
            raise UserError(f"teacher {one.name}: has no trained weights")
        if one.kind not in kinds:
            raise UserError(
                f"teacher {one.name}: no model is of its method and family; they are of "
                f"{', '.join(kinds)}"
            )
        if one.kind in chosen:
            raise UserError(
                f"teacher {one.name}: {chosen[one.kind]} is that of {one.kind} already; give one "
                "of each method and family"
            )
        chosen[one.kind] = one.name
    for one in others:
        if one.spec.ratio == 1 and one.name not in random:
            chosen.setdefault(one.kind, one.name)
    return chosen


def _lpips(found: Evaluation) -> Lpips | None:
    if not found.teachers:
        return None
    backbone = found.settings.lpips_backbone
    try:
        return Lpips(backbone, found.settings.device)
    except UserError as error:
        if backbone != "cache":  # what was asked for by name must be there
            raise
        found.lpips_absent = str(error)
        return None


def _reconstruction(stages: Sequence[Stage], photograph: Tensor) -> Row:
    return {
        f"reconstruction_psnr_relu{stage.encoder.stage}_1": psnr(
            rebuild(stage, photograph), photograph
        )
        for stage in stages
    }


def _measure_pair(
    loaded: Sequence[_Loaded],
    photograph: Tensor,
    codes: Mapping[str, StyleCode],
    style: ImageFeatures,
    losses: ReferenceLosses,
    kept: ContentKept,
    lpips: Lpips | None,
    teachers: Mapping[str, str],
) -> list[Row]:
    """The values of each model's output, in their order."""
    content = losses.features(photograph)
    of_teachers: dict[str, Tensor] = {}
    rows: dict[str, Row] = {}
    ordered = sorted(loaded, key=lambda one: one.candidate.name not in teachers.values())
    for one in ordered:
        name, kind = one.candidate.name, one.candidate.kind
        output = stylize_whole(one.stages, photograph, codes[name])
        if not bool(output.isfinite().all()):
            rows[name] = {"problem": "the output holds values that are not finite numbers"}
            continue
        output = output.clamp(0, 1)
        features = losses.features(output)
        layers = losses.style_losses(features, style)
        rows[name] = {
            "content_loss": losses.content_loss(features, content),
            "content_kept": kept(output, photograph),
            "style_loss": sum(layers.values()),
            **{f"style_loss_{layer}": value for layer, value in layers.items()},
        }
        if teachers.get(kind) == name:
            of_teachers[kind] = output
        elif kind in of_teachers:
            if lpips is not None:
                rows[name]["lpips_teacher"] = lpips(output, of_teachers[kind])
            rows[name]["psnr_teacher"] = psnr(output, of_teachers[kind])
    return [rows[one.candidate.name] for one in loaded]
