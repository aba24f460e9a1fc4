"""The names of the networks that there are: rembg's. What is known of each stands in `imaging.models`."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator

from app.core.values import Names


class Model(StrEnum):
    """The networks that there are. The first is always there; the others where EXTRA_MODELS names them."""

    ISNET_GENERAL_USE = "isnet-general-use"
    U2NET = "u2net"
    U2NETP = "u2netp"
    U2NET_HUMAN_SEG = "u2net_human_seg"
    SILUETA = "silueta"
    ISNET_ANIME = "isnet-anime"
    BIREFNET_GENERAL = "birefnet-general"
    BIREFNET_GENERAL_LITE = "birefnet-general-lite"
    BIREFNET_PORTRAIT = "birefnet-portrait"
    BIREFNET_DIS = "birefnet-dis"
    BIREFNET_HRSOD = "birefnet-hrsod"
    BIREFNET_COD = "birefnet-cod"
    BIREFNET_MASSIVE = "birefnet-massive"
    BRIA_RMBG = "bria-rmbg"


def _extra(values: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, and without the one that is there anyway."""
    if unknown := [value for value in values if value not in set(Model)]:
        raise ValueError(f"there is no model {unknown[0]}; there are {', '.join(Model)}")
    return tuple(model for model in dict.fromkeys(values) if model != Model.ISNET_GENERAL_USE)


ExtraModels = Annotated[Names, AfterValidator(_extra)]
