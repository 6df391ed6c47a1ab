import pickle

import numpy as np
import torch
from PIL import Image

from mrkd.data.augment.views import normalize
from mrkd.data.decode import read_image
from mrkd.data.transform import ImageTransform


def test_an_image_is_read_as_in_training_and_normalised(tmp_path):
    path = tmp_path / "x.png"
    Image.effect_noise((30, 20), 50).save(path)
    transform = ImageTransform(16, 10**6)
    pixels = torch.from_numpy(np.array(read_image(path, 16, 10**6))).permute(2, 0, 1)
    assert torch.equal(transform(path), normalize(pixels))
    assert torch.equal(transform(Image.open(path)), transform(path))
    assert torch.equal(pickle.loads(pickle.dumps(transform))(path), transform(path))
