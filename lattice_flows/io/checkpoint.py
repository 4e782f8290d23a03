"""A pytree of arrays in one `.npz` file: flat key paths, no pickle, same tree same bytes.

The name of an array is its key path (`jax.tree_util.keystr`). A typed PRNG key is stored as its key
data, with the name of its implementation in the header. The file is written whole or not at all,
and sealed (integrity.py).
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lattice_flows.io.atomic import atomic_write
from lattice_flows.io.integrity import is_sealed, seal
from theories.errors import LatticeFlowsError

FORMAT, FORMAT_VERSION = "checkpoint", 1
_HEADER = "lattice-flows"

_RENAMED = {".place": ".position"}  # ends of key paths, as older checkpoints have them
log = logging.getLogger(__name__)


def save(path: str | os.PathLike[str], tree: Any, config: str | None = None) -> None:
    """Write `tree` (arrays, typed PRNG keys, Python numbers) to `path`, atomically.

    `config` is the digest of the configuration that the tree is of.

    Raises LatticeFlowsError where the file cannot be written, and for a leaf that is no array.
    """
    arrays: dict[str, np.ndarray] = {}
    implementations: dict[str, str] = {}
    for name, leaf in _named_leaves(tree).items():
        if _is_key(leaf):
            implementations[name] = str(jax.random.key_impl(leaf))
            leaf = jax.random.key_data(leaf)
        arrays[name] = np.asarray(leaf)
        if (
            arrays[name].dtype.kind not in "biufc"
        ):  # objects would need pickle, others lose their type
            raise LatticeFlowsError(f"{name} is no array that a checkpoint can hold: {leaf!r}")
    header = {
        "lf_format": FORMAT,
        "lf_format_version": FORMAT_VERSION,
        "random_keys": implementations,
        "config": config,
    }
    arrays[_HEADER] = np.array(json.dumps(header))

    # numpy stamps every member with 1980-01-01, so the bytes depend on the tree alone
    def write(temporary: Path) -> None:
        np.savez(temporary, allow_pickle=False, **arrays)
        seal(temporary)

    atomic_write(path, write)


def load(
    path: str | os.PathLike[str], template: Any, *, subset: bool = False, config: str | None = None
) -> Any:
    """The tree in `path`, in the structure of `template`.

    Leaves of the template are arrays or anything with a shape and a dtype (`jax.eval_shape`), typed
    PRNG keys, Python numbers; shapes and dtypes must agree with the file's, and so must the names,
    unless `subset`: then the file may hold more than the template asks for.

    Raises LatticeFlowsError for a missing, damaged, foreign, newer or disagreeing file, and for one
    that is of another configuration than that with the digest `config`.
    """
    arrays, header, sealed = _read(path, config)
    if not sealed:
        log.warning("%s is not sealed: damage to it would not be noticed", path)
    wanted = _named_leaves(template)
    if missing := [name for name in wanted if name not in arrays]:
        raise LatticeFlowsError(f"{path} was made for another model: it has no {missing[0]}")
    if not subset and (extra := [name for name in arrays if name not in wanted]):
        raise LatticeFlowsError(f"{path} was made for another model: it has {extra[0]} besides")
    leaves = [_restore(path, n, arrays[n], like, header) for n, like in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def inspect(path: str | os.PathLike[str], config: str | None = None) -> dict[str, Any]:
    """The step of a training state (None where it has none), and whether the file is sealed.

    Raises LatticeFlowsError as `load` does.
    """
    arrays, _, sealed = _read(path, config)
    step = arrays.get("['step']")
    if step is None or step.shape or step.dtype.kind not in "iu":
        return {"step": None, "sealed": sealed}
    return {"step": int(step), "sealed": sealed}


def names(path: str | os.PathLike[str], config: str | None = None) -> list[str]:
    """The key paths of the arrays in `path`. Raises LatticeFlowsError as `load` does."""
    return list(_read(path, config)[0])


def _named_leaves(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _present(name: str) -> str:
    """The key path of today, for that of an older checkpoint."""
    for old, new in _RENAMED.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _read(
    path: str | os.PathLike[str], config: str | None
) -> tuple[dict[str, np.ndarray], dict[str, Any], bool]:
    """The arrays, the header, and whether the file is sealed."""
    if not Path(path).is_file():
        raise LatticeFlowsError(f"{path} does not exist")
    sealed = False
    try:
        sealed = is_sealed(path)
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {_present(name): file[name] for name in file.files}
        header = json.loads(str(arrays.pop(_HEADER)))
        version, keys = header["lf_format_version"], header["random_keys"]
        known = (header["lf_format"], type(version), type(keys)) == (FORMAT, int, dict)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        known, version, arrays, header = False, 0, {}, {}
    except Exception as error:  # numpy raises all kinds of them for bytes that are not its own
        raise LatticeFlowsError(
            f"{path} is truncated or no checkpoint at all ({error}): restore it, or train a new run"
        ) from error
    if not known:
        raise LatticeFlowsError(f"{path} is not a checkpoint of lattice-flows")
    if version > FORMAT_VERSION:
        raise LatticeFlowsError(
            f"{path} has format version {version}, this program reads up to {FORMAT_VERSION}: "
            "upgrade lattice-flows"
        )
    if config is not None and header.get("config") not in (None, config):
        raise LatticeFlowsError(
            f"{path} was made for another model: it is not of the configuration beside it; "
            "restore both, or train a new run"
        )
    return arrays, header, sealed


def _restore(
    path: str | os.PathLike[str], name: str, array: np.ndarray, like: Any, header: dict[str, Any]
) -> Any:
    """The stored array as a leaf like `like`."""
    leaf: Any = array
    try:
        if isinstance(like, bool | int | float | complex):
            return type(like)(array.item())
        if name in header["random_keys"]:
            leaf = jax.random.wrap_key_data(jnp.asarray(array), impl=header["random_keys"][name])
    except (TypeError, ValueError) as error:
        raise LatticeFlowsError(
            f"{path} is damaged at {name}: restore it, or train a new run"
        ) from error
    if leaf.shape != like.shape or leaf.dtype != like.dtype:
        raise LatticeFlowsError(
            f"{path} was made for another model: {name} is {leaf.dtype}{list(leaf.shape)} there, "
            f"{like.dtype}{list(like.shape)} here"
        )
    return leaf if _is_key(leaf) or isinstance(like, np.ndarray) else jnp.asarray(leaf)
