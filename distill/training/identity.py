"""What a network is trained from: by this a checkpoint and a finished file are known again.

Without it a training that is resumed with another compressor, other images or another teacher would
go on, and its file would state what is not so.
"""

from pathlib import Path

from distill.cascades import own_files
from distill.embedded import embedded_digest
from distill.header import read_header
from distill.training.book import Job, Recipebook
from distill.training.checkpoints import differences, refuse_others
from distill.weights import read_metadata, sha256

NONE = "none"


def identity(book: Recipebook, job: Job) -> dict[str, str]:
    """All that a network's weights follow from, beside the settings, in the words of the options.

    Files are known by their digests, so that folders may be moved.
    """
    crops = book.crops
    on_student = job.role == "decoder" and book.spec.ratio != 1
    sets = [book.content] if book.styles is None else [book.content, book.styles]
    return {
        "model": str(book.spec),
        "compressor": book.made_by,
        "data": book.data,
        # The same images in another order make other batches.
        "order of images": " ".join(images.digest(ordered=True) for images in sets),
        "crop": str(crops.size),
        "resize": "-".join(map(str, crops.shorter)),
        "flip": str(crops.flip),
        "teacher": _teacher(book, job),
        "start": NONE if book.start is None else _digest(book.start / f"{job.name}.safetensors"),
        "encoder": _digest(own_files(book.out, (job.stage,))[0][0]) if on_student else NONE,
    }


def _teacher(book: Recipebook, job: Job) -> str:
    if book.spec.ratio == 1:
        return NONE
    if book.teacher is None:
        return (embedded_digest(book.spec._replace(ratio=1)) or NONE)[:16]
    return _digest(own_files(book.teacher, (job.stage,))[0][1])


def _digest(file: Path) -> str:
    return sha256(file)[:16] if file.is_file() else NONE


def check_finished(book: Recipebook, job: Job, file: Path) -> None:
    """A network that is there already must be one of the model to be made.

    Its budget, rate and seed may differ: its header tells them, and models are made network by
    network.

    Raises:
        UserError: for a file of another model, compressor or of other images.
    """
    spec = book.spec
    expected = {"family": spec.family, "method": spec.method, "ratio": spec.ratio}
    _check(file, expected | {**job._asdict(), "compressor": book.made_by, "data": book.data})


def check_encoder(book: Recipebook, file: Path) -> None:
    """The encoder that a decoder is made for must be of the decoder's compressor.

    Raises:
        UserError: for another.
    """
    _check(file, {"compressor": book.made_by})


def _check(file: Path, expected: dict[str, object]) -> None:
    header = read_header(read_metadata(file))
    if header is None:  # of another's making: it says nothing that could be wrong
        return
    stated = {key: getattr(header, key) for key in expected}
    # What a header leaves open (data of converted weights) is no contradiction.
    refuse_others(file, differences(stated, {k: v for k, v in expected.items() if stated[k] != ""}))
