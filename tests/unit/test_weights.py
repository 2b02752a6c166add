"""Named weights: checksums, what they compute, and what a file that is none leads to."""

import io
import pickle
import urllib.request
from email.message import Message
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torchvision.models import get_weight

from bench.image_tensors import load_tensor
from bench.units import Size
from distill import weights
from distill.errors import UserError
from distill.networks import TEACHER_WIDTHS, encoder_convs
from distill.registry import REGISTRY
from distill.weights import download, load_named, read_tensors, sha256

pytestmark = pytest.mark.numerical

EMBEDDED = Path(weights.__file__).parent / "assets/vgg16-normalised.safetensors"


def test_the_embedded_file_has_its_checksum_and_attribution():
    assert sha256(EMBEDDED) == REGISTRY["vgg16-normalised"].digest
    tensors, metadata = read_tensors(EMBEDDED)
    names = {
        f"{conv.name}.{part}"
        for conv in encoder_convs("vgg16", TEACHER_WIDTHS, 5)
        for part in ("weight", "bias")
    }
    assert set(tensors) == names
    assert "CC BY 4.0" in metadata["attribution"]
    assert "CC BY 4.0" in EMBEDDED.with_name("ATTRIBUTION.md").read_text(encoding="utf-8")


def test_a_damaged_copy_is_refused(tmp_path, monkeypatch):
    assets = tmp_path / "assets"
    assets.mkdir()
    damaged = bytearray(EMBEDDED.read_bytes())
    damaged[-1] ^= 1
    (assets / EMBEDDED.name).write_bytes(damaged)
    monkeypatch.setattr(weights, "files", lambda _: tmp_path)
    with pytest.raises(UserError, match=r"SHA-256 is .* damaged; install") as caught:
        load_named("vgg16-normalised")
    assert EMBEDDED.name in caught.value.problems[0]


def test_mean_activations_on_photographs_are_of_order_one():
    """They were made 1 on other photographs (Gatys et al. 2015)."""
    encoder = load_named("vgg16-normalised")
    layers = [conv.name.replace("conv", "relu") for conv in encoder.description]
    photos = [
        load_tensor(f"builtin:{name}", Size(256, 256), role="content")
        for name in ("astronaut", "chelsea", "coffee")
    ]
    with torch.inference_mode():
        found = [[x.mean((0, 2, 3)) for x in encoder.features(photo, layers)] for photo in photos]
    for layer, *means in zip(layers, *found, strict=True):
        mean = torch.stack(means).mean(0)
        assert 0.5 < mean.mean() < 2, layer
        # Three photographs do not show every filter what it looks for.
        assert ((mean > 0.1) & (mean < 10)).float().mean() > 0.9, layer
        assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="'vgg11'; known are vgg16-normalised, vgg16-torchvision"):
        load_named("vgg11")


# ------------------------------------------------------------------------ files that are no weights


class Code:
    """Its pickle runs code when read."""

    def __reduce__(self):
        return print, ("run",)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped_tensors() -> bytes:
    return saved({"conv1_1.weight": torch.ones(64, 3, 3, 3)})


BAD = {
    "empty.pth": b"",
    "empty.safetensors": b"",
    "text.pth": b"this is not a network\n",
    "text.safetensors": b"this is not a network\n",
    "html.pth": b"<!DOCTYPE html><html><body>404: Not Found</body></html>",
    "pointer.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "truncated.safetensors": EMBEDDED.read_bytes()[:100_000],
    "truncated.pth": zipped_tensors()[:2000],
    "code.pth": pickle.dumps({"conv1_1.weight": Code()}),
    "code_in_a_checkpoint.pth": saved({"conv1_1.weight": Code()}),
    "module.pth": saved(torch.nn.Conv2d(3, 3, 1)),
    "list.pth": saved([torch.ones(2)]),
    "tensor.pth": saved(torch.ones(2)),
    "numbers.pth": saved({"epoch": 3}),
    "keys.pth": saved({1: torch.ones(2)}),
    # What broken bytes have been seen to raise: IndexError, struct.error, AssertionError.
    "stop.pth": b".",
    "short.pth": b"J",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_weights_is_named(name, tmp_path, capfd):
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    (problem,) = caught.value.problems
    assert str(path) in problem
    assert "\n" not in problem
    assert "run" not in capfd.readouterr().out


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError, match="there is no such weights file") as caught:
            read_tensors(path)
        assert str(path) in str(caught.value)


@settings(max_examples=200)
@given(
    cut=st.none() | st.integers(0, 1 << 13),
    changes=st.lists(st.tuples(st.integers(0, 1 << 13), st.integers(0, 255)), max_size=6),
    legacy=st.booleans(),
)
def test_no_damage_gets_beyond_a_user_error(cut, changes, legacy, tmp_path_factory):
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(4, 4)}, buffer, _use_new_zipfile_serialization=not legacy)
    damaged = bytearray(buffer.getvalue()[:cut])
    for position, value in changes:
        if damaged:
            damaged[position % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(damaged)
    try:
        read_tensors(path)
    except UserError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_wrapped_checkpoints_are_opened(key, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({key: {"conv0.bias": torch.ones(3)}, "epoch": 7}, path)
    assert read_tensors(path)[0]["conv0.bias"].tolist() == [1, 1, 1]


def test_metadata_of_safetensors(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"stage": "3"})
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors")
    assert read_tensors(tmp_path / "a.safetensors")[1] == {"stage": "3"}
    assert read_tensors(tmp_path / "b.safetensors")[1] == {}


# --------------------------------------------------------------------------------------- downloads

ALEXNET = "AlexNet_Weights.IMAGENET1K_V1"
DOWNLOADS = [entry for entry in REGISTRY.values() if entry.source == "download"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch's cache, empty; its checkpoints folder."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub/checkpoints"


def serve(monkeypatch, answer):
    """What comes instead of the network; everything that torch or anyone opens by address."""
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr(torch.hub, "urlopen", answer)


def respond(content: bytes):
    class Response(io.BytesIO):
        def info(self) -> Message:
            message = Message()
            message["Content-Length"] = str(len(content))
            return message

    return lambda *_, **__: Response(content)


@pytest.mark.parametrize("entry", DOWNLOADS, ids=lambda entry: entry.name)
def test_the_registry_states_the_digests_of_torchvision(entry):
    url = get_weight(entry.torchvision).url
    assert url.endswith(f"-{entry.digest}.pth")


@pytest.mark.parametrize(
    "failure",
    [
        URLError("name resolution failed"),
        TimeoutError("too slow"),
        ConnectionResetError("gone"),
        PermissionError(13, "Permission denied"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_a_network_it_says_what_to_do(failure, hub, monkeypatch):
    def fail(*_, **__):
        raise failure

    serve(monkeypatch, fail)
    with pytest.raises(UserError) as caught:
        load_named("vgg19-torchvision")
    (problem,) = caught.value.problems
    assert "VGG19_Weights.IMAGENET1K_V1 must be downloaded, and that failed" in problem
    assert "https://" in problem
    assert str(hub / "vgg19-dcbb9e9d.pth") in problem
    assert "\n" not in problem


def test_a_damaged_download_is_refused_and_not_kept(hub, monkeypatch):
    serve(monkeypatch, respond(saved({"features.0.weight": torch.ones(1)})))
    with pytest.raises(UserError, match=r"AlexNet_Weights.* is damaged .*hash.*try again"):
        download(ALEXNET)
    assert not list(hub.glob("*.pth"))


@pytest.mark.parametrize("content", [b"", b"cut off", saved({"features.0.weight": torch.ones(1)})])
def test_a_damaged_file_in_the_cache_is_refused(content, hub, monkeypatch):
    hub.mkdir(parents=True)
    cached = hub / get_weight(ALEXNET).url.rpartition("/")[2]
    cached.write_bytes(content)
    serve(monkeypatch, respond(b"nothing should be asked for"))
    with pytest.raises(UserError, match=r"is damaged .*; delete it and try again") as caught:
        download(ALEXNET)
    assert str(cached) in str(caught.value)


def test_what_was_downloaded_is_cached(hub, monkeypatch, tmp_path):
    content = saved({"features.0.weight": torch.ones(2)})
    (tmp_path / "file").write_bytes(content)
    name = f"tiny-{sha256(tmp_path / 'file')[:8]}.pth"
    target = hub / name
    monkeypatch.setattr(weights, "torchvision_file", lambda _: (f"https://host/{name}", target))
    serve(monkeypatch, respond(content))
    assert download("tiny")["features.0.weight"].tolist() == [1, 1]
    serve(monkeypatch, respond(b"it is asked for once only"))
    assert download("tiny")["features.0.weight"].tolist() == [1, 1]
