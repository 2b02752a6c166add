"""What limits the numbers of a quality table, and why some are missing: a line for each reason."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bench.quality.set_metrics import SET_METRICS
from bench.record import Record
from reports.results import ENDING_WORDS, ending
from reports.table import Remark
from reports.text import listing, one_line
from reports.words import message_of_it

NAMES = {
    "content_loss": "Content loss",
    "style_loss": "Style loss",
    "style_loss_adain": "Style loss (AdaIN)",
    "lpips": "LPIPS",
    "lpips_teacher": "LPIPS to teacher",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "psnr_teacher": "PSNR to teacher",
    "fid": "FID",
    "kid": "KID",
    "isc": "Inception score",
    "precision_inception": "Precision",
    "recall_inception": "Recall",
    "artfid_inception": "ArtFID (Inception)",
    "fd_vgg": "Fréchet distance (VGG)",
    "kd_vgg": "Kernel distance (VGG)",
    "precision_vgg": "Precision (VGG)",
    "recall_vgg": "Recall (VGG)",
    "art_fd_vgg": "ArtFD (VGG)",
}
"""Metrics as papers write them; others as they are."""
_BIASED_KINDS = frozenset({"frechet", "art"})


class _Said(NamedTuple):
    """What is said of a metric of a record."""

    metric: str
    record: int
    text: str


def metric_names(metrics: Iterable[str]) -> str:
    """``FID, KID and edge_loss``, each once."""
    return listing(list(dict.fromkeys(NAMES.get(metric, metric) for metric in metrics)))


def is_biased(name: str, notes: Mapping[str, str] | None) -> bool:
    """Whether a value is a Fréchet distance, or made of one, of too few images to be compared.

    Args:
        name: of the metric.
        notes: the record's ``quality_notes``.
    """
    metric = SET_METRICS.get(name)
    small = metric is not None and metric.kind in _BIASED_KINDS
    return small and "bias" in (notes or {}).get(name, "")


def absent_everywhere(records: Sequence[Record]) -> list[str]:
    """Metrics that were asked for and that none of these records has, by name."""
    asked = {name for record in records for name in record.metrics_absent or {}}
    return sorted(
        name for name in asked if all(name in (record.metrics_absent or {}) for record in records)
    )


def quality_remarks(records: Sequence[Record], names: Mapping[str, str]) -> tuple[Remark, ...]:
    """What limits values, what is missing, and why cells were not measured, a line a reason.

    Args:
        records: of quality, of all statuses.
        names: of models, as the table shows them.
    """
    measured = [record for record in records if record.status == "ok"]
    notes = [
        _Said(metric, place, text)
        for place, record in enumerate(measured)
        for metric, text in (record.quality_notes or {}).items()
    ]
    absent = [
        _Said(metric, place, text)
        for place, record in enumerate(measured)
        for metric, text in (record.metrics_absent or {}).items()
    ]
    found = [
        Remark(f"{metric_names(metrics)}{_of(measured, places, names)}: {text}.")
        for metrics, places, text in _grouped(notes)
    ]
    found += [
        # where a file is looked for matters to those who run it, not to those who read the paper
        Remark(f"No {metric_names(metrics)}{_of(measured, places, names)}: {text}.", paper=False)
        for metrics, places, text in _grouped(absent)
    ]
    lost = [record for record in records if record.status != "ok"]
    ends = [
        _Said(ENDING_WORDS[ending(one)], place, message_of_it(one))
        for place, one in enumerate(lost)
    ]
    return (
        *found,
        *(
            Remark(
                f"{status[:1].upper()}{status[1:]}{_of(lost, places, names, always=True)}: {text}.",
                paper=False,
            )
            for (status,), places, text in _grouped(ends)
        ),
    )


def _grouped(said: Sequence[_Said]) -> list[tuple[tuple[str, ...], tuple[int, ...], str]]:
    """Metrics, places of the records, and what is said of all of them, each text as seldom as it
    can be."""
    places: dict[tuple[str, str], list[int]] = {}
    for one in said:
        text = one_line(one.text).rstrip(".")
        places.setdefault((one.metric, text), []).append(one.record)
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (metric, text), found in places.items():
        groups.setdefault((text, tuple(found)), []).append(metric)
    return [(tuple(metrics), found, text) for (text, found), metrics in groups.items()]


def _of(
    records: Sequence[Record],
    places: Sequence[int],
    names: Mapping[str, str],
    *,
    always: bool = False,
) -> str:
    """The models that it is said of, where it is not said of all records."""
    if len(places) == len(records) and not always:
        return ""
    models = dict.fromkeys(names[records[place].model] for place in places)
    return f" ({listing(list(models))})"
