"""What a trained backbone is used for: embeddings and classifiers."""
