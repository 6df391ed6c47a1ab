"""Uses of a trained backbone: embeddings of images, and fine-tuned classifiers."""
