"""Names of models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.models import FAMILIES, METHODS, RATIOS, ModelSpec, model_names, parse_model

specs = st.builds(
    ModelSpec,
    st.sampled_from(METHODS),
    st.sampled_from(FAMILIES),
    st.sampled_from(RATIOS),
    st.none() | st.text(min_size=1).filter(lambda text: text == text.strip()),
)


@given(spec=specs)
def test_names_are_read_as_they_are_written(spec):
    assert parse_model(str(spec)) == spec


def test_every_name_is_known():
    assert len(set(model_names())) == 2 * 2 * 7
    assert [str(parse_model(name)) for name in model_names()] == model_names()


def test_a_path_may_hold_colons_and_blanks():
    assert parse_model(" wct-vgg19-16x:C:/my weights ").weights == "C:/my weights"


def test_stages_run_from_coarse_to_fine():
    assert parse_model("wct-vgg16-4x").stages == (5, 4, 3, 2, 1)
    assert parse_model("adain-vgg19-1x").stages == (4,)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("wct-vgg16-16", "did you mean 'wct-vgg16-16x'?"),
        ("wct-vgg16-12x", "did you mean 'wct-vgg16-16x'?"),
        ("wct-vgg16-3x:weights", "did you mean 'wct-vgg16-4x:weights'?"),
        ("wct-vgg16-1000x", "did you mean 'wct-vgg16-64x'?"),
        ("wct-vgg16-0x", "did you mean 'wct-vgg16-1x'?"),
        ("adian-vgg19-4x", "did you mean 'adain-vgg19-4x'?"),
        ("WCT-VGG16-4X", "got 'WCT-VGG16-4X'"),
        ("wct-vgg16-16x:", "a path of weights is missing"),
        ("", "RATIO one of 1, 2, 4, 8, 16, 32, 64"),
        ("resnet", "METHOD wct or adain"),
        (16, "got 16"),
        (None, "got None"),
    ],
)
def test_other_names_are_refused_with_what_is_right(text, hint):
    with pytest.raises(ValueError) as caught:
        parse_model(text)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)
