import pytest
import torch
import torch.nn.functional as F

from mrkd.config import HeadConfig
from mrkd.model.head import Head
from mrkd.model.token_subset import ROW_MULTIPLE, padded_linear


@pytest.mark.parametrize("rows", [1, ROW_MULTIPLE - 1, ROW_MULTIPLE, ROW_MULTIPLE + 1])
def test_padded_rows_change_neither_product_nor_gradients(rows):
    torch.manual_seed(0)
    values, weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((rows, 5), (7, 5), (7,)))
    tensors = [tensor.requires_grad_() for tensor in (values, weight, bias)]
    torch.testing.assert_close(padded_linear(*tensors), F.linear(*tensors))
    for ours, theirs in zip(
        torch.autograd.grad(padded_linear(*tensors).square().sum(), tensors),
        torch.autograd.grad(F.linear(*tensors).square().sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_head_runs_matrix_products_of_few_sizes_for_any_number_of_tokens(norm, monkeypatch):
    met = set()
    product = F.linear

    def noted(rows, weight, bias=None):
        met.add(len(rows))
        return product(rows, weight, bias)

    head = Head(8, HeadConfig(prototypes=16, hidden=8, bottleneck=4, layers=2, norm=norm)).train()
    monkeypatch.setattr(F, "linear", noted)
    for rows in range(2, 2 * ROW_MULTIPLE):
        output = head(torch.randn(rows, 8))
        assert len(output.projection) == len(output.bottleneck) == len(output.logits) == rows
    assert met == {ROW_MULTIPLE, 2 * ROW_MULTIPLE}


def test_padded_rows_do_not_enter_the_statistics_of_a_norm():
    torch.manual_seed(0)
    head = Head(8, HeadConfig(prototypes=16, hidden=8, bottleneck=4, layers=2, norm="batch")).train()
    tokens = torch.randn(ROW_MULTIPLE + 3, 8) + 5.0
    bottleneck = head(tokens).bottleneck
    torch.testing.assert_close(bottleneck.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(bottleneck.var(dim=0, unbiased=False), torch.ones(4), atol=1e-3, rtol=0.0)
