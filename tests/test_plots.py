"""What the figures show: the numbers in their lines and error bars, not their pixels."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.results_file import save_measurement
from lattice_flows.figures.plots import plot_file, plot_observables, plot_scan, save_figure
from lattice_flows.figures.style import COLOURS, UNRELIABLE
from lattice_flows.io.netcdf import Variable, estimate_variables, read_dataset, write_dataset
from observables import LONG_NAMES
from theories.errors import LatticeFlowsError

POINT = ("coupling_point",)
PANELS = ("magnetization", "abs_magnetization", "susceptibility", "binder_cumulant")


def made_up(name, m, alpha=0.0):
    """A smooth positive curve, another one for each observable."""
    return 1 + list(LONG_NAMES).index(name) + np.tanh(3 * (m - 0.5)) * (0.7 + 5 * alpha)


def scan(path, couplings, *, theory="phi4", exact=True, curve=False, reliable=None, without=()):
    """A made-up scan whose every point is two standard errors above the exact curve."""
    m = np.asarray(couplings["m"])
    alpha = np.asarray(couplings.get("alpha", np.zeros(m.shape)))
    stored = {name: Variable(POINT, np.asarray(v), name) for name, v in couplings.items()}
    for name in LONG_NAMES:
        truth = made_up(name, m, alpha)
        error = np.full(m.shape, 0.05)
        stored |= estimate_variables(
            name, truth + 2 * error, error, name, POINT, truth if exact else None
        )
    stored["ess"] = Variable(POINT, np.linspace(0.9, 0.8, m.size), "ess")
    if reliable is not None:
        stored["reliable"] = Variable(POINT, np.asarray(reliable), "reliable")
    if curve:
        dense = np.linspace(m.min(), m.max(), 50)
        stored["m_curve"] = Variable(("exact_point",), dense, "m")
        for name in LONG_NAMES:
            values = made_up(name, dense)
            stored[f"{name}_curve"] = Variable(("exact_point",), values, name)
    stored = {name: variable for name, variable in stored.items() if name not in without}
    config = {"theory": theory, "shape": [16]}
    write_dataset(path, "scan", stored, title="made up", config=config)
    return read_dataset(path)


def points(ax):
    """The data of every error bar container of an axes: x, y, error, colour, face colour."""
    found = []
    for container in ax.containers:
        line, _, (bars,) = container.lines
        x, y = line.get_data()
        lengths = [
            np.ptp(segment[:, 1]) / 2 if len(segment) else np.nan for segment in bars.get_segments()
        ]
        found.append(
            (x, y, np.array(lengths), to_hex(line.get_color()), line.get_markerfacecolor())
        )
    return found


def curves(ax):
    return [
        line.get_data()
        for line in ax.lines
        if line.get_linestyle() == "-" and len(line.get_xdata()) > 2
    ]


def test_points_error_bars_and_exact_curves_are_those_of_the_file(tmp_path):
    m = np.linspace(1, 0.25, 6)  # in any order
    dataset = scan(tmp_path / "scan.nc", {"m": m, "lam": np.full(6, 1 / 16)})
    figure = plot_scan(dataset)
    figure.draw_without_rendering()
    assert len(figure.axes) == 6
    for ax, name in zip(figure.axes, PANELS, strict=False):
        x, y, error, colour, _ = points(ax)[0]
        np.testing.assert_allclose(x, m[::-1])
        np.testing.assert_allclose(y, made_up(name, m[::-1]) + 0.1)
        np.testing.assert_allclose(error, 0.05)
        assert colour == to_hex(COLOURS[0])
        np.testing.assert_allclose(curves(ax)[0], (m[::-1], made_up(name, m[::-1])))
    chi, ess, pull = (figure.axes[i] for i in (2, 4, 5))
    np.testing.assert_allclose(points(chi)[1][1], made_up("susceptibility_abs", m[::-1]) + 0.1)
    np.testing.assert_allclose(points(ess)[0][1], np.linspace(0.8, 0.9, 6))
    np.testing.assert_allclose(points(pull)[0][1], 2)
    assert ess.get_xlabel() == pull.get_xlabel() == "$m$"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["exact", "flow, reweighted"]
    assert legend.get_title().get_text() == r"$\phi^4$ theory,  $N=16$,  $\lambda=0.0625$"


def test_a_dense_exact_curve_is_preferred(tmp_path):
    figure = plot_scan(scan(tmp_path / "scan.nc", {"m": np.linspace(0.25, 1, 4)}, curve=True))
    x, y = curves(figure.axes[0])[0]
    assert len(x) == 50
    np.testing.assert_allclose(y, made_up("magnetization", x))


def test_without_exact_answers_there_are_points_and_log_z_itself(tmp_path):
    m = np.linspace(0.25, 1, 5)
    figure = plot_scan(scan(tmp_path / "scan.nc", {"m": m}, exact=False))
    assert not any(curves(ax) for ax in figure.axes)
    np.testing.assert_allclose(points(figure.axes[5])[0][1], made_up("log_z", m) + 0.1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["flow, reweighted"]


def test_unreliable_points_are_marked_and_do_not_set_the_range(tmp_path):
    reliable = np.array([True, True, False, True])
    path, m = tmp_path / "scan.nc", np.linspace(0.25, 1, 4)
    dataset = scan(path, {"m": m}, reliable=reliable)
    dataset["magnetization"][2] = 1e6
    dataset["magnetization_stderr"][2] = np.inf
    figure = plot_scan(dataset)
    figure.draw_without_rendering()
    for ax in figure.axes:
        good, bad = points(ax)[:2]
        np.testing.assert_array_equal(good[0], m[reliable])
        np.testing.assert_array_equal(bad[0], m[~reliable])
        assert (bad[3], bad[4]) == (to_hex(UNRELIABLE), "white")
    assert figure.axes[0].get_ylim()[1] < 5
    assert figure.legends[0].get_texts()[-1].get_text() == "unreliable"


def test_nothing_reliable_is_still_a_figure(tmp_path):
    dataset = scan(tmp_path / "scan.nc", {"m": [0.25, 1]}, reliable=[False, False])
    plot_scan(dataset).draw_without_rendering()


def test_a_grid_of_two_couplings_has_a_colour_for_each_value_of_the_second(tmp_path):
    m, alpha = (a.ravel() for a in np.meshgrid(np.linspace(0.25, 1, 5), [0.0, 0.1, 0.2]))
    figure = plot_scan(scan(tmp_path / "scan.nc", {"m": m, "alpha": alpha}))
    groups = points(figure.axes[0])
    assert [group[3] for group in groups] == [to_hex(c) for c in COLOURS[:3]]
    for (x, y, *_), curve, value in zip(groups, curves(figure.axes[0]), (0, 0.1, 0.2), strict=True):
        np.testing.assert_allclose(y, made_up("magnetization", x, value) + 0.1)
        np.testing.assert_allclose(curve[1], made_up("magnetization", x, value))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["exact", r"$\alpha=0$", r"$\alpha=0.1$", r"$\alpha=0.2$"]


def test_couplings_that_change_together_are_one_curve(tmp_path):
    m = np.array([1.5, 3, 4.5])
    together = {"m": m, "mass": m, "mu": m}
    figure = plot_scan(scan(tmp_path / "scan.nc", together, theory="double-well"))
    assert len(points(figure.axes[0])) == 1
    assert figure.axes[4].get_xlabel() == r"$M=\mu$"


def test_a_single_point_is_a_figure_too(tmp_path):
    plot_scan(scan(tmp_path / "scan.nc", {"m": [0.5]})).draw_without_rendering()


def test_what_no_figure_can_show_is_refused_in_one_line(tmp_path):
    grid = np.meshgrid(np.linspace(0.25, 1, 10), np.linspace(0, 1, 9))
    couplings = dict(zip(("m", "alpha"), (a.ravel() for a in grid), strict=True))
    with pytest.raises(LatticeFlowsError, match=r"^.*varies m, alpha: 9 curves, where[^\n]*$"):
        plot_scan(scan(tmp_path / "scan.nc", couplings))
    with pytest.raises(LatticeFlowsError, match="no couplings to plot against"):
        plot_scan(scan(tmp_path / "scan.nc", {"m": [0.5, 1]}, without=("m",)))
    with pytest.raises(LatticeFlowsError, match="no variable 'binder_cumulant'"):
        plot_scan(scan(tmp_path / "scan.nc", {"m": [0.5, 1]}, without=("binder_cumulant",)))
    write_dataset(tmp_path / "t.nc", "exact-table", {}, title="", config={})
    with pytest.raises(LatticeFlowsError, match="scan or ensemble or observables is needed"):
        plot_file(tmp_path / "t.nc")


def ensemble(weighted=True):
    theory = theories.make("phi4", (4,))
    rng = np.random.default_rng(0)
    phi = rng.normal(0.3, 1, size=(2000, 4))
    log_w = 0.8 * phi.mean(axis=1) if weighted else None
    return Ensemble(theory, theory.from_values(), phi, log_w)


def test_the_histogram_of_an_ensemble_is_weighted_and_normalised(tmp_path):
    drawn = ensemble()
    drawn.save(tmp_path / "ensemble.nc")
    figure = plot_file(tmp_path / "ensemble.nc")
    left, right = figure.axes
    weighted, plain = left.patches[1].get_data(), left.patches[2].get_data()
    m, w = drawn.configurations.mean(axis=1), np.exp(drawn.log_weights)
    for steps, expected in ((weighted, np.average(m, weights=w)), (plain, m.mean())):
        width, centres = np.diff(steps.edges), (steps.edges[1:] + steps.edges[:-1]) / 2
        assert np.sum(steps.values * width) == pytest.approx(1)
        assert np.sum(steps.values * width * centres) == pytest.approx(expected, abs=0.02)
    ((_, heights, errors, _, _),) = points(left)
    np.testing.assert_allclose(heights, weighted.values)
    assert np.all(errors[weighted.values > 0] > 0)
    assert right.texts[0].get_text().startswith("ESS")


@pytest.mark.parametrize(
    ("name", "shape", "given"),
    [("phi4", (6,), {"alpha": 0.1}), ("free-field", (2, 3, 2), {}), ("phi4", (2, 3), {})],
)
def test_exact_samples_lie_along_the_exact_density(tmp_path, name, shape, given):
    """Each bar within 4.5 errors of it: false alarms, some 30 bars, 2e-4."""
    theory = theories.make(name, shape)
    exact = theory.exact(theory.from_values(**given))
    phi = exact.sample(np.random.default_rng(1), 20_000)
    Ensemble(theory, theory.from_values(**given), phi).save(tmp_path / "ensemble.nc")
    (ax,) = plot_file(tmp_path / "ensemble.nc").axes
    ((m, density),) = curves(ax)
    ((at, heights, errors, _, _),) = points(ax)
    seen = heights > 20 * errors  # enough draws in the bar
    assert seen.sum() > 10
    assert np.all(np.abs(heights - np.interp(at, m, density))[seen] < 4.5 * errors[seen] + 0.01)


@pytest.mark.usefixtures("large")
def test_an_exact_density_that_takes_minutes_is_drawn_on_demand(tmp_path):
    theory = theories.make("phi4", (2, 3))
    couplings = theory.from_values()
    phi = np.random.default_rng(2).normal(size=(500, 2, 3))
    Ensemble(theory, couplings, phi).save(tmp_path / "ensemble.nc")
    (ax,) = plot_file(tmp_path / "ensemble.nc").axes
    assert not curves(ax)
    (ax,) = plot_file(tmp_path / "ensemble.nc", patient=True).axes
    ((m, density),) = curves(ax)
    grid, known = theories.StripSolution(theory, couplings).magnetization_distribution()
    np.testing.assert_allclose(density, np.interp(m, grid, known), atol=1e-6)


def test_an_ensemble_without_weights_has_one_panel(tmp_path):
    ensemble(weighted=False).save(tmp_path / "ensemble.nc")
    assert len(plot_file(tmp_path / "ensemble.nc").axes) == 1


@pytest.mark.parametrize("alpha", [0.01, 0.0])
def test_a_measurement_shows_its_values_and_errors(tmp_path, alpha):
    drawn = ensemble()
    drawn = Ensemble(drawn.theory, drawn.theory.from_values(alpha=alpha), drawn.configurations)
    measured = drawn.measure()
    save_measurement(tmp_path / "observables.nc", drawn, measured)
    figure = plot_file(tmp_path / "observables.nc")
    figure.draw_without_rendering()
    (ax,) = figure.axes
    labels = [text.get_text() for text in ax.child_axes[0].get_yticklabels()]
    assert labels == [str(e).replace("-", "−") for e in measured.observables.values()]
    (line,) = ax.lines
    for value, estimate in zip(line.get_xdata(), measured.observables.values(), strict=True):
        if estimate.stderr > 0:
            assert value == pytest.approx(abs(estimate.stderr / estimate.value))
        else:
            assert np.isnan(value)


def test_an_unreliable_measurement_says_so(tmp_path):
    drawn = ensemble()
    few = Ensemble(drawn.theory, drawn.couplings, drawn.configurations[:20])
    save_measurement(tmp_path / "observables.nc", few, few.measure())
    assert "UNRELIABLE" in plot_file(tmp_path / "observables.nc").get_suptitle()
    dataset = read_dataset(tmp_path / "observables.nc")
    names = Variable(("check",), np.array(["weight_share", "errors"]), "checks that failed")
    dataset.variables["failed_checks"] = names  # as another program may have it
    title = plot_observables(dataset).get_suptitle()
    assert title.endswith("UNRELIABLE: weight share errors")


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".PDF", b"%PDF"), (".svg", b"<?xml")]
)
def test_the_suffix_chooses_the_format(tmp_path, suffix, start):
    figure = plot_scan(scan(tmp_path / "scan.nc", {"m": [0.25, 0.5, 1]}))
    path = tmp_path / f"scan{suffix}"
    save_figure(figure, path)
    assert path.read_bytes().startswith(start)
    assert {p.name for p in tmp_path.iterdir()} == {"scan.nc", path.name}
    if suffix == ".png":
        with Image.open(path) as image:
            assert min(image.size) > 1000


@pytest.mark.parametrize("name", ["scan", "scan.txt", "scan.nc"])
def test_other_suffixes_are_refused(tmp_path, name):
    figure = plot_scan(scan(tmp_path / "data.nc", {"m": [0.25, 0.5, 1]}))
    with pytest.raises(LatticeFlowsError, match=r"no figure format; name it \.png"):
        save_figure(figure, tmp_path / name)
    assert not (tmp_path / name).exists()
