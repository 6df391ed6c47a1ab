"""Images: sources, datasets, the order of training, views and masks."""
