"""The cost that is said before a training starts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distill.models import parse_model
from distill.training.book import COMPRESSORS, Job, Recipebook
from distill.training.building import build_recipe
from distill.training.cost import announce, macs_per_crop
from distill.training.data import Crops, ImageSet
from distill.training.settings import Settings


def book(model: str, compressor: str = "collaborative", **settings: float) -> Recipebook:
    return Recipebook(
        spec=parse_model(model),
        compressor=compressor,
        out=Path("none"),
        content=ImageSet(()),
        styles=ImageSet(()),
        crops=Crops(32, (32, 32)),
        settings=Settings(**{"steps": 100, "batch": 4} | settings),
    )


@pytest.mark.parametrize("model", ["wct-vgg16-1x", "adain-vgg16-1x", "wct-vgg16-64x"])
def test_multiply_accumulates_are_those_that_are_done(model: str) -> None:
    role = "decoder" if model.endswith("-1x") else "encoder"
    one, job = book(model, "scratch"), Job(4, role)
    recipe = build_recipe(one, job)
    images = torch.rand(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        torch.stack(list(recipe(images, images).values())).sum().backward()
    # Less by the image's own gradient, which nobody wants, and more by 1x1 convolutions.
    assert counter.get_total_flops() / 2 == pytest.approx(macs_per_crop(one, job), rel=0.05)


def test_it_is_one_line_with_a_time() -> None:
    jobs = [Job(k, role) for k in (1, 2) for role in ("encoder", "decoder")]
    for compressor in COMPRESSORS:
        line = announce(book("wct-vgg16-16x", compressor), jobs, torch.device("cpu"), 1)
        assert line.startswith("4 networks of 100 steps of 4 crops of 32 px (400 each): ")
        assert "roughly " in line
    timed = replace(book("wct-vgg16-16x"), settings=Settings(minutes=90.0))
    assert announce(timed, jobs, torch.device("cpu"), 1) == "4 networks of 90 min: 6 h"
