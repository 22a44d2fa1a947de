"""Checkpoints: a tree of tensors and plain values in one safetensors file, with a digest. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from reparam._files import NotRegular, check_regular, write_whole

FORMAT = "reparam checkpoint 1"


class DamagedCheckpoint(OSError, ValueError):
    """The file is no whole checkpoint: a failure of what holds it, and a value that cannot be used."""


def write_checkpoint(path: Path, tree: Mapping[str, Any]) -> Path:
    """Writes nested dicts and lists of tensors, numbers, strings, booleans and None; tuples come back as lists.

    Raises:
        TypeError: something else in the tree.
        OSError: the file cannot be written; an older one of that name is untouched.
    """
    tensors: dict[str, Tensor] = {}
    values = json.dumps(_packed(tree, tensors, ""))
    metadata = {"format": FORMAT, "values": values, "sha256": _digest(values, tensors)}
    return write_whole(path, save(tensors, metadata))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tree that `write_checkpoint` was given, its tensors on the CPU.

    Raises:
        DamagedCheckpoint: a file that breaks off, was changed, or is something else.
        FileNotFoundError: no such file.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise DamagedCheckpoint(f"{path} is damaged ({error})") from error
    except NotRegular as error:
        raise DamagedCheckpoint(str(error).rstrip(".")) from error
    if metadata.get("format") != FORMAT:
        raise DamagedCheckpoint(f"{path} is no {FORMAT}: its format is {metadata.get('format')!r}")
    values = metadata.get("values", "")
    if _digest(values, tensors) != metadata.get("sha256"):
        raise DamagedCheckpoint(f"{path} is damaged (its content has another sha256 than was noted in it)")
    try:
        tree = _unpacked(json.loads(values), tensors)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise DamagedCheckpoint(
            f"{path} is no {FORMAT}: its values are no tree ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(tree, dict):
        raise DamagedCheckpoint(f"{path} is no {FORMAT}: it holds a {type(tree).__name__} instead of named values")
    return tree


def _packed(node: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """JSON for a tree: a tensor becomes its name, a dict with keys that are no strings a list of pairs."""
    if isinstance(node, Tensor):
        # an own copy of each, so that two names of one tensor are two entries
        tensors[name] = node.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(node, Mapping):
        pairs = [[key, _packed(value, tensors, f"{name}/{key}" if name else str(key))] for key, value in node.items()]
        return {"pairs": pairs}
    if isinstance(node, list | tuple):
        return [_packed(value, tensors, f"{name}/{index}") for index, value in enumerate(node)]
    if node is None or isinstance(node, str | bool | int | float):
        return node
    raise TypeError(
        f"{name} is a {type(node).__name__}; a checkpoint holds tensors, numbers, strings, lists and dicts of them."
    )


def _unpacked(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_unpacked(value, tensors) for value in node]
    if isinstance(node, dict):
        if "tensor" in node:
            return tensors[node["tensor"]]
        return {key: _unpacked(value, tensors) for key, value in node["pairs"]}
    return node


def _digest(values: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(values.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
