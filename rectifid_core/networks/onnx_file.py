"""ONNX files read whole, with the weights that they keep in a second file.  A file is data: none of it is executed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..packages import importing
from .onnx_bounds import LARGEST_FILE, LARGEST_WEIGHTS, beyond_bounds

if TYPE_CHECKING:
    import onnx

Shape = Sequence[int | None]  # None: an axis that the file leaves free


class OnnxError(ValueError):
    """The file cannot serve as a discriminator's network; the message says why and what to do."""


@dataclass(frozen=True)
class OnnxFile:
    """model: with all its weights; digest: the SHA-256 of the file and of the weights that it keeps elsewhere."""

    model: onnx.ModelProto
    digest: str


def read_onnx(path: Path) -> onnx.ModelProto:
    """A file, without the weights that it may keep in a second one; OnnxError where it is damaged."""
    return _parse(path, _content(path))


def read_whole_onnx(path: Path) -> OnnxFile:
    """A file and the weights that it keeps in others, by their bytes: nothing is mapped, and files may be replaced.

    Raises OnnxError where one is damaged, missing, or outside of the folders in which it may be, and for a network that
    would take more memory than any recogniser or detector does.
    """
    content = _content(path)
    model, sha = _parse(path, content), hashlib.sha256(content)
    if (what := beyond_bounds(model)) is not None:
        raise OnnxError(f"{path.name} asks for more than a recogniser or detector needs: {what}; do not trust it")
    total = 0
    for tensor in _external(model.graph):
        weights = _read_external(path, tensor, LARGEST_WEIGHTS - total)
        total += len(weights)
        sha.update(weights)
        tensor.raw_data = weights
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return OnnxFile(model, sha.hexdigest())


def check_external_data(path: Path, model: onnx.ModelProto) -> None:
    """OnnxError where the file keeps weights in a second file that is missing, or where it may not be."""
    for tensor in _external(model.graph):
        _locate(path, _info(tensor)[0])


def external_files(path: Path) -> list[Path]:
    """The files in which an ONNX file keeps its weights, besides itself; as `check_external_data`."""
    locations = {_info(tensor)[0] for tensor in _external(read_onnx(path).graph)}
    return [_locate(path, location) for location in sorted(locations)]


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are not weights."""
    constants = {tensor.name for tensor in model.graph.initializer}  # old files list them among the inputs
    return [value for value in model.graph.input if value.name not in constants]


def shape_of(value: onnx.ValueInfoProto) -> Shape:
    """The sides of an input or output."""
    return [axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim]


def show(shape: Shape) -> str:
    """A shape for messages: "(any, 3, 112, 112)"."""
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_FILE:
        raise OnnxError(f"{path.name} has more than 2 GiB, which no ONNX file can have; choose another file")
    return path.read_bytes()


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    with importing("onnx>=1.15", "ONNX files"):
        import onnx
        from google.protobuf.message import DecodeError
    damaged = OnnxError(f"{path.name} is not an ONNX file, or only a part of one; download it again")
    try:
        model = onnx.ModelProto.FromString(content)
        _read_names(model)
    except (DecodeError, UnicodeDecodeError) as error:
        raise damaged from error
    if not (model.graph.node and model.opset_import):  # a file cut between two fields still parses
        raise damaged
    declared = {each.domain for each in model.opset_import}
    for node in model.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not declared & {domain, "ai.onnx" if domain == "" else domain}:
            raise OnnxError(
                f"{path.name} contradicts itself: its operator {node.op_type} is of the domain "
                f"{node.domain or 'ai.onnx'!r}, which the file does not declare; download or export it again"
            )
    return model


def _read_names(model: onnx.ModelProto) -> None:
    """Every name once: those that are no text raise UnicodeDecodeError as they are read, and not as they are parsed."""
    graph = model.graph
    for each in model.opset_import:
        _ = each.domain
    for node in graph.node:
        _ = node.name, node.op_type, node.domain, list(node.input), list(node.output)
        _ = [(attribute.name, attribute.t.name) for attribute in node.attribute]
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        _ = named.name
    for value in (*graph.input, *graph.output, *graph.value_info):
        _ = [axis.dim_param for axis in value.type.tensor_type.shape.dim]
    for tensor in graph.initializer:
        _ = [(entry.key, entry.value) for entry in tensor.external_data]


def _external(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The constants that are kept elsewhere: weights, and those inside of nodes and their subgraphs."""
    from onnx.external_data_helper import uses_external_data

    yield from filter(uses_external_data, graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield from filter(uses_external_data, (attribute.t, *attribute.tensors))
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _external(subgraph)


def _info(tensor: onnx.TensorProto) -> tuple[str, str, str]:
    """Location, offset and length as the file has them."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return entries.get("location", ""), entries.get("offset") or "0", entries.get("length", "")


def _locate(path: Path, location: str) -> Path:
    """The second file, beside the ONNX file or beside what that is a link to, as in a cache of links into one folder.

    It may be a link itself, and what it leads to has to be in one of these two folders, too.
    """
    folders = list(dict.fromkeys((path.absolute().parent, path.resolve().parent)))
    real = [folder.resolve() for folder in folders]
    missing = True
    try:
        for folder in folders:
            file = (folder / location).resolve()
            if file.is_file() and any(file.is_relative_to(each) for each in real):
                return file
            missing = missing and any(file.is_relative_to(each) for each in real)
    except (OSError, ValueError) as error:  # a name of 1000 letters, or with a NUL
        raise OnnxError(f"{path.name} keeps its weights in a file of an impossible name, {location!r}") from error
    if missing:
        raise OnnxError(f"{path.name} keeps its weights in a second file, {location}; put that next to it")
    raise OnnxError(f"{path.name} reads weights from outside of its own folder ({location}); do not trust it")


def _read_external(path: Path, tensor: onnx.TensorProto, most: int) -> bytes:
    location, offset, length = _info(tensor)
    file = _locate(path, location)
    size = file.stat().st_size
    try:
        start = int(offset)
        count = int(length) if length else size - start
        if start < 0 or count < 0 or start + count > size:
            raise ValueError(f"bytes {start} to {start + count} of {size}")
    except ValueError as error:
        raise OnnxError(
            f"{path.name} and the file of its weights, {location}, do not belong together ({tensor.name}: {error}); "
            "download both again"
        ) from error
    if count > most:
        raise OnnxError(
            f"{path.name} asks for more than {LARGEST_WEIGHTS >> 30} GiB of weights from other files, which no "
            "recogniser or detector has; do not trust it"
        )
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read(count)
