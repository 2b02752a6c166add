"""What aligning a pruned student is worth: the embedding loss on held-out photographs.

``python -m tests.performance.aligned_start --data photos.tar --held-out others.tar``

A student's encoder to relu4_1 is started once from the teacher's strongest filters alone and once
aligned to the teacher (``distill.training.alignment``), then trained on the features
(``fitnet``) with the same images in the same order. One JSON line for each.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from distill.networks import TEACHER_WIDTHS, Encoder, student_widths
from distill.training.alignment import align
from distill.training.building import teacher_encoder
from distill.training.data import Crops, batches, list_images
from distill.training.loop import make_accelerator, train
from distill.training.losses import features_mse
from distill.training.pruning import prune_encoder
from distill.training.recipes import EmbeddedEncoder, EncoderRecipe, layers_to
from distill.training.settings import Settings

STAGE, CROP, BATCH, FITTING = 4, 128, 8, 16
CROPS = Crops(CROP, (144, 288))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--held-out", action="append", required=True)
    parser.add_argument("--ratio", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    arguments = parser.parse_args()
    photos, others = list_images(arguments.data), list_images(arguments.held_out)
    held_out = _first(batches(others, CROPS, batch=32, seed=1), 1)[0]
    fitting = _first(batches(photos, CROPS, batch=BATCH, seed=0), FITTING)
    settings = Settings(
        steps=arguments.steps,
        batch=BATCH,
        learning_rate=arguments.learning_rate,
        schedule="cosine",
        warmup=0.05,
        precision="bf16",
    )
    for start in ("pruned", "aligned"):
        teacher = teacher_encoder("vgg16", STAGE)
        encoder = prune_encoder(teacher, student_widths(arguments.ratio)[:STAGE], STAGE)
        if start == "aligned":
            align(encoder, teacher, fitting)
        student = EmbeddedEncoder(encoder, TEACHER_WIDTHS[:STAGE])
        recipe = EncoderRecipe(student, teacher, None, style=False)
        recipe.fit_embeddings(fitting)
        before = _loss(recipe, held_out)
        with tempfile.TemporaryDirectory() as folder:
            train(
                recipe,
                lambda **keys: ((images, None) for images in batches(photos, CROPS, **keys)),
                settings,
                Path(folder),
                accelerator=make_accelerator("cpu"),
            )
        recipe.set_precision(torch.float32)
        found = {
            "start": start,
            "ratio": arguments.ratio,
            "steps": arguments.steps,
            "images": arguments.steps * BATCH,
            "learning_rate": arguments.learning_rate,
            "embedding_at_start": before,
            "embedding_at_end": _loss(recipe, held_out),
            "dead_channels": _dead(encoder, held_out),
        }
        print(json.dumps(found), flush=True)


def _first(stream: Iterator[Tensor], count: int) -> list[Tensor]:
    return [next(stream).float() / 255 for _ in range(count)]


@torch.no_grad()
def _loss(recipe: EncoderRecipe, images: Tensor) -> float:
    return 10 * float(features_mse(recipe.student(images), recipe.teacher_features(images)))


@torch.no_grad()
def _dead(encoder: Encoder, images: Tensor) -> list[int]:
    """Of relu1_1, relu2_1, ...: the channels that are constant over all images."""
    features = encoder.features(images, layers_to(STAGE))
    return [int((x.std((0, 2, 3)) < 1e-4).sum()) for x in features]


if __name__ == "__main__":
    main()
