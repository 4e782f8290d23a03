"""Draws in blocks: kept beside the output, carried on to the same numbers, refused for others."""

import itertools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import call, refused

from lattice_flows.ensembles.blocks import Blocks, Parts
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.rows import Chained, ChainRows, FileRows, RawRows, slices
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.netcdf import read_dataset
from lattice_flows.mcmc.hmc import hmc
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.sampling.scan import scan
from theories import Phi4
from theories.errors import LatticeFlowsError

RECORD = {"command": "test", "n": 3}

pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


def opened(record=RECORD, resume=True, overwrite=False):
    return Parts.open(Path("out.nc"), record, resume=resume, overwrite=overwrite)


def carried_on(work, blocks=1):
    """`work(parts, interrupted)`, stopped when it has asked a few times, and begun again."""
    for attempt in itertools.count():
        asked = itertools.count(1)
        with opened() as parts:
            try:
                return work(parts, lambda asked=asked: next(asked) > blocks), attempt
            except Interrupted:
                assert attempt < 50
    raise AssertionError


# the same numbers, however often it was stopped


def test_draws_of_a_flow_carried_on_are_those_of_one_go(chain):
    sampler, key = Sampler.load(chain), jax.random.key(4)
    couplings = sampler.theory.from_values(m=-1.0, lam=1.0, alpha=0.1)
    at_once = sampler.draw(couplings, key, 7000)
    drawn, stops = carried_on(
        lambda parts, stop: sampler.draw(couplings, key, 7000, Blocks(parts, stop))
    )
    assert stops == 2
    assert isinstance(drawn.configurations, RawRows)
    assert np.asarray(drawn.configurations).tobytes() == at_once.configurations.tobytes()
    assert drawn.log_weights.tobytes() == at_once.log_weights.tobytes()
    assert drawn.measure() == at_once.measure()


def test_batch_number_i_has_the_key_number_i(chain):
    """What a seed gives is no matter of how many draws are asked for, nor of versions of jax."""
    sampler, key = Sampler.load(chain), jax.random.key(4)
    couplings = sampler.theory.from_values(m=-1.0, lam=1.0, alpha=0.1)
    few, many = (sampler.draw(couplings, key, n).configurations for n in (2048, 5000))
    np.testing.assert_array_equal(few, many[:2048])
    batch = sampler.draw(couplings, jax.random.key(5), 2048).configurations
    assert not np.isin(batch, many).any()


def test_chains_carried_on_are_those_of_one_go():
    theory, key = Phi4((4,)), jax.random.key(2)
    couplings = theory.from_values(m=0.5)

    def run(blocks=None):
        return hmc(theory, couplings, key, 4, 300, warm_up=70, every=2, blocks=blocks)

    at_once = run()
    drawn, stops = carried_on(lambda parts, stop: run(Blocks(parts, stop)), 4)
    assert stops > 2
    assert np.asarray(drawn.configurations).tobytes() == at_once.configurations.tobytes()
    assert (drawn.provenance, drawn.chains) == (at_once.provenance, 4)
    drawn.save("drawn.nc")
    at_once.save("at_once.nc")
    assert Ensemble.load("drawn.nc").measure() == at_once.measure()


@pytest.mark.parametrize(
    "options",
    [{}, {"combine": True, "derivatives": True}, {"points": 4}],
    ids=["plain", "combined", "adaptive"],
)
def test_a_scan_carried_on_finds_what_one_in_one_go_does(chain, options):
    sampler, key = Sampler.load(chain), jax.random.key(4)
    grid = [sampler.theory.from_values(m=m, lam=1.0, alpha=0.1) for m in (-1.2, -1.0, -0.8)]
    at_once = scan(sampler, grid, key, 2048, **options)
    found, stops = carried_on(
        lambda parts, stop: scan(sampler, grid, key, 2048, parts=parts, interrupted=stop, **options)
    )
    assert stops >= 2
    whole, parts = ([one.as_json() for one in x.results] for x in (at_once, found))
    assert parts == whole  # with the ends of intervals


# parts


def test_a_damaged_part_is_drawn_again(rng):
    arrays = {"configuration": rng.normal(size=(2, 3, 4)), "log_weight": rng.normal(size=(2, 3))}
    with opened() as parts:
        blocks = Blocks(parts, lambda: True)
        for _ in range(3):
            with pytest.raises(Interrupted):
                blocks.add(arrays, {"where": np.array(7)})
        assert Blocks(parts).done == 9 and Blocks(parts).state == {"where": 7}
        assert parts.folder is not None
        file = parts.folder / f"{3:012d}.npz"
        content = file.read_bytes()
        for _ in range(300):
            bit = int(rng.integers(8 * len(content)))
            spoilt = bytearray(content)
            spoilt[bit // 8] ^= 1 << bit % 8
            file.write_bytes(spoilt)
            assert Blocks(parts).done == 3
        file.write_bytes(content[: len(content) // 2])
        assert Blocks(parts).done == 3
        file.write_bytes(content)
        joined = np.asarray(Blocks(parts).joined("configuration", 8)).reshape(2, 8, 4)
        np.testing.assert_array_equal(joined, np.tile(arrays["configuration"], (1, 3, 1))[:, :8])


def test_parts_of_other_work_are_refused():
    with opened() as parts:
        parts.save("point-0", {})
        with pytest.raises(LatticeFlowsError, match=r"in use by another process"), opened():
            pass
    for record in ({**RECORD, "n": 4}, {**RECORD, "seed": 0}):
        with pytest.raises(LatticeFlowsError, match=r"begun by another command \((n|seed) .*, not"):
            opened(record).__enter__()
    with pytest.raises(LatticeFlowsError, match=r"begun before: carry it on with `resume=True`"):
        opened(resume=False).__enter__()
    with opened({**RECORD, "n": 4}, resume=False, overwrite=True) as parts:
        assert parts.folder is not None
        assert [p.name for p in parts.folder.glob("*.npz")] == ["record.npz"]
        parts.remove()
    assert not list(Path().iterdir())


def test_a_folder_without_parts_is_none():
    """Of a command that was refused, say, or killed before its first draw."""
    with pytest.raises(KeyError), opened():
        raise KeyError
    assert not list(Path().iterdir())
    Path(".out.nc.parts").mkdir()
    Path(".out.nc.parts/.record.0123456789ab.part.npz").touch()  # killed while it was written
    with opened(resume=False):
        pass
    Path(".out.nc.parts").mkdir()
    Parts(Path(".out.nc.parts")).save("record", {})
    with opened({**RECORD, "n": 4}, resume=False) as parts:
        parts.within("draws-0").save("000000000000", {})
    with pytest.raises(LatticeFlowsError, match="begun before"):
        opened({**RECORD, "n": 4}, resume=False).__enter__()


def test_parts_at_work_are_not_swept():
    with opened() as parts:
        parts.save("point-0", {})
        Parts.of(Path("out.nc")).sweep()
        assert parts.load("point-0") is not None
    Parts.of(Path("out.nc")).sweep()
    assert not list(Path().iterdir())


def test_rows_on_disk_are_sliced_as_arrays_are(rng):
    whole = rng.normal(size=(3, 5, 2))
    flat = whole.reshape(15, 2)
    flat.tofile("rows")
    for rows in (RawRows(Path("rows"), (15, 2)), ChainRows(whole), FileRows(flat)):
        assert (len(rows), rows.shape, rows.ndim) == (15, (15, 2), 2)
        for start, stop in itertools.product(range(16), range(17)):
            np.testing.assert_array_equal(rows[start:stop], flat[start:stop])
        np.testing.assert_array_equal(rows[::2], flat[::2])
        np.testing.assert_array_equal(rows[[3, 1]], flat[[3, 1]])
        np.testing.assert_array_equal(rows[:, :1], flat[:, :1])
        np.testing.assert_array_equal(np.concatenate(list(slices(rows, 4))), flat)
    for rows in (flat, RawRows(Path("rows"), (15, 2))):
        chained = Chained(rows, 3)
        assert chained.shape == (3, 5, 2)
        np.testing.assert_array_equal(chained[1:], whole[1:])
        np.testing.assert_array_equal(chained[:2, 1:4], whole[:2, 1:4])
        np.testing.assert_array_equal(chained[0:1, 4:5, 1:], whole[0:1, 4:5, 1:])


# the commands

HMC = ("hmc", "phi4", "--sites", 4, "--m", 0.5, "-n", 40, "--chains", 4, "-o", "out.nc")


def test_what_is_finished_is_left_as_it_is(chain):
    sample = ("sample", chain.path, "--m", -1, "-n", 2048, "-o", "out.nc")
    scans = ("scan", chain.path, "--m", "-1.2:-0.8:2", "-n", 2048, "-o", "out.nc")
    for command, other in ((HMC, "--every"), (sample, "-n"), (scans, "-n")):
        assert call(*command, "--resume").exit_code in (0, 3)  # nothing to resume: it begins
        assert [p.name for p in Path().iterdir()] == ["out.nc"]
        before = Path("out.nc").read_bytes()
        again = call(*command, "--resume")
        assert again.exit_code == 0 and again.stderr.endswith("out.nc is finished\n")
        assert Path("out.nc").read_bytes() == before
        message = refused(*command, "--resume", other, 299)
        assert "out.nc was begun by another command (" in message and "not 299" in message
        assert Path("out.nc").read_bytes() == before
        assert "exists: give --overwrite" in refused(*command)
        Path("out.nc").unlink()
    assert "give it" in refused("scan", chain.path, "--resume", code=2)


def test_json_tells_by_which_command_it_was_made(chain):
    command = ("scan", chain.path, "--m", "-1.2:-0.8:2", "-n", 512, "-o", "out.json", "--resume")
    assert call(*command).exit_code in (0, 3)
    assert call(*command).stderr.endswith("out.json is finished\n")
    made = json.loads(Path("out.json").read_text())
    assert made["drawing"]["n"] == 512 and made["points"][0]["n"] == 512
    assert "begun by another command (n 512, not 299)" in refused(*command, "-n", 299)
    for text in ("{}", "no JSON"):
        Path("out.json").write_text(text)
        assert "begun by another command (command null" in refused(*command)
        assert Path("out.json").read_text() == text


def test_what_was_begun_is_not_lost_unasked():
    with opened(resume=False) as parts:
        parts.save("point-0", {})
    assert "carry it on with --resume" in refused(*HMC)
    assert "begun by another command (command" in refused(*HMC, "--resume")
    assert call(*HMC, "--overwrite").exit_code == 3
    assert [p.name for p in Path().iterdir()] == ["out.nc"]
    made_by = read_dataset("out.nc", lazy=("configuration",)).json("lf_provenance")["drawing"]
    assert made_by["command"] == "hmc" and made_by["seed"] == 0
