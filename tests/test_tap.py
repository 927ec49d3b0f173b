from __future__ import annotations

import pytest
import torch
from torch import nn

from lisa.errors import LisaError
from lisa.tap import Tap, tapped

INNER = Tap("inner", "1.0", 8, 1)
OUTER = Tap("outer", "2", 8, 1)


def _side():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8)), nn.Linear(8, 2))


def _hooks(module):
    return sum(len(part._forward_pre_hooks) for part in module.modules())


def test_features_are_what_the_layers_get_with_gradients():
    side, x = _side(), torch.randn(3, 4)
    with tapped(side, [INNER, OUTER]) as features:
        side(x)
    assert list(features) == ["inner", "outer"]
    assert torch.equal(features["inner"], side[0](x))
    assert torch.equal(features["outer"], side[1](side[0](x)))
    features["inner"].sum().backward()
    assert side[0].weight.grad is not None
    assert side[1][0].weight.grad is None
    assert _hooks(side) == 0


def test_a_forward_after_the_context_changes_nothing():
    side = _side()
    with tapped(side, [INNER]) as features:
        pass
    side(torch.randn(3, 4))
    assert features == {}


def test_an_error_inside_leaves_no_hook():
    side = _side()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), tapped(side, [INNER, OUTER]):
        side(torch.randn(3, 5))
    assert _hooks(side) == 0


@pytest.mark.parametrize("order", [(INNER, Tap("no", "7.x", 8, 1)), (Tap("no", "7.x", 8, 1), INNER)])
def test_an_unknown_layer_is_refused_and_leaves_no_hook(order):
    side = _side()
    with pytest.raises(LisaError, match=r"reads the layer 7\.x, which Sequential"), tapped(side, order):
        pytest.fail("the context must not be entered")
    assert _hooks(side) == 0


def test_nested_contexts_and_foreign_hooks_are_left_alone():
    side, x, seen = _side(), torch.randn(3, 4), []
    foreign = side[2].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with tapped(side, [OUTER]) as outer:
        with tapped(side, [OUTER]) as inner:
            side(x)
        assert _hooks(side) == 2
        side(x + 1)
    assert _hooks(side) == 1
    assert torch.equal(inner["outer"], seen[0])
    assert torch.equal(outer["outer"], seen[1])
    foreign.remove()
