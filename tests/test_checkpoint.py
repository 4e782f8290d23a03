import json
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lattice_flows.io import checkpoint
from theories.errors import LatticeFlowsError


class State(NamedTuple):
    """As varied as a training state is."""

    params: dict
    moments: tuple
    key: jax.Array
    step: int


def state(scale: float = 1.0) -> State:
    weights = jnp.arange(6, dtype=jnp.float32).reshape(2, 3) * scale
    return State(
        params={"hollow/~/linear": {"w": weights, "b": jnp.zeros((), jnp.int32)}},
        moments=(weights > 1, None, (weights.astype(jnp.float64),)),
        key=jax.random.split(jax.random.key(3), 2),
        step=7,
    )


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if isinstance(x, int):
            assert type(x) is type(y) and x == y
            continue
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "state.npz"
    checkpoint.save(path, state())
    return path


def test_a_state_comes_back_bit_for_bit(saved):
    assert_same(checkpoint.load(saved, state(scale=0.0)), state())


def test_shapes_alone_are_template_enough(saved):
    template = jax.eval_shape(state)._replace(step=0)
    assert_same(checkpoint.load(saved, template), state())


def test_random_streams_go_on_where_they_were(saved):
    restored = checkpoint.load(saved, state()).key
    draw = jax.vmap(lambda key: jax.random.normal(key, (4,)))
    np.testing.assert_array_equal(draw(restored), draw(state().key))


def test_the_kind_of_random_key_is_kept(tmp_path):
    key = jax.random.key(5, impl="rbg")
    checkpoint.save(tmp_path / "k.npz", {"key": key})
    restored = checkpoint.load(tmp_path / "k.npz", {"key": key})["key"]
    assert jax.random.key_impl(restored) == jax.random.key_impl(key)
    with pytest.raises(LatticeFlowsError, match="key"):
        checkpoint.load(tmp_path / "k.npz", {"key": jax.random.key(5)})


@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i4", "u4", "b1", "c8"]),
        hnp.array_shapes(min_dims=0, min_side=0),
    )
)
def test_every_array_comes_back_bit_for_bit(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    checkpoint.save(path, [array])
    (restored,) = checkpoint.load(path, [array])
    assert restored.dtype == array.dtype and restored.tobytes() == array.tobytes()


def test_the_same_state_gives_the_same_bytes(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    checkpoint.save(tmp_path / "later.npz", state())
    assert (tmp_path / "later.npz").read_bytes() == saved.read_bytes()


def test_part_of_a_state_is_loaded_only_when_asked_for(saved):
    template = {"params": state().params}
    with pytest.raises(LatticeFlowsError, match="another model"):
        checkpoint.load(saved, template)
    path = saved.with_name("named.npz")
    checkpoint.save(path, state()._asdict())
    with pytest.raises(LatticeFlowsError, match="besides"):
        checkpoint.load(path, template)
    assert_same(checkpoint.load(path, template, subset=True), template)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s._replace(params=s.params | {"new": jnp.zeros(1)}), "has no .params['new']"),
        (lambda s: s._replace(moments=()), "besides"),
        (lambda s: s._replace(key=jnp.zeros((2, 2), jnp.uint32)), ".key"),
        (lambda s: jax.tree.map(lambda x: x[:1] if jnp.ndim(x) == 2 else x, s), "[2, 3] there"),
        (
            lambda s: jax.tree.map(lambda x: x.astype("f2") if jnp.ndim(x) == 2 else x, s),
            "float16[2, 3] here",
        ),
    ],
)
def test_another_model_s_state_is_refused(saved, change, words):
    with pytest.raises(LatticeFlowsError, match="made for another model") as caught:
        checkpoint.load(saved, change(state()))
    assert words in str(caught.value)


def test_every_truncation_is_noticed(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        saved.write_bytes(whole[:length])
        with pytest.raises(LatticeFlowsError, match=r"truncated or no checkpoint") as caught:
            checkpoint.load(saved, state())
        assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed(saved):
    whole = bytearray(saved.read_bytes())
    whole[whole.index(np.float32(5).tobytes())] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(LatticeFlowsError, match="truncated or no checkpoint"):
        checkpoint.load(saved, state())


def test_foreign_and_newer_and_missing_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    with pytest.raises(LatticeFlowsError, match="does not exist"):
        checkpoint.load(path, {})
    np.savez(path, a=np.zeros(2))
    with pytest.raises(LatticeFlowsError, match="not a checkpoint of lattice-flows"):
        checkpoint.load(path, {})
    np.save(tmp_path / "x.npy", np.zeros(2))
    (tmp_path / "x.npy").rename(path)
    with pytest.raises(LatticeFlowsError):
        checkpoint.load(path, {})
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    checkpoint.save(path, {})
    monkeypatch.undo()
    with pytest.raises(LatticeFlowsError, match="upgrade lattice-flows"):
        checkpoint.load(path, {})


@pytest.mark.parametrize(
    ("header", "arrays"),
    [({"lf_format_version": v}, {}) for v in ("1", None, [1], 1.5)]
    + [({"random_keys": v}, {}) for v in (None, 5, {".key": "none such"}, {".step": "rbg"})]
    + [({}, {".step": v}) for v in (np.ones(3), np.array("x"), np.array(np.nan))]
    + [({}, {".key": np.ones((2, 3), v)}) for v in (np.float32, np.uint32)],
)
def test_a_file_without_a_seal_that_says_nonsense_is_refused(saved, header, arrays):
    with np.load(saved) as file:
        content = dict(file)
    before = json.loads(str(content["lattice-flows"]))
    content["lattice-flows"] = np.array(json.dumps(before | header))
    np.savez(saved, **(content | arrays))
    with pytest.raises(LatticeFlowsError, match=r"^[^\n]*$"):
        checkpoint.load(saved, state())


def test_the_step_of_a_state(tmp_path):
    path = tmp_path / "state.npz"
    for step, told in ((7, 7), (np.nan, None), (np.ones(2), None)):
        checkpoint.save(path, {"step": np.asarray(step)})
        assert checkpoint.inspect(path) == {"step": told, "sealed": True}


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, a=np.array([object()], dtype=object))
    with pytest.raises(LatticeFlowsError):
        checkpoint.load(path, {"a": np.zeros(1)})


def test_what_is_no_array_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(LatticeFlowsError, match="no array"):
        checkpoint.save(tmp_path / "x.npz", {"f": "text"})
    assert not list(tmp_path.iterdir())
