"""BatchNorm with statistics over all devices. Axes: R rows on this device, D width."""

from torch import Tensor, nn

from mrkd.distributed.gather import all_reduce_sum_with_grad, world_size


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` with mean and variance over the rows of all devices.

    Unlike torch's SyncBatchNorm it also works on CPUs. Devices may hold different numbers of rows.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (R, D) normalised by the mean and variance of all devices' rows."""
        if not self.training or world_size() == 1:
            return super().forward(rows)
        values = rows.float()
        count = all_reduce_sum_with_grad(values.new_full((), len(values)))
        mean = all_reduce_sum_with_grad(values.sum(dim=0)) / count
        variance = all_reduce_sum_with_grad((values - mean).square().sum(dim=0)) / count
        self._move_statistics(mean.detach(), (variance * count / (count - 1)).detach())
        result = (values - mean) * (variance + self.eps).rsqrt()
        if self.weight is not None:
            result = result * self.weight + self.bias
        return result.to(rows.dtype)

    def _move_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
