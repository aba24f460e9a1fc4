"""The networks: what a user must know of each, where it comes from, and what it wants to see.

All but IS-Net "general use" are others of rembg's, with the addresses, checksums and figures of its sessions (rembg
2.0.86, `rembg/sessions`). What of those is left out gives no single matte (`u2net_cloth_seg`), is asked by points
(`sam`), is a file of the caller's (`…_custom`), is made of another one (`birefnet-general-fp16`), or is no network but
a service (`withoutbg`, `atlascloud`).
"""

from dataclasses import dataclass

RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
GIB = 2**30

Colour = tuple[float, float, float]

_HALF, _ONE = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_REMBG = "rembg, whose release it is fetched from: MIT"
_DIS5K = "DIS5K, the data it was trained on: for non-commercial research; what that means for the weights is open"
_U2NET = (
    "U-2-Net, its authors' repository, code and weights: Apache-2.0",
    "DUTS, the data it was trained on: states no licence; what that means for the weights is open",
    _REMBG,
)
_BIREFNET = (
    "BiRefNet, its author's repository, code and weights: MIT",
    "DIS5K and others, the data it was trained on: some for non-commercial research; what that means is open",
    _REMBG,
)


@dataclass(frozen=True)
class ModelEntry:
    """A network and what its use depends on.

    `commercial`: its licences are clear for commercial use. `url`, `digest`: its file, and the checksum as
    "md5:…" or "sha256:…". `side`: of the square that it sees, in pixels. `mean`, `std`: what colours of 0..1 are
    lessened and divided by. `logits`: its output is to be put through a sigmoid. `memory`: bytes that a process should
    have for it; for all but IS-Net an estimate from the file's size and the square.
    """

    name: str
    commercial: bool
    licences: tuple[str, ...]
    url: str
    digest: str
    side: int = 1024
    mean: Colour = _IMAGENET_MEAN
    std: Colour = _IMAGENET_STD
    logits: bool = False
    memory: int = 8 * GIB


ISNET_GENERAL_USE = ModelEntry(
    name="isnet-general-use",
    commercial=False,
    licences=(
        "IS-Net, its authors' repository: Apache-2.0",
        _DIS5K,
        "npm package @imgly/background-removal-data, one place it is fetched from: AGPL-3.0",
        "rembg, whose release is the other: MIT",
    ),
    url=f"{RELEASE}/isnet-general-use.onnx",
    digest="md5:fc16ebd8b0c10d971d3513d564d01e29",
    mean=_HALF,
    std=_ONE,
    memory=2 * GIB,
)


def _u2net(name: str, md5: str, licences: tuple[str, ...] = _U2NET) -> ModelEntry:
    url, digest = f"{RELEASE}/{name}.onnx", f"md5:{md5}"
    return ModelEntry(name, False, licences, url, digest, side=320, memory=GIB)


def _birefnet(name: str, file: str, md5: str, memory: int = 8 * GIB) -> ModelEntry:
    url, digest = f"{RELEASE}/BiRefNet-{file}.onnx", f"md5:{md5}"
    return ModelEntry(f"birefnet-{name}", False, _BIREFNET, url, digest, logits=True, memory=memory)


_HUMANS = "the pictures of people that it was trained on: no licence that is known; what that means is open"
_SILUETA = ("Silueta, a smaller U-2-Net: no licence of its own that is known; U-2-Net's is Apache-2.0", *_U2NET[1:])
_ANIME = (
    "anime-segmentation, its author's repository: Apache-2.0",
    "what it was trained on: drawings of several origins; what that means for the weights is open",
    _REMBG,
)
_BRIA = (
    "BRIA RMBG 2.0, the weights: CC BY-NC 4.0, for non-commercial use; for commerce BRIA sells a licence",
    _REMBG,
)

MODELS: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ISNET_GENERAL_USE,
        _u2net("u2net", "60024c5c889badc19c04ad937298a77b"),
        _u2net("u2netp", "8e83ca70e441ab06c318d82300c84806"),
        _u2net("u2net_human_seg", "c09ddc2e0104f800e3e1bb4652583d1f", (_U2NET[0], _HUMANS, _REMBG)),
        _u2net("silueta", "55e59e0d8062d2f5d013f4725ee84782", _SILUETA),
        ModelEntry(
            name="isnet-anime",
            commercial=False,
            licences=_ANIME,
            url=f"{RELEASE}/isnet-anime.onnx",
            digest="md5:6f184e756bb3bd901c8849220a83e38e",
            std=_ONE,
            memory=2 * GIB,
        ),
        _birefnet("general", "general-epoch_244", "7a35a0141cbbc80de11d9c9a28f52697"),
        _birefnet(
            "general-lite", "general-bb_swin_v1_tiny-epoch_232", "4fab47adc4ff364be1713e97b7e66334", memory=6 * GIB
        ),
        _birefnet("portrait", "portrait-epoch_150", "c3a64a6abf20250d090cd055f12a3b67"),
        _birefnet("dis", "DIS-epoch_590", "2d4d44102b446f33a4ebb2e56c051f2b"),
        _birefnet("hrsod", "HRSOD_DHU-epoch_115", "c017ade5de8a50ff0fd74d790d268dda"),
        _birefnet("cod", "COD-epoch_125", "f6d0d21ca89d287f17e7afe9f5fd3b45"),
        _birefnet("massive", "massive-TR_DIS5K_TR_TEs-epoch_420", "33e726a2136a3d59eb0fdf613e31e3e9"),
        ModelEntry(
            name="bria-rmbg",
            commercial=False,
            licences=_BRIA,
            url=f"{RELEASE}/bria-rmbg-2.0.onnx",
            digest="sha256:5b486f08200f513f460da46dd701db5fbb47d79b4be4b708a19444bcd4e79958",
        ),
    )
}
