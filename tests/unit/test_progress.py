import io
from typing import Any

import pytest
from rich.console import Console

from bench.record import Record
from bench.run.progress import (
    LiveProgress,
    PlainProgress,
    duration_text,
    outcome,
    printable,
    progress_for,
    summary,
)


def make_record(**fields: Any) -> Record:
    return Record(
        **{
            "id": "0123456789ab",
            "kind": "performance",
            "model": "adain-vgg16-64x",
            "method": "adain",
            "family": "vgg16",
            "ratio": 64,
            "execution": "whole",
            "precision": "fp32",
            "device": "cpu",
            "width": 640,
            "height": 480,
            "megapixels": 0.3072,
            "style_width": 64,
            "style_height": 64,
            "alpha": 1.0,
            "seed": 0,
            "content": ["builtin"],
            "style": ["builtin"],
            "code_version": "1",
            "status": "ok",
            **fields,
        }
    )


def test_plain_output_is_one_line_for_each_cell(capsys):
    progress = progress_for(total=3, done=1, quiet=False)
    assert isinstance(progress, PlainProgress)
    with progress:
        progress.finished(make_record(latency_ms=123.4, peak_rss_growth_mb=45.4))
        progress.finished(
            make_record(status="out_of_memory", reason="asked for 9 MB\nand a traceback")
        )
    progress.end("runs/x: done")
    assert capsys.readouterr().out.splitlines() == [
        "[2/3] ok            adain-vgg16-64x whole fp32 640x480: 123 ms, 45 MB",
        "[3/3] out_of_memory adain-vgg16-64x whole fp32 640x480: asked for 9 MB",
        "runs/x: done",
    ]


def test_cells_that_need_no_process_are_one_line(capsys):
    progress = progress_for(total=40, done=1, quiet=False)
    progress.settled([make_record(status="unsupported")] * 37, "bf16 is not native")
    progress.settled([make_record(status="skipped")], "no quality: no weights")
    assert capsys.readouterr().out.splitlines() == [
        "[38/40] 37 cells: bf16 is not native",
        "[39/40] 1 cell: no quality: no weights",
    ]


def test_a_cell_with_some_of_its_pairs_says_how_many():
    some = make_record(
        kind="quality", lpips=0.5, reason_code="some_pairs", reason="2 of 4 pairs; left out: a.png"
    )
    assert outcome(some) == "LPIPS 0.5 (2 of 4 pairs; left out: a.png)"


def test_what_the_runs_limit_cut_off_is_told_apart_from_slow_models():
    records = [
        make_record(),
        make_record(status="timeout", reason_code="time_limit"),
        make_record(status="skipped", reason_code="time_limit"),
        make_record(status="skipped", reason_code="run_time_limit"),
        make_record(status="skipped", reason_code="run_time_limit"),
    ]
    assert sorted(summary(records).split(", ")) == [
        "1 ok",
        "1 skipped",
        "1 timeout",
        "2 not measured (run's time limit)",
    ]


def test_quiet_output_is_the_end_alone(capsys):
    progress = progress_for(total=1, done=0, quiet=True)
    with progress:
        progress.note("corrupt")
        progress.finished(make_record())
    progress.end("runs/x: done")
    assert capsys.readouterr().out == "runs/x: done\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def live_text(*records: Record, width: int = 120) -> str:
    stream = Terminal()
    console = Console(file=stream, width=width, height=30, force_terminal=True, color_system=None)
    with LiveProgress(total=5, done=2, console=console) as progress:
        for record in records:
            progress.finished(record)
    return stream.getvalue()


def test_a_terminal_gets_a_live_table():
    assert isinstance(progress_for(total=1, done=0, quiet=False, stream=Terminal()), LiveProgress)
    text = live_text(
        make_record(latency_ms=2500.0, peak_allocated_mb=7.0),
        make_record(status="crashed", reason_code="signal"),
    )
    for shown in ("640x480", "2.50 s", "7 MB", "crashed", "signal", "4/5 cells"):
        assert shown in text


def test_a_narrow_terminal_shortens_the_cell_and_not_its_numbers():
    text = live_text(
        make_record(model="m" * 70, status="out_of_memory"),
        make_record(latency_ms=123.4, peak_allocated_mb=45_678),
        width=80,
    )
    for shown in ("mmm…", "out_of_memory", "123 ms", "45678 MB"):
        assert shown in text


def test_a_command_to_copy_is_not_broken_into_lines():
    stream = Terminal()
    console = Console(file=stream, width=40, force_terminal=True, color_system=None)
    command = "go on with: bench run " + "a/long/path/" * 10
    LiveProgress(total=1, done=0, console=console).end(command)
    assert command in stream.getvalue()


@pytest.mark.parametrize("name", ["[red]evil[/red]", "[/]", "[link=http://x]y"])
def test_names_are_shown_as_they_are_and_not_obeyed(name):
    assert name in live_text(make_record(model=name))


def test_control_characters_do_not_reach_the_terminal(capsys):
    evil = "a\x1b[2J\rb\nc"
    assert printable(evil) == "a?[2J?b?c"
    progress = progress_for(total=1, done=0, quiet=False)
    progress.finished(make_record(model=evil))
    progress.note(evil)
    progress.end(evil)
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert len(output.splitlines()) == 3
    assert "\x1b[2J" not in live_text(make_record(model="a\x1b[2Jb"))


def test_a_table_longer_than_the_screen_shows_the_latest():
    text = live_text(*(make_record(model=f"model-{n:03}") for n in range(100)))
    assert "model-099" in text
    assert "model-000" not in text


def test_outcomes_say_what_was_measured_or_why_not():
    assert outcome(make_record(latency_ms=0.5)) == "0.5 ms"
    once = make_record(latency_ms=9.0, reason_code="measured_once")
    assert outcome(once) == "9 ms (measured once)"
    quality = make_record(kind="quality", lpips=0.25, content_loss=1.5)
    assert outcome(quality) == "content loss 1.5, LPIPS 0.25"
    assert outcome(make_record(status="skipped", reason_code="time_limit")) == "time_limit"


def test_summary_counts_statuses():
    records = [make_record(), make_record(), make_record(status="timeout")]
    assert summary(records) == "2 ok, 1 timeout"
    assert summary([]) == "no cells"
    late = records[-1].model_copy(update={"status": "timeout", "reason_code": "run_time_limit"})
    assert summary([late]) == "1 not measured (run's time limit)"


def test_cells_that_were_measured_under_disturbance_are_named_and_counted():
    calm = make_record(conditions=[], latency_ms=0.5)
    shared = make_record(conditions=["shared"], latency_ms=0.5)
    hot = make_record(conditions=["throttled", "power_capped", "shared"], latency_ms=0.5)
    assert outcome(hot) == "0.5 ms, throttled, shared"
    assert outcome(calm) == "0.5 ms"
    assert (
        summary(iter([calm, shared, hot]))
        == "3 ok; 2 measured under disturbance: 2 shared, 1 throttled"
    )
    assert summary([calm]) == "1 ok"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3900, "1 h 05 min"),
    ],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text
