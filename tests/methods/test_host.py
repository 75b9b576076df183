from __future__ import annotations

from dataclasses import replace

import pytest

from marblecli.errors import BadInputError
from marblecli.methods import MethodSpec, Needs, NoOptions, equal
from marblecli.methods.host import check_spec, discover_methods, find_method, own_methods


def test_ours_are_registered_as_a_strangers_are():
    names = [one.spec.name for one in own_methods()]
    assert {"marble", "weighted-sum", "equal", "single", "sequential"} <= set(names)
    assert len(names) == len(set(names))
    catalog = discover_methods()
    assert set(names) <= set(catalog.methods)
    assert all(one.distribution == "marblecli" for one in own_methods())


def test_an_alias_is_the_method_itself():
    assert find_method("pcgrad") is find_method("torchjd:pcgrad")


def test_an_unknown_method_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(BadInputError, match=r"'equall' .did you mean 'equal'.*there are: equal"):
        find_method("equall")


def test_the_methods_that_have_an_option_are_known():
    catalog = discover_methods()
    assert [spec.name for spec in catalog.with_option("floors")] == ["marble"]
    assert catalog.with_option("nothing-such") == ()


class Taken(NoOptions):
    memory: float = 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "no spaces"}, "a name is letters, digits, dashes and colons"),
        ({"aliases": ("-",)}, "a name is letters"),
        ({"options": Taken}, "the options memory are marble's own"),
        ({"needs": Needs(rows="tail")}, "needs.rows is one of batch, head, got 'tail'"),
        ({"needs": Needs(signal=True)}, "needs.signal goes with needs.parts"),
        ({"shorthand": "reward"}, "it has no option 'reward'"),
    ],
)
def test_a_declaration_that_breaks_the_contract_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_spec(replace(equal.SPEC, **change))


def test_only_declarations_are_registered():
    with pytest.raises(TypeError, match="is no MethodSpec"):
        check_spec("equal")
    assert isinstance(check_spec(equal.SPEC), MethodSpec)
