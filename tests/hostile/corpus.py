"""All hostile pictures: small ones that show every way to be odd, and bombs that show how bad it can get."""

from tests.hostile import of_jpeg, of_others, of_png
from tests.hostile.cases import Case


def cases() -> list[Case]:
    return [*of_png.cases(), *of_jpeg.cases(), *of_others.cases()]


def bombs() -> list[Case]:
    return [*of_png.bombs(), *of_jpeg.bombs(), *of_others.bombs()]
