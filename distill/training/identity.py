"""What a network is trained from: by this a checkpoint and a finished file are known again.

Without it a training that is resumed with another compressor, other images or another teacher would
go on, and its file would state what is not so.
"""

from pathlib import Path

from distill.cascades import own_files
from distill.embedded import embedded_digest
from distill.header import read_header
from distill.training.book import Job, Recipebook
from distill.training.building import own_teacher_encoder
from distill.training.checkpoints import differences, refuse_others
from distill.weights import read_metadata, sha256

NONE = "none"


def identity(book: Recipebook, job: Job) -> dict[str, str]:
    """Return all that a network's weights follow from beside the settings, in the options' words.

    Files are known by their digests, so that folders may be moved.
    """
    found = _always(book, job)
    # What came later is stated only where it differs from before: older checkpoints go on.
    if book.variant:
        found["variant"] = book.variant
    if sees_styles(book, job):
        found["images of a step"] = "photographs and paintings"
    if (encoder := own_teacher_encoder(book, job.stage)) is not None:
        found["teacher's encoder"] = _digest(encoder)
    return found


def sees_styles(book: Recipebook, job: Job) -> bool:
    """Whether an encoder is trained on paintings too, as the collaboration always was."""
    return (
        book.spec.method == "adain" and job.role == "encoder" and book.compressor != "collaborative"
    )


def teacher_digest(book: Recipebook, job: Job) -> str:
    """What a network learnt from, for its header; empty for a teacher with registered encoders."""
    parts = [] if book.spec.ratio == 1 else [_teacher(book, job)]
    if (encoder := own_teacher_encoder(book, job.stage)) is not None:
        parts.append(_digest(encoder))
    return " ".join(part for part in parts if part != NONE)


def start_header(book: Recipebook, job: Job) -> tuple[str, int]:
    """Digest of the network that a training starts from, and the steps in it."""
    file = None if book.start is None else book.start / f"{job.name}.safetensors"
    if file is None or not file.is_file():
        return "", 0
    header = read_header(read_metadata(file))
    return _digest(file), 0 if header is None else header.all_steps


def _always(book: Recipebook, job: Job) -> dict[str, str]:
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
    expected: dict[str, object] = {
        "family": spec.family,
        "method": spec.method,
        "ratio": spec.ratio,
        **job._asdict(),
        "compressor": book.made_by,
        "data": book.data,
        "variant": book.variant,
    }
    _check(file, expected)


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
    told = {k: v for k, v in expected.items() if stated[k] != "" or k == "variant"}
    refuse_others(file, differences(stated, told))
