from __future__ import annotations

import numpy as np
import torch

from rectifid_core.report.plot import plot_report
from rectifid_core.report.report import Report
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal


def report(iterations=6, batch=2, rule="accumulated"):
    made = Report({"scale": 0.5, "rule": "accumulated", "stop_at": float("inf")})
    z0 = normal(batch, 3, 4, 4, seed=7)
    settings = {"rule": rule, "scale": 0.5, "iterations": iterations}
    for iterate in solve(CurvedFlow(), torch.sigmoid, CurvedEnergy(), z0, **settings):
        made.append(iterate)
    return made


def test_it_has_a_row_for_each_iterate():
    made = report()
    assert made.number == list(range(7)) and len(made.seconds) == 7
    assert np.shape(made.energy) == np.shape(made.similarity) == (7, 2)
    assert np.isnan([made.residual[-1], made.contraction[0]]).all()


def test_a_face_that_is_not_found_has_no_last_similarity():
    made = report()
    made.found[-1][0] = False
    first, second = made.text().splitlines()[1:]
    assert "not found in the last" in first and f"{made.similarity[-1][0]:.3f} last" not in first
    assert f"{made.similarity[-1][1]:.3f} last" in second


def test_a_face_that_is_found_later_has_no_first_similarity():
    made = report()
    made.found[0][0], made.similarity[0][0] = False, float("nan")
    values = {measure: [list(row) for row in getattr(made, measure)] for measure in ("energy", "similarity", "found")}
    made.terms["term"] = values
    first, first_term, second, _ = made.text().splitlines()[1:]
    best, last = np.nanmax(made.similarity, axis=0)[0], made.similarity[-1][0]
    assert f"not found in the unguided, similarity {best:.3f} best" in first
    assert f"term: similarity {last:.3f} last; not found in 1 of 7" in first_term
    assert "nan" not in made.text() and f"similarity {made.similarity[0][1]:.3f} unguided" in second


def test_its_text_ends_with_warnings_and_an_empty_report_says_so():
    made = report()
    made.warnings.append("the VAE broke")
    assert made.text().splitlines()[-1] == "the VAE broke"
    assert Report({}).text() == "nothing was drawn"


def test_its_text_names_the_best_iteration_of_each_sample():
    made = report()
    lines = made.text().splitlines()
    assert lines[0].startswith("6 iterations in ") and len(lines) == 3
    best = int(np.argmax(made.similarity, axis=0)[1])
    assert f"{made.similarity[best][1]:.3f} best (iteration {best})" in lines[2]
    assert "diverging" not in made.text()
    made.diverging[-1][0] = True
    assert "diverging" in made.text().splitlines()[1] and "diverging" not in made.text().splitlines()[2]


def test_a_prediction_is_never_the_best():
    made = report(iterations=8, rule="single_pass")
    assert made.predicted == [False, *[True] * 5, False, False, False]
    made.similarity[3] = [1.0, 1.0]
    assert "1.000 best" not in made.text()


def test_the_plot_draws_reports_of_any_length():
    pictures = [plot_report(each) for each in (report(), report(0), report(0, 1), report(2, 12), Report({}))]
    for picture in pictures:
        assert picture.dtype == np.uint8 and picture.shape == (750, 750, 3)
        assert 0.01 < (picture < 200).any(axis=2).mean() < 0.5  # ink


def test_a_run_that_begins_again_takes_the_place_of_what_was():
    made = report()
    made.restarts, again = 1, report(iterations=2)
    for iterate in solve(
        CurvedFlow(), torch.sigmoid, CurvedEnergy(), normal(2, 3, 4, 4, seed=9), scale=0.5, iterations=2
    ):
        made.append(iterate)
    assert made.number == again.number and made.similarity != again.similarity
    assert "2 iterations after 1 restart from another noise, in" in made.text()


def test_it_says_which_sample_is_stuck_and_what_to_do():
    made = report()
    made.stuck = [1]
    first, second = made.text().splitlines()[1:]
    assert "stuck" not in first and "stuck where it is not alike: try another seed" in second
