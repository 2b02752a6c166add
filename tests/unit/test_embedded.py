"""Embedded models: from the folder that training wrote to what a model's plain name means."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bench.stylize import stylize_file
from bench.stylizers import load_stylizer, model_facts
from distill import embed as embedding
from distill import embedded
from distill.cascades import build_pair, load_cascade, own_files, weights_digest, weights_kind
from distill.command_line import run_app
from distill.commands import app as distill_app
from distill.embed import LIMIT_BYTES, embed
from distill.embedded import DIGESTS, read_digests, read_embedded
from distill.errors import UserError
from distill.header import Header, save_network
from distill.models import ModelSpec, parse_model
from distill.networks import seed_weights
from distill.weights import load_named, read_stored, sha256

pytestmark = pytest.mark.numerical

STUDENT = "adain-vgg16-64x"
PACKAGE = embedded.ASSETS


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of embedded models, empty."""
    folder = tmp_path / "assets"
    folder.mkdir()
    monkeypatch.setattr(embedded, "ASSETS", folder)
    return folder


def trained(folder: Path, model: str, *, seed: int = 0, **fields: object) -> ModelSpec:
    """A folder as training writes it, of random weights; the model with this folder."""
    spec = parse_model(model)
    teacher = load_named("vgg16-normalised").state_dict()
    for stage, files in zip(spec.stages, own_files(folder, spec.stages), strict=True):
        pair = build_pair(plain(spec), stage)
        for role, file in zip(("encoder", "decoder"), files, strict=True):
            network = getattr(pair, role)
            seed_weights(network, seed)
            if (role, spec.family, spec.ratio) == ("encoder", "vgg16", 1):
                network.load_state_dict({key: teacher[key] for key in network.state_dict()})
            tensors = dict(network.state_dict())
            if role == "encoder":
                tensors["embedding1_1.weight"] = torch.ones(64, network.widths[0], 1, 1)
                tensors["embedding1_1.bias"] = torch.ones(64)
            header = Header(
                **{
                    "family": spec.family,
                    "method": spec.method,
                    "ratio": spec.ratio,
                    "stage": network.stage,
                    "role": role,
                    "compressor": "teacher" if spec.ratio == 1 else "collaborative",
                    "steps": 1200,
                    **fields,
                }
            )
            save_network(file, tensors, header)
    return spec._replace(weights=str(folder))


def states(spec: ModelSpec) -> list[dict[str, torch.Tensor]]:
    pairs = load_cascade(spec).pairs
    return [net.state_dict() for pair in pairs for net in (pair.encoder, pair.decoder)]


def plain(spec: ModelSpec) -> ModelSpec:
    return spec._replace(weights=None)


# ------------------------------------------------------------------------- what the name then means


@pytest.mark.parametrize("model", [STUDENT, "wct-vgg16-64x"])
def test_the_name_alone_means_the_embedded_weights(model, assets, tmp_path):
    spec = parse_model(model)
    assert weights_kind(spec) == load_cascade(spec).weights == "random"
    source = trained(tmp_path / "made", model, seed=7)
    embed([source], assets)
    networks = load_cascade(spec, seed=3)
    assert weights_kind(spec) == networks.weights == "trained"
    assert networks.detail == ("embedded: compressor collaborative, 1,200 steps for each network")
    for found, wanted in zip(states(spec), states(source), strict=True):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key].half().float()) for key in found)


def test_a_digest_follows_the_embedded_weights(assets, tmp_path):
    spec = parse_model(STUDENT)
    digests = [weights_digest(spec), weights_digest(spec, seed=1)]
    for seed in (1, 2):
        source = trained(tmp_path / str(seed), STUDENT, seed=seed)
        embed([source], assets)
        assert weights_digest(spec) == weights_digest(spec, seed=1)
        digests += [weights_digest(spec), weights_digest(source)]
    assert len(set(digests)) == 6


def test_other_models_stay_random(assets, tmp_path):
    embed([trained(tmp_path / "made", STUDENT)], assets)
    for model in ("adain-vgg16-32x", "wct-vgg16-64x", "adain-vgg19-64x"):
        assert weights_kind(parse_model(model)) == load_cascade(parse_model(model)).weights
        assert weights_kind(parse_model(model)) == "random"


def test_a_folder_still_comes_first(assets, tmp_path):
    embed([trained(tmp_path / "a", STUDENT, seed=1)], assets)
    source = trained(tmp_path / "b", STUDENT, seed=2)
    assert str(tmp_path / "b") in load_cascade(source).detail
    assert not torch.equal(
        states(source)[0]["conv1_1.weight"], states(plain(source))[0]["conv1_1.weight"]
    )


def test_a_large_model_is_quantised_but_for_its_small_tensors(assets, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "INT8_FROM", 90_000)
    monkeypatch.setattr(embedding, "FINE_BELOW", 2_000)
    source = trained(tmp_path / "made", STUDENT)
    (entry,) = embed([source], assets)
    stored, _ = read_stored(assets / entry.name)
    weights = {key: value for key, value in stored.items() if key.endswith("weight")}
    assert {value.dtype for value in weights.values()} == {torch.int8, torch.float16}
    for key, value in weights.items():
        assert (value.dtype == torch.int8) == (value.numel() >= 2_000), key
    for found, wanted in zip(states(plain(source)), states(source), strict=True):
        for key, value in found.items():
            assert (value - wanted[key]).norm() <= 0.01 * wanted[key].norm(), key
    assert entry.error is not None
    assert 0.002 < entry.error < 0.01
    assert entry.parameters == 91_807  # scales are none
    assert 91_807 < entry.size < 1.5 * 91_807


def test_what_only_training_needs_is_left_out(assets, tmp_path):
    embed([trained(tmp_path / "made", STUDENT)], assets)
    keys = load_file(assets / f"{STUDENT}.safetensors").keys()
    assert {key.rsplit(".", 2)[0] for key in keys} == {"stage4.encoder", "stage4.decoder"}
    assert not any("embedding" in key for key in keys)


def test_a_teacher_is_embedded_without_encoders(assets, tmp_path):
    source = trained(tmp_path / "made", "adain-vgg16-1x", seed=5)
    embed([source], assets)
    stored = read_stored(assets / "adain-vgg16-1x.safetensors")[0]
    assert {key.rsplit(".conv", 1)[0] for key in stored} == {"stage4.decoder"}
    (pair,) = load_cascade(plain(source)).pairs
    teacher = load_named("vgg16-normalised").state_dict()
    own = pair.encoder.state_dict()
    assert all(torch.equal(own[key], teacher[key]) for key in own)
    assert load_cascade(plain(source)).detail == "embedded: compressor teacher, 1,200 steps"

    # Without encoders in the folder it is the same file; with others it is refused.
    digest = read_digests(assets)
    encoder = own_files(tmp_path / "made", (4,))[0][0]
    tensors = load_file(encoder)
    tensors["conv1_1.weight"] *= 1.1
    encoder.unlink()
    embed([source], assets)
    assert read_digests(assets) == digest
    save_network(encoder, tensors, Header("vgg16", "adain", 1, 4, "encoder", "teacher"))
    with pytest.raises(UserError, match=r"conv1_1\.weight is not that of vgg16-normalised"):
        embed([source], assets)


def test_the_benchmarks_see_trained_weights(assets, tmp_path):
    assert model_facts(STUDENT, 50, 33).weights == "random"
    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(tmp_path / "a.png")
    picture, out = tmp_path / "a.png", tmp_path / "b.png"
    with pytest.raises(UserError, match="has no trained weights"):
        stylize_file(picture, picture, out, model=STUDENT)
    embed([trained(tmp_path / "made", STUDENT)], assets)
    facts, stylizer = model_facts(STUDENT, 50, 33), load_stylizer(STUDENT)
    assert facts.weights == stylizer.weights == "trained"
    assert facts.weights_digest == stylizer.weights_digest
    stylize_file(picture, picture, out, model=STUDENT, device="cpu", quiet=True)
    assert Image.open(out).size == (30, 40)


# ------------------------------------------------------------------------------------- the command


def run(*arguments: object) -> int:
    return run_app(embedding.app, "distill.embed", [str(argument) for argument in arguments])


def test_the_command_lists_sizes_and_the_total(assets, tmp_path, capsys):
    a = trained(tmp_path / "a", STUDENT)
    b = trained(tmp_path / "b", "adain-vgg16-32x")
    assert run(a, b, "--assets", assets) == 0
    sizes = {path.name: path.stat().st_size for path in assets.glob("*.safetensors")}
    assert set(sizes) == {f"{STUDENT}.safetensors", "adain-vgg16-32x.safetensors"}
    text = capsys.readouterr().out
    for name, size in sizes.items():
        (line,) = (line for line in text.splitlines() if name in line)
        assert f"{size:,}" in line
    assert f"{sum(sizes.values()):,} of 40,000,000 bytes" in text
    assert read_digests(assets) == {name: sha256(assets / name) for name in sizes}


def test_a_dry_run_changes_nothing(assets, tmp_path, capsys):
    assert run(trained(tmp_path / "a", STUDENT), "--assets", assets, "--dry-run") == 0
    assert f"{STUDENT}.safetensors" in capsys.readouterr().out
    assert list(assets.iterdir()) == []


def test_a_deleted_file_is_forgotten(assets, tmp_path):
    embed([trained(tmp_path / "a", STUDENT), trained(tmp_path / "b", "adain-vgg16-32x")], assets)
    (assets / f"{STUDENT}.safetensors").unlink()
    assert run("--assets", assets) == 0
    assert list(read_digests(assets)) == ["adain-vgg16-32x.safetensors"]
    assert weights_kind(parse_model(STUDENT)) == "random"


def test_equal_models_give_equal_files(assets, tmp_path):
    found = set()
    for name in "abcd":
        embed([trained(tmp_path / name, STUDENT)], assets)
        found.add((assets / f"{STUDENT}.safetensors").read_bytes())
    assert len(found) == 1


def test_more_than_40_mb_is_refused_and_nothing_changes(assets, tmp_path, monkeypatch):
    old = trained(tmp_path / "old", STUDENT, seed=1)
    embed([old], assets)
    before = {path.name: path.read_bytes() for path in assets.iterdir()}
    monkeypatch.setattr(embedding, "LIMIT_BYTES", 2 * len(before[f"{STUDENT}.safetensors"]))
    new = trained(tmp_path / "new", STUDENT, seed=2)
    with pytest.raises(
        UserError, match=r"would take .* bytes, and .* are allowed: adain-vgg16-32x"
    ):
        embed([new, trained(tmp_path / "b", "adain-vgg16-32x")], assets)
    assert {path.name: path.read_bytes() for path in assets.iterdir()} == before
    # One that takes another's place does not count twice.
    embed([new], assets)
    assert (assets / f"{STUDENT}.safetensors").read_bytes() != before[f"{STUDENT}.safetensors"]


def test_the_machine_s_folders_do_not_get_into_the_package(assets, tmp_path):
    command = "distill train --data /home/me/photos.tar --out=/srv/x/y --styles ../styles 'a/b'"
    spec = trained(tmp_path / "a", STUDENT, command=command, data="949 images of /home/me/p.tar")
    embed([spec], assets)
    model = read_embedded(plain(spec))
    assert model is not None
    header = model.headers["stage4.decoder"]
    assert header.command == ("distill train --data photos.tar --out=y --styles ../styles 'a/b'")
    assert header.data == "949 images of p.tar"


def test_info_shows_how_an_embedded_model_was_trained(assets, tmp_path, capsys):
    fields = {
        "steps": 1234,
        "data": "949 images, digest abc",
        "command": "distill train " + 200 * "x",
    }
    spec = trained(tmp_path / "a", "wct-vgg16-64x", **fields)
    file = own_files(tmp_path / "a", (3,))[0][1]
    header = Header("vgg16", "wct", 64, 3, "decoder", "collaborative", **fields | {"steps": 99})
    save_network(file, load_file(file), header)
    embed([spec], assets)
    for what in (str(plain(spec)), str(assets / "wct-vgg16-64x.safetensors")):
        assert run_app(distill_app, "distill", ["info", what]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert "compressor: collaborative" in lines
        assert "data: 949 images, digest abc" in lines
        assert f"command: {fields['command']}" in lines
        assert "steps of stage3.decoder: 99" in lines
        assert any(line.endswith("stage1.decoder: 1234") for line in lines)
    assert "stage1.decoder.conv1_1.weight  3x8x3x3  float16" in "".join(lines)


# -------------------------------------------------------------------------------- what is refused


def problems_of(spec: ModelSpec, assets: Path) -> tuple[str, ...]:
    before = sorted(assets.iterdir())
    with pytest.raises(UserError) as caught:
        embed([spec], assets)
    assert sorted(assets.iterdir()) == before
    assert not any("\n" in problem for problem in caught.value.problems)
    return caught.value.problems


def test_every_problem_of_a_folder_is_named(assets, tmp_path):
    spec = trained(tmp_path / "a", "wct-vgg16-64x")
    files = dict(zip((5, 4, 3, 2, 1), own_files(tmp_path / "a", spec.stages), strict=True))
    files[5][0].unlink()
    files[4][1].write_bytes(b"no")
    shutil.copy(files[2][1], files[3][1])
    tensors = load_file(files[2][0])
    tensors["conv1_1.bias"][0] = torch.nan
    save_network(files[2][0], tensors, Header("vgg16", "wct", 64, 2, "encoder", "pruned"))
    save_network(files[1][1], load_file(files[1][1]), Header("vgg16", "wct", 32, 1, "decoder", "x"))
    found = problems_of(spec, assets)
    expected = [
        (files[5][0], "there is no such weights file"),
        (files[4][1], "cannot be read as weights"),
        (files[3][1], "has no tensor 'conv2_2"),
        (files[2][0], "conv1_1.bias holds values that are not finite"),
        (files[1][1], "its header says ratio 32, not 64"),
    ]
    assert len(found) == len(expected)
    for problem, (file, text) in zip(found, expected, strict=True):
        assert problem.startswith(f"{file}: {text}")


def test_weights_that_nothing_is_known_of_are_refused(assets, tmp_path):
    from safetensors.torch import save_file

    spec = trained(tmp_path / "a", STUDENT)
    file = own_files(tmp_path / "a", (4,))[0][1]
    save_file(load_file(file), file)
    (problem,) = problems_of(spec, assets)
    assert problem.startswith(f"{file}: has no header that says how it was trained")


def test_values_beyond_float16_are_refused(assets, tmp_path):
    spec = trained(tmp_path / "a", STUDENT)
    file = own_files(tmp_path / "a", (4,))[0][1]
    tensors = {key: value * 1e6 for key, value in load_file(file).items()}
    save_network(file, tensors, Header("vgg16", "adain", 64, 4, "decoder", "scratch"))
    (problem,) = problems_of(spec, assets)
    assert "stage4.decoder." in problem
    assert "beyond float16" in problem


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (STUDENT, f"{STUDENT}: name the folder that training wrote: {STUDENT}:FOLDER"),
        (f"{STUDENT}:none", "name the folder that training wrote"),
        ("adain-vgg19-1x:.", "no embedded network of vgg19"),
    ],
)
def test_models_that_cannot_be_embedded(model, expected, assets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (problem,) = problems_of(parse_model(model), assets)
    assert expected in problem


def test_published_students_stay_outside(assets, students):
    (problem,) = problems_of(parse_model(f"wct-vgg19-16x:{students}"), assets)
    assert "the paper's published files, which stay outside" in problem


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["adain-vgg16-63x:a"], "did you mean 'adain-vgg16-64x:a'?"),
        (["adain-vgg16-64x:a", "adain-vgg16-64x:b"], "adain-vgg16-64x is named twice"),
        (["--assets", "none"], "--assets none: there is no such folder"),
    ],
)
def test_a_wrong_command_line(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda folder, file: file.write_bytes(file.read_bytes()[:-1] + b"x"),
            r"SHA-256 is .* dam",
        ),
        (lambda _, file: file.unlink(), f"is listed in {DIGESTS} but missing"),
        (lambda folder, _: (folder / DIGESTS).write_text("x\n"), "line 1 is no SHA-256"),
    ],
)
def test_a_damaged_installation_is_not_taken_for_random_weights(damage, expected, assets, tmp_path):
    embed([trained(tmp_path / "a", STUDENT)], assets)
    damage(assets, assets / f"{STUDENT}.safetensors")
    with pytest.raises(UserError, match=expected) as caught:
        load_cascade(parse_model(STUDENT))
    (problem,) = caught.value.problems
    assert problem.startswith(str(assets))
    assert "install the project again" in problem


# ---------------------------------------------------------------------- what the package comes with


def test_all_embedded_weights_take_at_most_40_mb():
    found = [entry for entry in PACKAGE.iterdir() if entry.name.endswith(".safetensors")]
    assert "vgg16-normalised.safetensors" in {entry.name for entry in found}
    assert sum(len(entry.read_bytes()) for entry in found) <= LIMIT_BYTES == 40_000_000
    listed = {"vgg16-normalised.safetensors", "alexnet-lpips.safetensors", *read_digests(PACKAGE)}
    assert {entry.name for entry in found} == listed


@pytest.mark.parametrize("name", read_digests(PACKAGE))
def test_an_embedded_model_is_whole_and_says_how_it_was_trained(name):
    spec = parse_model(name.removesuffix(".safetensors"))
    networks = load_cascade(spec)
    assert networks.weights == "trained"
    model = read_embedded(spec)
    assert model is not None
    roles = ("decoder",) if spec.ratio == 1 else ("encoder", "decoder")
    assert set(model.headers) == {f"stage{k}.{role}" for k in spec.stages for role in roles}
    for header in model.headers.values():
        assert header.compressor
        assert header.steps > 0
        assert header.command
