import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imaging import errors
from app.imaging.errors import FileTooLarge, ImageError, ModelUnavailable


@pytest.mark.parametrize(
    ("size", "limit", "sentence"),
    [
        (13_107_200, 10_485_760, "File size (12.5MB) exceeds maximum (10MB)"),
        (12_582_912, 10_485_760, "File size (12MB) exceeds maximum (10MB)"),
        (10_485_761, 10_485_760, "File size (10.1MB) exceeds maximum (10MB)"),
        (10_010_000, 10_000_000, "File size (9.55MB) exceeds maximum (9.54MB)"),
        (2, 1, "File size (0.000002MB) exceeds maximum (0.000001MB)"),
    ],
)
def test_a_size_reads_in_megabytes(size: int, limit: int, sentence: str) -> None:
    assert str(FileTooLarge(size, limit)) == sentence


@given(limit=st.integers(1, 10**10), excess=st.integers(1, 10**9))
def test_a_size_too_large_never_reads_like_the_limit(limit: int, excess: int) -> None:
    words = str(FileTooLarge(limit + excess, limit)).split("(")

    assert words[1].split(")")[0] != words[2].split(")")[0]


def test_every_error_has_a_code_and_a_sentence() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ImageError)]

    assert {kind.code for kind in kinds} == {
        "invalid_image",
        "file_empty",
        "file_too_large",
        "unsupported_format",
        "dimensions_too_large",
        "dimensions_too_small",
        "image_truncated",
        "roi_exceeds_bounds",
        "roi_region_empty",
        "image_corrupt",
        "image_too_complex",
        "unknown_foreground",
    }


def test_missing_weights_are_no_pictures_fault() -> None:
    assert ModelUnavailable.code == "model_unavailable"
    assert not issubclass(ModelUnavailable, ImageError)
