from __future__ import annotations

import pytest
import torch
from torch import nn

from lisa.families._replay import replayed


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3).requires_grad_(False)
        self.runs = 0

    def forward(self, x, scale=1.0, extra=None):
        self.runs += 1
        return (self.linear(x) * scale + (0 if extra is None else extra[0]),)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Counted()


def test_equal_inputs_run_once_and_others_again(module):
    x = torch.randn(2, 3)
    wanted = {scale: module(x, scale=scale)[0] for scale in (1.0, 2.0)}
    module.runs = 0
    with replayed([module]):
        assert torch.equal(module(x)[0], wanted[1.0])
        assert torch.equal(module(x.clone())[0], wanted[1.0])
        assert module.runs == 1
        assert torch.equal(module(x, scale=2.0)[0], wanted[2.0])
        assert torch.equal(module(x, extra=[x])[0], wanted[1.0] + x)
        assert torch.equal(module(x)[0], wanted[1.0])
        assert module.runs == 4
    assert "forward" not in module.__dict__
    module(x)
    module(x)
    assert module.runs == 6


def test_inputs_changed_in_place_are_seen(module):
    x = torch.randn(2, 3)
    with replayed([module]):
        module(x)
        x += 1
        assert torch.equal(module(x)[0], module.linear(x))
        before = x.clone()
        x += 1
        assert torch.equal(module(before)[0], module.linear(before))


def test_another_type_or_precision_is_another_input(module):
    x = torch.randn(2, 3)
    with replayed([module]):
        exact = module(x)[0]
        with torch.autocast("cpu", torch.bfloat16):
            assert module(x)[0].dtype == torch.bfloat16
        assert module(x)[0].dtype == exact.dtype
        module.double()
        assert module(x.double())[0].dtype == torch.float64


def test_gradients_are_not_cut_off(module):
    x = torch.randn(2, 3, requires_grad=True)
    with replayed([module]):
        with torch.no_grad():
            module(x)
        module(x)[0].sum().backward()
        assert torch.equal(x.grad, module.linear.weight.sum(0).expand(2, 3))
        module.linear.requires_grad_(True)
        module(x.detach())[0].sum().backward()
    assert module.linear.weight.grad is not None


def test_works_in_inference_mode(module):
    with torch.inference_mode(), replayed([module]):
        x = torch.randn(2, 3)
        assert torch.equal(module(x)[0], module(x)[0])
    assert module.runs == 1


def test_an_error_restores_forward_and_an_older_one_survives(module):
    def older(x):
        return (x,)

    module.forward = older
    with pytest.raises(ZeroDivisionError), replayed([module, nn.Linear(2, 2)]):
        raise ZeroDivisionError
    assert module.forward is older
    del module.forward
    x = torch.randn(1, 3)
    with replayed([module]), replayed([module]):
        module(x)
        module(x)
    assert module.runs == 1
    assert "forward" not in module.__dict__
