"""BatchNorm over all devices. Axes: R rows on this device, D width."""

from torch import Tensor, nn

from mrkd.distributed.gather import devices, summed_over_devices


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` whose statistics are those of the rows of all devices; with one device it is the same thing.

    torch's SyncBatchNorm takes no CPU tensors, and devices may hold different numbers of rows.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (R, D) normalised by the mean and variance of all devices' rows."""
        if not self.training or devices() == 1:
            return super().forward(rows)
        values = rows.float()
        count = summed_over_devices(values.new_full((), len(values)))
        mean = summed_over_devices(values.sum(dim=0)) / count
        variance = summed_over_devices((values - mean).square().sum(dim=0)) / count
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
