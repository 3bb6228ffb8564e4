"""The photos that ship with the project: who took them, on what terms, and where each package says so.

Data only. Every licence was read in the package's own files (`evidence`), not guessed from the package's licence.
Left out on purpose: CC-BY-SA images, images whose terms the package does not state, renders and drawings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lsr.assets.catalog import LOMIRI_16, SKIMAGE, SKIMAGE_DATA, Package, deb

JXL = deb(
    "libjxl-testdata",
    "0.0~git20230110.d6168ff-1",
    "a58523413f486760a0f3cbc931142a27e3aa25f77315b862046f089ed34aa2c7",
    55_818_872,
    "BSD-3-Clause; external/wesaturate CC0-1.0",
)
MALDIVES = deb(
    "sddm-theme-maldives",
    "0.19.0-5",
    "d19c0004785df6bccdee3090a0b2cf606fe5dc074183a478bdeb04094ff728e6",
    1_248_792,
    "CC-BY-SA-3.0; background.jpg CC-BY-3.0",
)
SKLEARN = deb(
    "python3-sklearn",
    "1.2.1+dfsg-1",
    "ca0c6be401d14871c7e93cfdd8d1f561595dc65e6e2ad2501d568aee7f7efc58",
    2_102_964,
    "BSD-3-Clause; images CC-BY-2.0",
)
SCIPY = deb(
    "python3-scipy",
    "1.10.1-2",
    "75175eb18aa9ef6424c69050a751335fe686c24b65bc1773d0769a74a21c869d",
    15_210_448,
    "BSD-3-Clause; ascent.dat public domain",
    arch="amd64",
)

Folder = Literal["photos", "thumbnails"]
Licence = Literal["CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "public domain"]

LICENCE_TEXTS: dict[Licence, str] = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/legalcode",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/legalcode",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "public domain": "",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledImage:
    """One bundled file. path: inside the package. side: its longest side in pixels at most. evidence: where the
    package states the licence.
    """

    folder: Folder
    file: str
    shows: str
    author: str
    licence: Licence
    package: Package
    path: str
    evidence: str
    side: int


def _photo(
    file: str, shows: str, author: str, licence: Licence, package: Package, path: str, evidence: str = "copyright file"
) -> BundledImage:
    return BundledImage(
        folder="photos",
        file=f"{file}.jpg",
        shows=shows,
        author=author,
        licence=licence,
        package=package,
        path=path,
        evidence=evidence,
        side=1024,
    )


def _thumbnail(
    side: int,
    file: str,
    shows: str,
    author: str,
    licence: Licence,
    package: Package,
    path: str,
    evidence: str = "copyright file",
) -> BundledImage:
    return BundledImage(
        folder="thumbnails",
        file=f"{file}.png",
        shows=shows,
        author=author,
        licence=licence,
        package=package,
        path=path,
        evidence=evidence,
        side=side,
    )


BACKGROUNDS = "usr/share/backgrounds/"
WESATURATE = "usr/share/libjxl-testdata/external/wesaturate/500px/"
SKLEARN_IMAGES = "usr/lib/python3/dist-packages/sklearn/datasets/images/"
FETCHERS = "docstring in skimage/data/_fetchers.py"
AITZOL, FREESPACE = "Aitzol Berasategi", 'Trevor "Freespace"'

IMAGES = (
    _photo("brook", "forest brook", AITZOL, "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "life_by_Aitzol_Berasategi.jpg"),
    _photo(
        "picos", "mountains", AITZOL, "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "picosdeeuropa_by_Aitzol_Berasategi.jpg"
    ),
    _photo(
        "aizkorri", "autumn wood", AITZOL, "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "aitzgorri_by_Aitzol_Berasategi.jpg"
    ),
    _photo("dogs", "two dogs", AITZOL, "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "friends_by_Aitzol_Berasategi.jpg"),
    _photo("brushes", "paint brushes", FREESPACE, "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "Picture_1A_by_freespace.jpg"),
    _photo("fig", "fig in a red bowl", FREESPACE, "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "Picture_0B_by_freespace.jpg"),
    _photo(
        "dandelions",
        "dandelions",
        "Clemens Engelhardt",
        "CC0-1.0",
        LOMIRI_16,
        BACKGROUNDS + "seeding_by_Clements_Engelhardt.jpg",
    ),
    _photo(
        "maldives",
        "jetty and trees",
        "Nevit Dilmen",
        "CC-BY-3.0",
        MALDIVES,
        "usr/share/sddm/themes/maldives/background.jpg",
    ),
    _photo("cliff", "cliff at a lake", "keong_macan", "CC0-1.0", JXL, WESATURATE + "cvo9xd_keong_macan_srgb8.png"),
    _photo("blossom", "plum blossom", "bliznaca", "CC0-1.0", JXL, WESATURATE + "u76c0g_bliznaca_srgb8.png"),
    _photo("astronaut", "Eileen Collins", "NASA", "public domain", SKIMAGE, SKIMAGE_DATA + "astronaut.png", FETCHERS),
    _photo("cat", "cat", "Stefan van der Walt", "CC0-1.0", SKIMAGE, SKIMAGE_DATA + "chelsea.png", FETCHERS),
    _photo("rocket", "rocket at night", "SpaceX", "public domain", SKIMAGE, SKIMAGE_DATA + "rocket.jpg", FETCHERS),
    _photo(
        "galaxies",
        "Hubble extreme deep field",
        "NASA, ESA",
        "public domain",
        SKIMAGE,
        SKIMAGE_DATA + "hubble_deep_field.jpg",
        FETCHERS,
    ),
    _photo("cameraman", "man, camera", "Lav Varshney", "CC0-1.0", SKIMAGE, SKIMAGE_DATA + "camera.png", FETCHERS),
    _photo("grass", "grass", "linolafett", "CC0-1.0", SKIMAGE, SKIMAGE_DATA + "grass.png", FETCHERS),
    _photo("gravel", "gravel", "CC0 Textures", "CC0-1.0", SKIMAGE, SKIMAGE_DATA + "gravel.png", FETCHERS),
    _photo(
        "palace",
        "Summer Palace, Beijing",
        "danielbuechele",
        "CC-BY-2.0",
        SKLEARN,
        SKLEARN_IMAGES + "china.jpg",
        "README.txt beside it",
    ),
    _photo(
        "stairs",
        "people on stairs",
        "not named",
        "public domain",
        SCIPY,
        "usr/lib/python3/dist-packages/scipy/misc/ascent.dat",
    ),
    _thumbnail(96, "sunset", "sunset", AITZOL, "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "sunset_by_Aitzol_Berasategi.jpg"),
    _thumbnail(
        120, "room", "room with a drum", "Jakub Mede", "CC-BY-4.0", LOMIRI_16, BACKGROUNDS + "Wine_by_Jakkub_Mede.jpg"
    ),
    _thumbnail(
        64, "tulips", "tulips", "riaphotographs", "CC0-1.0", JXL, WESATURATE + "tmshre_riaphotographs_srgb8.png"
    ),
    _thumbnail(
        80, "coffee", "cup of coffee", "Rachel Michetti", "CC0-1.0", SKIMAGE, SKIMAGE_DATA + "coffee.png", FETCHERS
    ),
    _thumbnail(
        72,
        "dahlia",
        "dahlia",
        "vultilion (whom the README links; its text says danielbuechele)",
        "CC-BY-2.0",
        SKLEARN,
        SKLEARN_IMAGES + "flower.jpg",
        "README.txt beside it",
    ),
)
