"""The networks of a model: where their weights come from, and what does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.stylizers import load_stylizer
from distill.cascades import (
    architecture,
    convert_published,
    load_cascade,
    model_widths,
    own_files,
    weights_digest,
)
from distill.errors import UserError
from distill.header import Header
from distill.models import ModelSpec, parse_model
from distill.networks import STAGES
from distill.weights import load_named, read_tensors

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("no_embedded_models")]


def save_folder(folder: Path, model: str, seed: int = 0) -> ModelSpec:
    """Random weights of a model in the project's layout; the model with this folder."""
    spec = parse_model(model)
    folder.mkdir(exist_ok=True)
    pairs = load_cascade(spec, seed=seed).pairs
    for pair, files in zip(pairs, own_files(folder, spec.stages), strict=True):
        for network, file in zip((pair.encoder, pair.decoder), files, strict=True):
            save_file(network.state_dict(), file)
    return spec._replace(weights=str(folder))


def states(spec: ModelSpec, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    pairs = load_cascade(spec, seed=seed).pairs
    return [net.state_dict() for pair in pairs for net in (pair.encoder, pair.decoder)]


def assert_same(first: list[dict[str, torch.Tensor]], second: list[dict[str, torch.Tensor]]):
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(("text", "ridge"), [("2.5", 2.5), ("0", 0.0), (None, 0.0)])
def test_a_decoders_header_says_the_ridge_of_its_stage(text, ridge, tmp_path):
    spec = save_folder(tmp_path, "wct-vgg16-64x")
    for stage in STAGES:
        path = tmp_path / f"stage{stage}-decoder.safetensors"
        header = Header("vgg16", "wct", 64, stage, "decoder", "collaborative").metadata()
        said = {} if stage != 3 or text is None else {"ridge": text}
        save_file(load_file(path), path, metadata=header | said)
    assert [pair.ridge for pair in load_cascade(spec).pairs] == [0, 0, ridge, 0, 0]


@pytest.mark.parametrize("text", ["-1", "inf", "nan"])
def test_a_ridge_that_is_none_is_named(text, tmp_path):
    spec = save_folder(tmp_path, "wct-vgg16-64x")
    path = tmp_path / "stage4-decoder.safetensors"
    header = Header("vgg16", "wct", 64, 4, "decoder", "collaborative").metadata()
    save_file(load_file(path), path, metadata=header | {"ridge": text})
    with pytest.raises(UserError, match=r"stage4-decoder.*ridge .*from 0 up"):
        load_cascade(spec)


@pytest.mark.parametrize("model", ["wct-vgg16-64x", "adain-vgg19-32x"])
def test_a_folder_of_weights_is_read_as_it_was_written(model, tmp_path):
    spec = save_folder(tmp_path, model, seed=5)
    networks = load_cascade(spec)
    assert networks.weights == "trained"
    assert str(tmp_path) in networks.detail
    assert_same(states(spec), states(parse_model(model), seed=5))


def test_random_weights_are_labelled_seeded_and_of_the_whole_model():
    spec = parse_model("wct-vgg19-64x")
    networks = load_cascade(spec, seed=3)
    assert networks.weights == "random"
    assert networks.detail == "random, seed 3"
    assert [pair.encoder.stage for pair in networks.pairs] == [5, 4, 3, 2, 1]
    assert_same(states(spec, seed=3), states(spec, seed=3))
    first, other = states(spec, seed=3)[0], states(spec, seed=4)[0]
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_the_embedded_encoder_serves_where_it_fits():
    networks = load_cascade(parse_model("adain-vgg16-1x"))
    assert networks.weights == "random"
    assert networks.detail == "encoders vgg16-normalised (embedded), decoders random, seed 0"
    teacher = load_named("vgg16-normalised").state_dict()
    own = networks.pairs[0].encoder.state_dict()
    assert all(torch.equal(own[key], teacher[key]) for key in own)


@pytest.mark.parametrize(("method", "final_relu"), [("wct", True), ("adain", False)])
def test_the_last_relu_belongs_to_wct(method, final_relu):
    pairs = load_cascade(parse_model(f"{method}-vgg16-64x")).pairs
    assert {pair.decoder.final_relu for pair in pairs} == {final_relu}


def test_a_digest_tells_weights_apart(tmp_path):
    model = "adain-vgg16-64x"
    spec, other = save_folder(tmp_path / "a", model), save_folder(tmp_path / "b", model, seed=1)
    same = save_folder(tmp_path / "c", model)
    assert weights_digest(spec) == weights_digest(same)
    digests = [weights_digest(x) for x in (spec, other, parse_model(model))]
    digests.append(weights_digest(parse_model(model), seed=1))
    assert len(set(digests)) == 4
    assert all(len(digest) == 16 for digest in digests)


# ------------------------------------------------------------------------------ what does not fit


def problem_of(spec: ModelSpec) -> str:
    with pytest.raises(UserError) as caught:
        load_cascade(spec)
    (problem,) = caught.value.problems
    assert "\n" not in problem
    return problem


def changed(path: Path, **tensors: torch.Tensor | None) -> None:
    """Rewrite a file with some of its tensors replaced, added or (None) left out."""
    content: dict[str, torch.Tensor | None] = {**load_file(path), **tensors}
    save_file({key: value for key, value in content.items() if value is not None}, path)


def nan_in(tensor: torch.Tensor) -> torch.Tensor:
    tensor[-1] = torch.nan
    return tensor


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("conv3_1.bias", lambda _: None, "has no tensor 'conv3_1.bias'; it holds conv"),
        ("conv9_1.bias", lambda _: torch.ones(3), "has a tensor 'conv9_1.bias' that this network"),
        ("conv3_1.bias", lambda _: torch.ones(7), "conv3_1.bias is (7,) where the model has ("),
        ("conv3_1.bias", nan_in, "conv3_1.bias holds values that are not finite"),
        ("conv3_1.weight", lambda old: old / 0, "conv3_1.weight holds values that are not finite"),
    ],
)
@pytest.mark.parametrize("role", [0, 1])
def test_a_tensor_that_does_not_fit_is_named(role, name, change, expected, tmp_path):
    spec = save_folder(tmp_path, "adain-vgg16-64x")
    file = own_files(tmp_path, (4,))[0][role]
    changed(file, **{name: change(load_file(file).get(name))})
    problem = problem_of(spec)
    assert problem.startswith(f"{file}: ")
    assert expected in problem


def test_weights_of_another_ratio_or_method_do_not_fit(tmp_path):
    save_folder(tmp_path, "wct-vgg16-64x")
    problem = problem_of(parse_model(f"wct-vgg16-32x:{tmp_path}"))
    assert "is it of another ratio or stage?" in problem
    problem = problem_of(parse_model(f"wct-vgg19-64x:{tmp_path}"))
    assert "has no tensor 'conv3_4.bias'" in problem


@pytest.mark.parametrize("model", ["wct-vgg16-64x", "wct-vgg19-16x", "adain-vgg19-16x"])
def test_a_folder_without_the_files_is_named(model, tmp_path):
    missing = tmp_path / "none"
    for fails in (load_cascade, weights_digest):
        with pytest.raises(UserError, match="there is no folder") as caught:
            fails(parse_model(f"{model}:{missing}"))
        assert str(missing) in str(caught.value)
    problem = problem_of(parse_model(f"{model}:{tmp_path}"))
    assert str(tmp_path) in problem
    assert "lacks stage" in problem
    assert "{k}SE.pth" in problem


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert "there is no folder" in problem_of(parse_model(f"wct-vgg16-64x:{tmp_path / 'file'}"))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"", b"PK\x03\x04 no archive", b"\x80\x02."])
def test_what_is_no_weights_file_is_said_in_one_line_of_our_own(content, tmp_path):
    file = tmp_path / "picture.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match="it is no PyTorch file, damaged") as caught:
        read_tensors(file)
    (problem,) = caught.value.problems
    assert "\n" not in problem
    assert "weights_only" not in problem


def test_a_damaged_file_in_the_folder_is_named(tmp_path):
    spec = save_folder(tmp_path, "adain-vgg16-64x")
    file = own_files(tmp_path, (4,))[0][1]
    file.write_bytes(file.read_bytes()[:1000])
    assert problem_of(spec).startswith(f"{file}: cannot be read as weights")


def test_published_files_that_are_not_all_there(tmp_path):
    (tmp_path / "5SE.pth").touch()
    problem = problem_of(parse_model(f"wct-vgg19-16x:{tmp_path}"))
    assert "lacks 5SD.pth, 4SE.pth, 4SD.pth" in problem


def test_a_damaged_first_stage_is_named_even_where_only_its_width_is_asked(tmp_path):
    (tmp_path / "stage1-encoder.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"stage1-encoder\.safetensors: cannot be read"):
        architecture(parse_model(f"wct-vgg19-16x:{tmp_path}"))


# -------------------------------------------------------------------------- the published students


def test_published_students_are_read(students):
    spec = parse_model(f"wct-vgg19-16x:{students}")
    networks = load_cascade(spec)
    assert networks.weights == "trained"
    assert [model_widths(spec, stage)[0] for stage in STAGES] == [24, 16, 16, 16, 16]
    parameters = sum(
        parameter.numel()
        for pair in networks.pairs
        for network in (pair.encoder, pair.decoder)
        for parameter in network.parameters()
    )
    assert parameters == architecture(spec).parameters == 2_146_003
    # Their input convolution was trained: it is not the colour conversion it started as.
    original = torch.tensor([[0, 0, 255.0], [0, 255.0, 0], [255.0, 0, 0]])
    assert not torch.equal(networks.pairs[-1].encoder.conv0.weight[..., 0, 0], original)


def test_published_students_are_refused_for_another_model(students):
    for model in ("wct-vgg19-4x", "wct-vgg16-16x", "adain-vgg19-16x"):
        problem = problem_of(parse_model(f"{model}:{students}"))
        assert f"which are 'wct-vgg19-16x:{students}'" in problem


def test_conversion_keeps_everything(students, tmp_path):
    target = tmp_path / "made/for/it"
    written = convert_published(students, target)
    assert {path.name for path in written} == {
        f"stage{stage}-{role}.safetensors" for stage in STAGES for role in ("encoder", "decoder")
    }
    assert set(written) == set(target.iterdir())
    (tmp_path / "any").touch()
    rights = {path.stat().st_mode for path in written}
    assert rights == {(tmp_path / "any").stat().st_mode}, "for their owner only"
    before, after = (parse_model(f"wct-vgg19-16x:{folder}") for folder in (students, target))
    assert architecture(after) == architecture(before)
    assert_same(states(after), states(before))

    content, style = torch.rand(1, 3, 40, 48), torch.rand(1, 3, 32, 32)
    first, second = (load_stylizer(str(spec)) for spec in (before, after))
    outputs = [net.stylize(content, net.encode_style(style)) for net in (first, second)]
    assert torch.equal(*outputs)
    assert first.macs_per_pixel == second.macs_per_pixel == 100_368


def test_embedding_layers_come_along(students, tmp_path):
    convert_published(students, tmp_path)
    shapes = {
        stage: {
            key: tuple(value.shape[:2])
            for key, value in read_tensors(own_files(tmp_path, (stage,))[0][0])[0].items()
            if key.startswith("embedding") and key.endswith(".weight")
        }
        for stage in STAGES
    }
    assert shapes[1] == {"embedding1_1.weight": (64, 24)}
    assert shapes[5] == {
        f"embedding{block}_1.weight": (teacher, student)
        for block, (teacher, student) in enumerate(
            [(64, 16), (128, 32), (256, 64), (512, 128), (512, 128)], start=1
        )
    }
    metadata = read_tensors(own_files(tmp_path, (3,))[0][1])[1]
    assert {key: metadata[key] for key in ("family", "method", "ratio", "stage", "role")} == {
        "family": "vgg19",
        "method": "wct",
        "ratio": "16",
        "stage": "3",
        "role": "decoder",
    }


def test_conversion_of_a_folder_without_them(tmp_path):
    for source in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="no published students there") as caught:
            convert_published(source, tmp_path / "out")
        assert str(source) in str(caught.value)
    assert not (tmp_path / "out").exists()
