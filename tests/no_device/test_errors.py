from __future__ import annotations

import pickle

import pytest

from halflap import errors

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.code)
def test_message_says_what_got_want_and_survives_pickling(error: type[errors.HalflapError]) -> None:
    facts = dict.fromkeys(error.facts, 7)
    raised = error("thing", got="X", want="Y", fix="Do Z.", **facts)
    assert str(raised) == "thing: got X, want Y. Do Z."
    again = pickle.loads(pickle.dumps(raised))
    assert type(again) is error
    assert str(again) == str(raised)
    assert {name: getattr(again, name) for name in error.facts} == facts


def test_every_class_has_its_own_code_and_the_tree_is_drawn() -> None:
    assert len({error.code for error in ALL}) == len(ALL)
    assert errors.__doc__ is not None
    for error in ALL:
        assert error.__name__ in errors.__doc__


def test_exported_names_are_sorted() -> None:
    assert sorted(errors.__all__) == errors.__all__


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        errors.PlanError("x", got=1, want=2, colour="red")
