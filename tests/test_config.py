import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import theories
from lattice_flows.runs.config import FORMAT_VERSION, Config
from lattice_flows.runs.options import Options, flag, show
from lattice_flows.runs.rules import method, refuse_unsolved
from theories.errors import LatticeFlowsError

finite = st.floats(-5, 5, allow_subnormal=False)
ranges = st.tuples(finite, finite).map(sorted).filter(lambda r: r[0] < r[1]).map(tuple)


def phi4(**changes) -> Config:
    return Config(**({"theory": "phi4", "shape": (16,)} | changes))


def refusal(**changes) -> str:
    with pytest.raises(LatticeFlowsError) as caught:
        phi4(**changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_couplings_left_out_are_the_theory_s_own():
    config = phi4(couplings={"m": (0.25, 1)})
    assert config.couplings == {"m": (0.25, 1.0), "lam": 1 / 16, "alpha": 0.01}
    assert config.ranges == {"m": (0.25, 1.0)}
    assert config.trained_on() == "m 0.25:1, lam 0.0625, alpha 0.01"


@given(st.fixed_dictionaries({}, optional={"m": finite | ranges, "alpha": finite | ranges}))
def test_json_gives_the_record_back(couplings):
    config = phi4(couplings=couplings, shape=(4, 6), learning_rate=0.1, x64=True)
    assert Config.from_json(config.to_json()) == config


@given(finite)
def test_a_value_is_shown_so_that_it_can_be_typed_again(value):
    assert float(show(value)) == value
    assert [float(x) for x in show((value, value)).split(":")] == [value, value]


def test_every_setting_has_a_default_that_its_own_rules_accept():
    config = phi4()
    for field in dataclasses.fields(Config):
        if field.metadata:
            if field.default != "auto":
                assert getattr(config, field.name) == field.default
            assert field.metadata["help"].endswith(".")


def test_what_is_automatic_fits_the_theory():
    assert (phi4().field, phi4().base) == ("hollow", "mean-field")
    free = Config(theory="free-field", shape=(4,))
    assert (free.field, free.base) == ("hollow", "gaussian")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"theory": "phi6"}, ["phi6", "phi4", "double-well"]),
        ({"shape": (1,)}, ["at least 2"]),
        ({"shape": (10**10, 10**10)}, ["1e+20 sites is too large"]),
        ({"shape": (10**400,), "theory": "double-well"}, ["too large"]),
        ({"shape": ()}, ["at least 2"]),
        ({"shape": 16}, ["at least 2"]),
        ({"shape": (4, 2.5)}, ["at least 2"]),
        ({"couplings": {"tilt": 1}}, ["phi4 has no coupling tilt", "m, lam, alpha"]),
        ({"couplings": {"lam": 0}}, ["lam", "greater than 0"]),
        ({"couplings": {"lam": (-1, 1)}}, ["lam", "greater than 0"]),
        ({"couplings": {"m": float("nan")}}, ["m", "finite"]),
        ({"couplings": {"m": (0, float("inf"))}}, ["m", "finite"]),
        ({"couplings": {"m": (1, 0.5)}}, ["m", "rise"]),
        ({"couplings": {"m": (1, 2, 3)}}, ["m", "(low, high)"]),
        ({"couplings": {"m": "big"}}, ["m", "'big'"]),
        ({"objective": "magic"}, ["magic", "`objective`", "deformation"]),
        ({"steps": 0}, ["`steps`", "at least 1"]),
        ({"steps": 1.5}, ["`steps`", "whole number"]),
        ({"steps": True}, ["`steps`", "whole number"]),
        ({"learning_rate": 0}, ["`learning_rate`", "above 0"]),
        ({"learning_rate": float("inf")}, ["`learning_rate`", "finite"]),
        ({"curriculum": 1.5}, ["`curriculum`", "at most 1"]),
        ({"x64": 1}, ["`x64`", "true or false"]),
        ({"objective": "gradient-flow"}, ["no free field", "use deformation"]),
        (
            {"objective": "reverse-kl", "points": "trajectories"},
            ["`points`", '`objective="deformation"`'],
        ),
        ({"objective": "path-gradient", "penalty": "sum"}, ["`penalty`", "leave it out"]),
        ({"objective": "reverse-kl", "interpolation": "learned"}, ["`interpolation`"]),
        ({"weighted": True}, ["`weighted`", '`points="trajectories"`']),
        ({"half_box": 3.0}, ["`half_box`", '`points="box"`']),
        ({"base_curvature": 1.0}, ["`base_curvature`", '`base="ultralocal"`']),
        ({"base_width": 2.0}, ["`base_width`", '`base="normal"`']),
        ({"curriculum": 0.5}, ["`curriculum`", "range"]),
        ({"boundary": "samples"}, ["`boundary`", '`objective="trade"`']),
        ({"base": "tempered"}, ["no inverse temperature", "tempered"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(changes, words):
    message = refusal(**changes)
    for word in words:
        assert word in message


TRAINED = dataclasses.asdict(phi4(couplings={"m": 0.25, "alpha": (-0.01, 0.01)}))


@pytest.mark.parametrize(
    ("couplings", "objectives", "words"),
    [
        ({"m": (0.25, 1), "lam": 0.2}, ["transport", "trade"], "lam is 0.0625 where the flow"),
        (
            {"m": (0.25, 1), "alpha": 0.02},
            ["transport", "trade"],
            "`alpha` a range that holds both",
        ),
        ({"m": (0.5, 1)}, ["transport"], "m is 0.25 where the flow was trained and 0.5:1 here"),
        ({"alpha": (-0.01, 0.01)}, ["trade"], "give a wider one"),
    ],
)
def test_couplings_that_nothing_carries_a_flow_to_are_refused(couplings, objectives, words):
    given = {"m": 0.25, "alpha": 0.01} | couplings
    for objective in objectives:
        assert words in refusal(couplings=given, objective=objective, source=TRAINED)


def test_a_flow_is_carried_from_any_of_what_it_was_trained_on():
    for alpha in (0.005, (-0.01, 0.02), (0.01, 0.03)):
        phi4(couplings={"m": (0, 1), "alpha": alpha}, objective="transport", source=TRAINED)
    phi4(couplings={"m": (0.5, 1), "alpha": 0.0}, objective="trade", source=TRAINED)


def edited(**changes) -> str:
    return json.dumps(json.loads(phi4().to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (phi4().to_json()[:40], "damaged"),
        ("[]", "not a lattice-flows configuration"),
        ("{}", "not a lattice-flows configuration"),
        (edited(lf_format_version=FORMAT_VERSION + 1), "upgrade lattice-flows"),
        (edited(colour="blue"), "unknown keys (colour)"),
        ('{"lf_format": "config", "lf_format_version": 1, "theory": "phi4"}', "lacks shape"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(text, words):
    with pytest.raises(LatticeFlowsError, match=r"some/config\.json") as caught:
        Config.from_json(text, where="some/config.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_point_within_what_was_trained_is_completed():
    config = phi4(couplings={"m": (0.25, 1)})
    assert config.check_couplings({"m": 0.5}) == {"m": 0.5, "lam": 1 / 16, "alpha": 0.01}
    assert config.check_couplings({"m": 1 + 1e-12})["m"] == 1 + 1e-12  # rounding of a grid
    assert list(config.check_couplings({"alpha": 0.01, "m": 1})) == ["m", "lam", "alpha"]


@pytest.mark.parametrize("values", [{"m": 1.1}, {"m": 0.5, "lam": 0.1}])
def test_a_point_outside_is_refused_unless_insisted_upon(values):
    config = phi4(couplings={"m": (0.25, 1)})
    with pytest.raises(LatticeFlowsError, match=r"trained on \(m 0.25:1.*`extrapolate=True`"):
        config.check_couplings(values)
    assert config.check_couplings(values, extrapolate=True).items() >= values.items()


@pytest.mark.parametrize(
    ("values", "words"),
    [({}, "e.g. `m=0.25`"), ({"m": 0.5, "tilt": 0}, "no coupling tilt")],
)
def test_a_point_must_be_complete_and_known(values, words):
    with pytest.raises(LatticeFlowsError, match=words):
        phi4(couplings={"m": (0.25, 1)}).check_couplings(values, extrapolate=True)


def test_insisting_does_not_make_a_theory_of_nonsense():
    with pytest.raises(LatticeFlowsError, match="lam"):
        phi4().check_couplings({"lam": -1.0}, extrapolate=True)


@pytest.mark.parametrize(
    ("shape", "more", "found", "why"),
    [
        ((10, 10), {}, "least-squares", "100 sites or more"),
        ((5, 5, 4), {"seed": 3, "ode_steps": 8}, "least-squares", "two dimensions"),
        ((9, 11), {}, "optimise", "from 100 sites on"),
        ((400,), {}, "optimise", "two dimensions"),
        ((10, 10), {"couplings": {"m": (0.25, 1)}}, "optimise", "one value of each coupling"),
        ((10, 10), {"batch": 64}, "optimise", "batch=64"),
        ((10, 10), {"field": "hollow"}, "optimise", 'field="hollow"'),
        ((10, 10), {"theory": "free-field"}, "optimise", "least squares are for"),
        ((10, 10), {"method": "optimise"}, "optimise", "as told"),
        ((2, 2), {"method": "least-squares"}, "least-squares", "as told"),
    ],
)
def test_a_method_is_chosen(shape, more, found, why):
    options = {"theory": "phi4", "shape": shape, **more}
    config = Config(**options)
    assert config.method == found
    assert (config.field == "linear") == (found == "least-squares")
    assert why in method(config.make_theory(), Options(**options))[1]
    assert Config.from_json(config.to_json()) == config


def test_older_runs_were_optimised():
    record = json.loads(phi4(shape=(10, 10), method="optimise").to_json())
    del record["method"]
    assert Config.from_json(json.dumps(record)) == phi4(shape=(10, 10), method="optimise")
    first = phi4(couplings={"alpha": (0.0, 0.02)})
    wider = {"couplings": {"alpha": (0.0, 0.04)}, "objective": "trade"}
    carried = phi4(source=dataclasses.asdict(first), **wider)
    record = json.loads(carried.to_json())
    del record["method"], record["source"]["method"]
    assert Config.from_json(json.dumps(record)) == carried


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"even": False}, "has no symmetry"), ({"stiffness": lambda *_: 0.0}, "has no bonds")],
)
def test_what_least_squares_do_not_fit(changes, why):
    theory = type("Changed", (theories.Phi4,), changes)((10, 10))
    options = Options("phi4", (10, 10))
    assert method(theory, options)[0] == "optimise"
    with pytest.raises(LatticeFlowsError, match=f"phi4 {why}"):
        refuse_unsolved(theory, options)


def test_flags_are_the_fields():
    assert flag("learning_rate") == "--learning-rate"


@pytest.mark.parametrize("name", theories.THEORIES)
def test_every_theory_can_be_configured(name):
    shape = theories.find(name).own_shape or (4,)
    config = Config(theory=name, shape=shape)
    assert config.make_theory() == theories.make(name, shape)
