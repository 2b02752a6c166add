"""A model as a folder to hand on: the same networks again, here and in ONNX Runtime."""

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from distill import embedded
from distill.cascades import CascadeNetworks, load_cascade, own_files, weights_digest
from distill.command_line import run_app
from distill.commands import app
from distill.embed import embed
from distill.errors import EnvironmentUnfitError, UserError
from distill.exporting.manifest import alignment, roles
from distill.exporting.model import ImageSize, default_check_sizes, export_model
from distill.exporting.onnx_check import CheckFailedError, OnnxNetwork, compare
from distill.exporting.onnx_graph import to_onnx
from distill.exporting.picture_check import LEAST_DB, compare_pictures
from distill.models import ModelSpec, parse_model
from distill.networks import CONVS_PER_BLOCK, Decoder, Encoder, encoder_convs, seed_weights
from distill.weights import load_named, read_tensors, sha256

pytestmark = pytest.mark.numerical

MODEL = "adain-vgg16-64x"


def trained(folder: Path, model: str = MODEL) -> ModelSpec:
    """A folder as training leaves it: headers, and an embedding in the encoders."""
    spec = parse_model(model)
    folder.mkdir()
    for pair in load_cascade(spec).pairs:
        stage = pair.encoder.stage
        for role, network, path in zip(
            ("encoder", "decoder"),
            (pair.encoder, pair.decoder),
            own_files(folder, (stage,))[0],
            strict=True,
        ):
            seed_weights(network, 10 * stage)
            if role == "decoder":
                network.conv1_1.bias.data.fill_(0.5)  # its ReLU would else leave little to compare
            tensors = dict(network.state_dict())
            if role == "encoder":
                tensors["embedding1_1.weight"] = torch.ones(64, 8, 1, 1)
            save_file(tensors, path, metadata=header(spec, stage, role))
    return spec._replace(weights=str(folder))


def header(spec: ModelSpec, stage: int, role: str) -> dict[str, str]:
    return {
        "family": spec.family,
        "method": spec.method,
        "ratio": str(spec.ratio),
        "stage": str(stage),
        "role": role,
        "compressor": "fitnet",
        "steps": "123",
        "note": "a key that no version of the project knows",
    }


def problem_of(spec: ModelSpec, out: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        export_model(spec, out, **options)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert "\n" not in problem
    return problem


def reconstructions(networks: CascadeNetworks) -> list[torch.Tensor]:
    image = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return [pair.decoder(pair.encoder(image)) for pair in networks.pairs]


# --------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("model", [MODEL, "wct-vgg19-64x"])
def test_the_folder_is_the_same_model_with_its_headers_and_without_embeddings(model, tmp_path):
    spec = trained(tmp_path / "source", model)
    result = export_model(spec, tmp_path / "out")
    again = parse_model(f"{model}:{tmp_path / 'out'}")
    assert again == result.spec
    before, after = load_cascade(spec), load_cascade(again)
    for old, new in zip(reconstructions(before), reconstructions(after), strict=True):
        assert old.abs().max() > 0
        assert torch.equal(old, new)
    names = {path.name for pair in own_files(tmp_path, spec.stages) for path in pair}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"model.json"}
    for network in result.networks:
        tensors, metadata = read_tensors(network.weights)
        assert metadata == header(spec, network.stage, network.role)
        assert not any(key.startswith("embedding") for key in tensors)


def test_the_manifest_says_what_the_files_are(tmp_path):
    spec = trained(tmp_path / "source", "wct-vgg16-64x")
    out = tmp_path / "deep" / "out"
    result = export_model(spec, out)
    manifest = json.loads(result.manifest.read_text())
    assert manifest["name"] == "wct-vgg16-64x"
    assert manifest["digest"] == weights_digest(result.spec)
    assert manifest["source_digest"] == weights_digest(spec)
    assert manifest["alignment"] == 16
    assert "onnx" not in manifest
    assert [entry["stage"] for entry in manifest["stages"]] == [5, 4, 3, 2, 1]
    for entry in manifest["stages"]:
        assert entry["alignment"] == 2 ** (entry["stage"] - 1)
        assert entry["widths"] == [8, 16, 32, 64, 64][: entry["stage"]]
        assert entry["decoder_ends_with_relu"] is True
        for role in ("encoder", "decoder"):
            file = out / entry[role]["weights"]
            assert entry[role]["sha256"] == sha256(file)
            assert entry[role]["parameters"] == sum(t.numel() for t in load_file(file).values())
            assert entry[role]["header"] == header(spec, entry["stage"], role)


def test_ridges_given_are_those_of_the_exported_model_alone(tmp_path):
    spec = trained(tmp_path / "source", "wct-vgg16-64x")
    first = export_model(spec, tmp_path / "first", ridges={5: 10.0, 4: 1.0})
    second = export_model(first.spec, tmp_path / "second", ridges={4: 0.0})
    for result, ridges in ((first, [10, 1, 0, 0, 0]), (second, [10, 0, 0, 0, 0])):
        assert [pair.ridge for pair in load_cascade(result.spec).pairs] == ridges
        manifest = json.loads(result.manifest.read_text())
        assert [entry["ridge"] for entry in manifest["stages"]] == ridges
    assert [pair.ridge for pair in load_cascade(spec).pairs] == [0, 0, 0, 0, 0]
    assert weights_digest(first.spec) != weights_digest(spec)


def test_files_without_a_header_are_of_an_unknown_compressor(tmp_path):
    spec = trained(tmp_path / "source")
    for pair in own_files(tmp_path / "source", (4,)):
        for path in pair:
            save_file(load_file(path), path)
    for network in export_model(spec, tmp_path / "out").networks:
        metadata = read_tensors(network.weights)[1]
        assert metadata["compressor"] == "unknown"
        assert (metadata["ratio"], metadata["role"]) == ("64", network.role)
        assert "steps" not in metadata
        assert str(tmp_path) not in json.dumps(metadata)


def test_fp16_halves_the_files_and_rounds_the_weights(tmp_path):
    spec = trained(tmp_path / "source")
    result = export_model(spec, tmp_path / "out", dtype="fp16", onnx=True)
    for network in result.networks:
        source = load_file(tmp_path / "source" / network.weights.name)
        found = load_file(network.weights)
        assert all(torch.equal(found[key], source[key].half()) for key in found)
        largest = 2 * sum(value.numel() for value in found.values()) + 8000
        assert network.weights.stat().st_size < largest
        assert network.onnx is not None
        assert network.onnx.stat().st_size < largest


def test_what_fp16_cannot_hold_is_named(tmp_path):
    spec = trained(tmp_path / "source")
    file = tmp_path / "source" / "stage4-decoder.safetensors"
    tensors = load_file(file)
    tensors["conv2_1.bias"][0] = -1e5
    save_file(tensors, file)
    problem = problem_of(spec, tmp_path / "out", dtype="fp16")
    assert "stage4-decoder.safetensors: conv2_1.bias holds values up to 1e+05" in problem
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_embedded_models")
def test_random_weights_are_not_exported(tmp_path):
    problem = problem_of(parse_model("adain-vgg19-64x"), tmp_path / "out")
    assert "are not trained (random, seed 0)" in problem
    assert "'adain-vgg19-64x:FOLDER'" in problem
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path):
    spec = trained(tmp_path / "source")
    before = weights_digest(spec)
    assert "source: holds stage4-decoder.safetensors already" in problem_of(
        spec, tmp_path / "source"
    )
    assert weights_digest(spec) == before
    (tmp_path / "file").write_text("kept")
    assert "is a file; expected the name of a folder" in problem_of(spec, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    assert "cannot be written" in problem_of(spec, tmp_path / "file" / "below")


def test_an_empty_folder_may_be_there_already_and_readers_may_be_others(tmp_path):
    spec = trained(tmp_path / "source")
    (tmp_path / "out").mkdir()
    export_model(spec, tmp_path / "out")
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1


@pytest.mark.usefixtures("no_embedded_models")
@pytest.mark.parametrize("model", [MODEL, "adain-vgg16-1x"])
def test_embedded_models_are_exported_with_what_is_known_of_each_network(model, tmp_path):
    source = trained(tmp_path / "source", model)
    teacher = load_named("vgg16-normalised").state_dict()
    spec = source._replace(weights=None)
    if spec.ratio == 1:
        file = tmp_path / "source" / "stage4-encoder.safetensors"
        save_file({key: teacher[key] for key in load_file(file) if key in teacher}, file)
    embed([source], embedded.ASSETS)
    result = export_model(spec, tmp_path / "out")
    before, after = load_cascade(spec), load_cascade(result.spec)
    assert before.weights == after.weights == "trained"
    for old, new in zip(reconstructions(before), reconstructions(after), strict=True):
        assert torch.equal(old, new)
    encoder, decoder = (read_tensors(network.weights)[1] for network in result.networks)
    assert (decoder["compressor"], decoder["steps"]) == ("fitnet", "123")
    assert decoder["source"] == f"embedded {model}.safetensors"
    if spec.ratio == 1:
        assert encoder["compressor"] == "teacher"
        assert "CC BY 4.0" in encoder["source"]
        assert "steps" not in encoder
    else:
        assert (encoder["compressor"], encoder["role"]) == ("fitnet", "encoder")


def test_the_published_students_are_exported_with_their_wider_stage_1(students, tmp_path):
    spec = parse_model(f"wct-vgg19-16x:{students}")
    result = export_model(spec, tmp_path / "out", onnx=True)
    for old, new in zip(
        reconstructions(load_cascade(spec)), reconstructions(load_cascade(result.spec)), strict=True
    ):
        assert torch.equal(old, new)
    manifest = json.loads(result.manifest.read_text())
    assert manifest["stages"][-1]["widths"] == [24]
    assert "Collaborative Distillation" in manifest["stages"][0]["encoder"]["header"]["source"]


# ------------------------------------------------------------------------------------------ ONNX


@pytest.mark.parametrize("model", [MODEL, "wct-vgg19-64x"])
def test_every_stage_is_compared_at_each_size(model, tmp_path):
    spec = trained(tmp_path / "source", model)
    result = export_model(spec, tmp_path / "out", onnx=True, check_sizes=[ImageSize(80, 48)])
    assert [(n.stage, n.role) for n in result.networks] == [
        (stage, role) for stage in spec.stages for role in ("encoder", "decoder")
    ]
    for network in result.networks:
        assert network.onnx is not None
        assert network.onnx.is_file()
        step = alignment(network.stage) if network.role == "decoder" else 1
        sizes = [(d.shape[3] * step, d.shape[2] * step) for d in network.differences]
        assert sizes == [*default_check_sizes(network.stage), (80, 48)]
        assert {d.shape[0] for d in network.differences} == {1, 2}
        assert all(d.magnitude > 0 and d.ok for d in network.differences)
    manifest = json.loads(result.manifest.read_text())
    assert manifest["onnx"]["opset"] == 13
    entry = manifest["stages"][0]["decoder"]
    assert entry["onnx_sha256"] == sha256(tmp_path / "out" / entry["onnx"])
    assert len(entry["onnx_differences"]) == 4


@pytest.fixture(scope="module")
def deepest(tmp_path_factory):
    """Encoder and decoder of relu4_1, each in PyTorch and in ONNX Runtime."""
    pytest.importorskip("onnx", reason="needs the onnx extra")
    pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    import onnx

    folder = tmp_path_factory.mktemp("onnx")
    widths = (8, 16, 32, 64)
    encoder = Encoder("vgg16", widths, 4)
    decoder = Decoder("vgg16", widths, 4, final_relu=False)
    pairs = []
    for seed, network in enumerate((encoder, decoder)):
        seed_weights(network.requires_grad_(False), seed)
        onnx.save_model(to_onnx(network), str(folder / f"{seed}.onnx"))
        pairs.append((network, OnnxNetwork(folder / f"{seed}.onnx")))
    return pairs


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(16, 90), width=st.integers(16, 90))
def test_an_encoder_takes_any_batch_height_and_width(deepest, batch, height, width):
    network, onnx_network = deepest[0]
    # Multiples of the alignment are what the manifest asks for; pooling floors others alike.
    assert compare(network, onnx_network, torch.rand(batch, 3, height, width)).ok


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(2, 12), width=st.integers(2, 12))
def test_a_decoder_takes_any_batch_height_and_width(deepest, batch, height, width):
    network, onnx_network = deepest[1]
    assert compare(network, onnx_network, torch.rand(batch, 64, height, width)).ok


@pytest.mark.parametrize("family", CONVS_PER_BLOCK)
def test_the_graph_names_its_free_sides_and_reflects_at_each_convolution(family):
    pytest.importorskip("onnx", reason="needs the onnx extra")
    encoder = Encoder(family, (8, 8, 8), 3)
    model = to_onnx(encoder, metadata={"compressor": "fitnet"})
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    (image,), (features,) = model.graph.input, model.graph.output
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]
    assert features.name == "features"
    assert features.type.tensor_type.shape.dim[1].dim_value == 8
    modes = [a.s for n in model.graph.node if n.op_type == "Pad" for a in n.attribute]
    assert modes == [b"reflect"] * len(encoder_convs(family, (8, 8, 8), 3))
    assert {p.key: p.value for p in model.metadata_props} == {"compressor": "fitnet"}


@pytest.mark.parametrize(
    ("role", "operator", "attribute", "value"),
    [
        ("encoder", "Pad", "mode", b"edge"),
        ("decoder", "Pad", "mode", b"edge"),
        ("decoder", "Resize", "nearest_mode", b"ceil"),
    ],
)
def test_a_graph_that_computes_something_else_is_refused(
    role, operator, attribute, value, tmp_path, monkeypatch, capsys
):
    spec = trained(tmp_path / "source")

    def wrong(network, **options):
        model = to_onnx(network, **options)
        if model.graph.name.endswith(role):
            node = next(node for node in model.graph.node if node.op_type == operator)
            next(a for a in node.attribute if a.name == attribute).s = value
        return model

    monkeypatch.setattr("distill.exporting.model.to_onnx", wrong)
    with pytest.raises(CheckFailedError, match=f"stage4-{role}.onnx differs from PyTorch"):
        export_model(spec, tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
    assert run_app(app, "distill", ["export", str(spec), str(tmp_path / "out"), "--onnx"]) == 1
    assert "nothing was exported" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_only_onnx_is_out_of_reach(package, tmp_path, monkeypatch, capsys):
    spec = trained(tmp_path / "source")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentUnfitError):
        export_model(spec, tmp_path / "out", onnx=True)
    assert run_app(app, "distill", ["export", str(spec), str(tmp_path / "out"), "--onnx"]) == 4
    error = capsys.readouterr().err
    assert f"the package {package!r}" in error
    assert "pip install 'ultrastyle-bench[onnx]'" in error
    assert not (tmp_path / "out").exists()
    export_model(spec, tmp_path / "out")


@pytest.mark.parametrize(
    ("size", "nearest"), [((50, 64), "48x64"), ((64, 8), "64x16"), ((1, 1), "16x16")]
)
def test_sizes_that_the_model_cannot_take_are_refused(size, nearest, tmp_path):
    spec = trained(tmp_path / "source")
    problem = problem_of(spec, tmp_path / "out", onnx=True, check_sizes=[ImageSize(*size)])
    assert "multiples of 8, 16 at the least" in problem
    assert problem.endswith(f"the nearest is {nearest}")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------ the command


def test_the_command_says_what_it_wrote_and_nothing_else(tmp_path, capfd, recwarn):
    spec, out = trained(tmp_path / "source"), tmp_path / "out"
    arguments = ["export", str(spec), str(out), "--onnx", "--check-size", "96x64"]
    assert run_app(app, "distill", arguments) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert not recwarn.list
    assert "stage4-decoder.onnx" in said.out
    assert "ONNX differs from PyTorch by" in said.out
    assert said.out.rstrip().endswith(f"use it as {MODEL}:{out}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dtype", "fp8"], "--dtype fp8: must be one of fp32, fp16"),
        (["--onnx", "--check-size", "64"], "--check-size 64: expected WxH in pixels"),
        (["--onnx", "--check-size", "0x64"], "--check-size 0x64: expected WxH in pixels"),
        (["--check-size", "64x64"], "only ONNX is checked"),
        (["--ridge", "4=1"], "adain does not whiten"),
    ],
)
def test_wrong_use_ends_with_one_line(arguments, expected, tmp_path, capsys):
    spec = trained(tmp_path / "source")
    assert run_app(app, "distill", ["export", str(spec), str(tmp_path / "out"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ridge", "expected"),
    [
        ("6=1", "'6' is no stage"),
        ("5", "'' is no number from 0 up"),
        ("5=-1", "no number from 0 up"),
        ("5=inf", "no number from 0 up"),
    ],
)
def test_a_ridge_that_is_none_is_one_line(ridge, expected, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["export", "wct-vgg16-16x", str(out), "--ridge", ridge]
    assert run_app(app, "distill", arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not out.exists()


def test_a_model_that_does_not_exist_is_answered_with_the_nearest(tmp_path, capsys):
    assert run_app(app, "distill", ["export", "wct-vgg16-15x", str(tmp_path / "out")]) == 2
    assert "did you mean 'wct-vgg16-16x'?" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["adain-vgg16-64x", "wct-vgg16-64x"])
def test_a_model_run_by_its_manifest_paints_the_suites_picture(tmp_path: Path, model: str) -> None:
    """At sizes off the grid, by ONNX Runtime."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    spec = trained(tmp_path / "model", model)
    result = export_model(spec, tmp_path / "out", onnx=True)
    assert min(picture.psnr_db for picture in result.pictures) > 80
    manifest = json.loads(result.manifest.read_text())
    assert manifest["alignment"] == 16
    measured = [entry["psnr_db"] for entry in manifest["pictures"]["differences"]]
    assert measured == [round(picture.psnr_db, 1) for picture in result.pictures]


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("alignment",), 8),
        (("statistics", "variance_divisor_less"), -400),
        (("statistics", "epsilon"), 10.0),
    ],
)
def test_each_word_of_the_manifest_matters(
    tmp_path: Path, keys: tuple[str, ...], value: float
) -> None:
    """With another it is another picture: none is there for show."""
    spec = trained(tmp_path / "model")
    result = export_model(spec, tmp_path / "out")
    manifest = json.loads(result.manifest.read_text())
    networks = load_cascade(spec)
    exported = {(p.encoder.stage, role): n for p in networks.pairs for role, n in roles(p)}
    right = compare_pictures(networks, "adain", manifest, exported)
    assert min(picture.psnr_db for picture in right) > 80
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    wrong = compare_pictures(networks, "adain", manifest, exported)
    assert min(picture.psnr_db for picture in wrong) < 60


def test_fp16_is_compared_with_the_model_that_was_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = trained(tmp_path / "model")
    result = export_model(spec, tmp_path / "half", dtype="fp16")
    assert 30 < min(picture.psnr_db for picture in result.pictures) < 100
    monkeypatch.setitem(LEAST_DB, "fp16", 200.0)
    assert "dB from the suite's" in problem_of(spec, tmp_path / "none", dtype="fp16")
    assert not (tmp_path / "none").exists()
