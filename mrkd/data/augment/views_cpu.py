"""The two slow parts of views compiled for the CPU: crops along the axes, and the shift of hue.

Each is tested against its form in plain torch, which serves other devices. Threads are Python's, which sleep when there
is nothing to do: numba's own wait by spinning, and these calls are many and short. Axes: B images, V views of each, R
views of all images, C channels, S side of a view.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
import numpy as np
import torch
from torch import Tensor

_FAST = {"reassoc", "contract", "arcp", "nsz"}


def crop(images: Tensor, columns: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor], size: int) -> Tensor:
    """Views (V, B, C, S, S), bilinear; outside the image, its border pixels are repeated.

    Args:
        images: (B, C, H, W) float32.
        columns: (V, B) which column of the image, in pixels from 0, lies under the view's first, and (V, B) the step
            from one column of the view to the next, negative for a flipped view.
        rows: the same for rows.
        size: S.
    """
    count, batch = columns[0].shape
    views = torch.empty(count, batch, images.shape[1], size, size)
    placed = [one.contiguous().numpy() for one in (*columns, *rows)]
    arrays = (images.contiguous().numpy(), *placed, views.numpy())
    _in_threads(count * batch, lambda first, end: _crop(first, end, *arrays))
    return views


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """`mrkd.data.augment.color.shift_hue` for (R, 3, S, S) float32."""
    shifted = torch.empty(images.shape)
    arrays = (images.contiguous().flatten(2).numpy(), turns.contiguous().numpy(), shifted.flatten(2).numpy())
    _in_threads(len(turns), lambda first, end: _shift_hue(first, end, *arrays))
    return shifted


def _in_threads(count: int, work: Callable[[int, int], None]) -> None:
    """Call `work` on equal parts of the range 0 to `count`, in as many threads as torch uses."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
        return
    ends = [count * number // threads for number in range(threads + 1)]
    list(_pool(threads).map(work, ends, ends[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "mrkd-views")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


@numba.njit(nogil=True, fastmath=_FAST, error_model="numpy", cache=True)
def _crop(first, end, images, first_x, step_x, first_y, step_y, views):  # type: ignore[no-untyped-def]
    batch, channels, size = views.shape[1:4]
    height, width = images.shape[2:]
    one = np.float32(1)
    for task in range(first, end):
        v, b = task // batch, task % batch
        left = np.empty(size, np.int32)
        right = np.empty(size, np.int32)
        part = np.empty(size, np.float32)
        for i in range(size):
            place = min(max(first_x[v, b] + np.float32(i) * step_x[v, b], np.float32(0)), np.float32(width - 1))
            left[i] = np.int32(place)
            right[i] = min(left[i] + 1, width - 1)
            part[i] = place - np.float32(left[i])
        row = np.empty(width, np.float32)
        for j in range(size):
            place = min(max(first_y[v, b] + np.float32(j) * step_y[v, b], np.float32(0)), np.float32(height - 1))
            top = int(place)
            bottom = min(top + 1, height - 1)
            below = place - np.float32(top)
            for c in range(channels):
                for i in range(width):
                    row[i] = images[b, c, top, i] * (one - below) + images[b, c, bottom, i] * below
                for i in range(size):
                    views[v, b, c, j, i] = row[left[i]] * (one - part[i]) + row[right[i]] * part[i]


@numba.njit(nogil=True, fastmath=_FAST, error_model="numpy", cache=True)
def _shift_hue(first, end, images, turns, shifted):  # type: ignore[no-untyped-def]
    zero, one, two, four, six = np.float32(0), np.float32(1), np.float32(2), np.float32(4), np.float32(6)
    for r in range(first, end):
        turn = six * turns[r]
        for p in range(images.shape[2]):
            red, green, blue = images[r, 0, p], images[r, 1, p], images[r, 2, p]
            value = max(red, green, blue)
            chroma = value - min(red, green, blue)
            inverse = one / max(chroma, np.float32(1e-12))
            hue = four + (red - green) * inverse
            hue = two + (blue - red) * inverse if value == green else hue
            hue = (green - blue) * inverse if value == red else hue
            hue += turn
            for c in range(3):
                k = hue + np.float32(5 - 2 * c)
                k -= six * np.float32(math.floor(k / six))
                shifted[r, c, p] = value - chroma * min(max(min(k, four - k), zero), one)
